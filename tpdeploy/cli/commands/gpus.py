"""`tpdeploy gpus`: every GPU and machine that is known."""

from typing import Annotated

import typer

from tpdeploy.cli.output import out, print_json
from tpdeploy.cli.views.known import show_gpus
from tpdeploy.profiles.listing import known_gpus

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("gpus")
def list_gpus(
    word: Annotated[str, typer.Argument(help="Only those with this text in a name or class.")] = "",
    *,
    json: Annotated[bool, typer.Option("--json", help="Print everything known as JSON.")] = False,
) -> None:
    """List the GPUs and machines that are known, and how well their class is predicted."""
    found = known_gpus(word)
    if json:
        print_json(found)
    else:
        show_gpus(out, found)
