"""`tpdeploy stop`: end a deployment, all of it."""

from typing import Annotated

import typer

from tpdeploy.cli.options.deployment import Name
from tpdeploy.cli.output import out
from tpdeploy.launcher.choice import chosen
from tpdeploy.launcher.control import stop as end

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def stop(
    name: Name = None,
    drain: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds for requests in flight. [default: the engine's, 10]"),
    ] = None,
) -> None:
    """End every process of a deployment and free its ports, after the requests in flight."""
    name = chosen(name)
    stopped = end(name, drain)
    out.print(f"Stopped {name}: no process and no port of it is left ({stopped.model})")
