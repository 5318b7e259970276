"""`tpdeploy interconnects`: every interconnect that is known."""

from typing import Annotated

import typer

from tpdeploy.cli.output import out, print_json
from tpdeploy.cli.views.known import show_interconnects
from tpdeploy.profiles.listing import known_interconnects

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("interconnects")
def list_interconnects(
    word: Annotated[str, typer.Argument(help="Only those with this text in the name.")] = "",
    *,
    json: Annotated[bool, typer.Option("--json", help="Print everything known as JSON.")] = False,
) -> None:
    """List the links between GPUs and machines, and the GPUs they were measured with."""
    found = known_interconnects(word)
    if json:
        print_json(found)
    else:
        show_interconnects(out, found.interconnects)
