"""`tpdeploy stop`: end a deployment, all of it."""

from typing import Annotated

import typer

from tpdeploy.cli.output import out
from tpdeploy.launcher.choice import chosen
from tpdeploy.launcher.launch import stop as end

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def stop(
    name: Annotated[
        str | None, typer.Option(help="Which deployment. [default: the only running one]")
    ] = None,
) -> None:
    """End every process of a deployment and free its ports."""
    name = chosen(name)
    stopped = end(name)
    out.print(f"Stopped {name}: no process and no port of it is left ({stopped.model})")
