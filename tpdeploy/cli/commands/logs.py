"""`tpdeploy logs`: what the members of a deployment wrote, together or one of them."""

import re
import time
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tpdeploy.cli.options.deployment import Name
from tpdeploy.errors import InputError, nearest, shown
from tpdeploy.launcher.choice import chosen
from tpdeploy.launcher.logs import PREVIOUS
from tpdeploy.launcher.orchestrated import orchestrator_of, refuse
from tpdeploy.launcher.state import Deployment, folder_of, load
from tpdeploy.launcher.timeline import Growing, Line, Log, everything, last, no_check

app = typer.Typer(add_completion=False, rich_markup_mode=None)

POLL_S = 0.3
LINES = 50
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@app.command()
def logs(
    member: Annotated[
        str | None,
        typer.Argument(help="replica-0, replica-1 ..., front or supervisor. [default: all]"),
    ] = None,
    *,
    name: Name = None,
    lines: Annotated[
        int | None,
        typer.Option(
            "-n", "--lines", min=1, help=f"Last lines. [default: {LINES}, or all --since]"
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only newer lines: 10m, 2h, 2026-11-26T04:05.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Keep printing new lines.")
    ] = False,
    all_: Annotated[bool, typer.Option("--all", help="Include answered health checks.")] = False,
    previous: Annotated[
        bool, typer.Option("--previous", help="Logs of the previous launch.")
    ] = False,
) -> None:
    """Print the latest log lines of all members in order of time, each with its member.

    A line without a time of its own follows the one before it. Logs stay after a deployment has
    ended; without --name and with none running, those of the last one are shown.
    """
    begin = _time(since)
    name = chosen(name, ended=True)
    deployment = load(name)
    if deployment and deployment.orchestrator:
        for option, value in {"--since": since, "--all": all_, "--previous": previous}.items():
            if value:
                refuse(deployment, option)
        _print_of_cluster(deployment, member, lines or LINES, follow=follow)
        return
    folder = folder_of(name) / "logs" / (PREVIOUS if previous else "")
    keep = everything if all_ else no_check
    paths = _paths(folder, name, member)
    growing = Growing(partial(_written, folder, member), keep)
    growing.begin()
    if lines is None and since is None:
        lines = LINES
    width = 0 if member else max(map(len, paths))
    _print(last([Log(label, path) for label, path in paths.items()], lines, begin, keep), width)
    while follow:
        _print(growing.new(), width)
        time.sleep(POLL_S)


def _print_of_cluster(
    deployment: Deployment, member: str | None, lines: int, *, follow: bool
) -> None:
    """What the orchestrator has; logs end with their deployment there."""
    if deployment.ended:
        raise InputError(
            f"deployment {deployment.name} is {deployment.phase}, and {deployment.orchestrator} "
            "keeps no logs of what has ended"
        )
    orchestrator = orchestrator_of(deployment)
    for line in orchestrator.logs(deployment.reference, member, lines, follow=follow):
        typer.echo(line)


def _print(lines: Iterable[Line], width: int) -> None:
    for line in lines:
        typer.echo(f"{line.member:<{width}} | {line.text}" if width else line.text)


def _paths(folder: Path, name: str, member: str | None) -> dict[str, Path]:
    """The logs that are asked for, by member."""
    written = _written(folder, None)
    if not written:
        before = " before its last launch" if folder.name == PREVIOUS else ""
        raise InputError(f"no deployment called {name} has been launched{before}")
    if member is not None and member not in written:
        raise InputError(f"no log of {shown(member)}; {nearest(member, written)}")
    return _written(folder, member)


def _written(folder: Path, member: str | None) -> dict[str, Path]:
    """The logs that there are now, which a new launch may be about to move."""
    written = {path.stem: path for path in sorted(folder.glob("*.log"))}
    return written if member is None else {k: v for k, v in written.items() if k == member}


def _time(since: str | None) -> float | None:
    """Seconds since the epoch of `10m` ago, or of a time; one without a zone is this machine's."""
    if since is None:
        return None
    try:
        if ago := re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])", since.strip()):
            return time.time() - float(ago[1]) * SECONDS[ago[2]]
        return datetime.fromisoformat(since.strip()).timestamp()
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"--since {shown(since)}: give how long ago, as 10m or 2h, or a time, as "
            "2026-11-26T04:05"
        ) from error
