"""`tpdeploy scale`: more or fewer replicas of those that were planned."""

from typing import Annotated

import typer

from tpdeploy.cli.options.deployment import Name
from tpdeploy.cli.output import err, out
from tpdeploy.cli.views.launch import Watcher
from tpdeploy.errors import InputError
from tpdeploy.launcher.asks import Ask
from tpdeploy.launcher.choice import chosen
from tpdeploy.launcher.control import ask
from tpdeploy.launcher.orchestrated import refuse
from tpdeploy.launcher.state import running

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def scale(
    replicas: Annotated[int, typer.Option(min=1, help="How many should run.")],
    name: Name = None,
    drain: Annotated[
        float, typer.Option(min=0, help="Seconds allowed for requests in flight.")
    ] = 60.0,
) -> None:
    """Run more or fewer of the replicas that the plan has devices for."""
    name = chosen(name)
    deployment = running(name)
    refuse(deployment, "scale")
    planned = len(deployment.members) - 1
    if replicas > planned:
        raise InputError(
            f"--replicas {replicas}: the plan has devices for {planned}; "
            f"plan again with more GPUs, and launch that"
        )
    asked = Ask(action="scale", drain_s=drain, replicas=replicas)
    with Watcher(err) as watcher:
        ask(name, asked, watcher.show)
    out.print(f"{name} runs {replicas} of {planned} replicas")
