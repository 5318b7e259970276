"""`tpdeploy logs`: what a member of a deployment wrote."""

import time
from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from tpdeploy.errors import InputError, nearest
from tpdeploy.launcher.state import DEFAULT_NAME, folder_of, load

app = typer.Typer(add_completion=False, rich_markup_mode=None)

POLL_S = 0.3


@app.command()
def logs(
    member: Annotated[
        str, typer.Argument(help="replica-0, replica-1 ..., front or supervisor.")
    ] = "replica-0",
    name: Annotated[str, typer.Option(help="Name of the deployment.")] = DEFAULT_NAME,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="Last lines.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as it grows.")] = False,
) -> None:
    """Print the end of a log; logs stay after a deployment has ended."""
    path = _log(name, member)
    with path.open(encoding="utf-8", errors="replace") as log:
        typer.echo("".join(deque(log, maxlen=lines)), nl=False)
        while follow:
            typer.echo(log.read(), nl=False)
            time.sleep(POLL_S)


def _log(name: str, member: str) -> Path:
    folder = folder_of(name) / "logs"
    written = sorted(path.stem for path in folder.glob("*.log"))
    if not written or load(name) is None:
        raise InputError(f"no deployment called {name} has been launched")
    if member not in written:
        raise InputError(f"no log of {member!r}; {nearest(member, written)}")
    return folder / f"{member}.log"
