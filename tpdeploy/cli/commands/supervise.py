"""`tpdeploy supervise`: keep a deployment alive in the foreground, as service managers want it."""

from typing import Annotated

import typer

from tpdeploy.launcher.control import supervise as stay
from tpdeploy.launcher.state import DEFAULT_NAME

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def supervise(
    name: Annotated[str, typer.Option(help="Name of the deployment.")] = DEFAULT_NAME,
) -> None:
    """Start a deployment that was launched before, or take it over, and stay until it ends.

    Exit code 1 when it has failed.
    """
    stay(name)
