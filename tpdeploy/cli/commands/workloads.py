"""`tpdeploy workloads`: every named workload."""

from typing import Annotated

import typer

from tpdeploy.cli.output import out, print_json
from tpdeploy.cli.views.known import show_workloads
from tpdeploy.profiles.listing import known_workloads

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("workloads")
def list_workloads(
    word: Annotated[
        str, typer.Argument(help="Only those with this text in the name or description.")
    ] = "",
    *,
    json: Annotated[bool, typer.Option("--json", help="Print everything known as JSON.")] = False,
) -> None:
    """List the workloads that `plan --workload` takes: how long the requests of public data are."""
    found = known_workloads(word)
    if json:
        print_json(found)
    else:
        show_workloads(out, found.workloads)
