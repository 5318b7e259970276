"""`tpdeploy stop`: end a deployment, all of it."""

from typing import Annotated

import typer

from tpdeploy.cli.output import out
from tpdeploy.launcher.launch import stop as end
from tpdeploy.launcher.state import DEFAULT_NAME

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def stop(
    name: Annotated[str, typer.Option(help="Name of the deployment.")] = DEFAULT_NAME,
) -> None:
    """End every process of a deployment and free its ports."""
    stopped = end(name)
    out.print(f"Stopped {name}: no process and no port of it is left ({stopped.model})")
