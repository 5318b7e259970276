"""`tpdeploy show`: what is known of one model, GPU, machine, interconnect or workload."""

from typing import Annotated

import typer

from tpdeploy.cli.options import completion
from tpdeploy.cli.output import out, print_json
from tpdeploy.cli.views.known import show_known
from tpdeploy.profiles.listing import what_is

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A bundled model, a GPU, a machine, an interconnect or a workload.",
            autocompletion=completion.known,
        ),
    ],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show what is known about a model, GPU, machine, interconnect or workload, and its sources."""
    found = what_is(name)
    if json:
        print_json(found)
    else:
        show_known(out, found)
