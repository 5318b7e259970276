"""`tpdeploy restart`: start replicas anew, one after another."""

from typing import Annotated

import typer

from tpdeploy.cli.options.deployment import Name
from tpdeploy.cli.output import err, out
from tpdeploy.cli.views.launch import Watcher
from tpdeploy.errors import InputError, nearest
from tpdeploy.launcher.asks import Ask
from tpdeploy.launcher.choice import chosen
from tpdeploy.launcher.control import ask
from tpdeploy.launcher.orchestrated import refuse
from tpdeploy.launcher.state import running

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def restart(
    member: Annotated[
        list[str] | None, typer.Argument(help="replica-0 … or front. [default: every replica]")
    ] = None,
    name: Name = None,
    drain: Annotated[
        float, typer.Option(min=0, help="Seconds allowed for requests in flight.")
    ] = 60.0,
) -> None:
    """Restart replicas one after another, while the others serve.

    Each stops taking requests, finishes those it has, and is ready again before the next one.
    """
    name = chosen(name)
    deployment = running(name)
    refuse(deployment, "restart")
    labels = [m.label for m in deployment.members]
    for unknown in (m for m in member or () if m not in labels):
        raise InputError(f"deployment {name} has no {unknown}; {nearest(unknown, labels)}")
    wanted = tuple(member or labels[:-1])
    asked = Ask(action="restart", drain_s=drain, members=wanted)
    with Watcher(err) as watcher:
        ask(name, asked, watcher.show)
    out.print(f"Restarted {name}: {', '.join(wanted)}")
