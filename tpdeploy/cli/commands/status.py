"""`tpdeploy status`: what is deployed, and whether it is well right now."""

import time
from contextlib import suppress
from typing import Annotated

import typer
from rich.live import Live

from tpdeploy.cli.output import err, out, print_json
from tpdeploy.cli.views.status import shown
from tpdeploy.errors import InputError
from tpdeploy.launcher.control import take_over_orphans
from tpdeploy.launcher.figures import Look
from tpdeploy.launcher.seen import LATELY_S, Seen, see
from tpdeploy.launcher.state import Deployment, deployments, running, unreadable
from tpdeploy.profiles.record import Record

app = typer.Typer(add_completion=False, rich_markup_mode=None)

WATCH_S = 2.0
MOST_LOOKS = int(LATELY_S / WATCH_S)


class Status(Record):
    """Every running deployment, and those that have failed since they were launched."""

    deployments: tuple[Seen, ...]
    failed: tuple[Deployment, ...]


@app.command()
def status(
    name: Annotated[str | None, typer.Option(help="Only this deployment.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every 2 s.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show the running deployments: members, and what they do beside what the plan predicts.

    Rates and means are of the last minute. Exit code 0: all are ready and every member answers,
    or nothing runs; 1: something does not, has failed, or its state cannot be read; 2: the one
    named is not running.
    """
    if watch and json:
        raise InputError("--watch and --json: choose one")
    for orphan in take_over_orphans():
        err.print(f"{orphan} had lost its supervisor; it has a new one")
    broken = [] if name else unreadable()
    for problem in broken:
        err.print(f"Not shown: {problem}", soft_wrap=True)
    failed = [] if name else [d for d in deployments() if d.phase == "failed"]
    for each in () if json else failed:
        err.print(f"{each.name} has failed: {each.reason}", soft_wrap=True, markup=False)
    looks = Looks(name)
    seen = looks.now()
    if json:
        print_json(Status(deployments=tuple(seen), failed=tuple(failed)))
    elif watch:
        seen = _watch(looks, seen)
    else:
        out.print(shown(seen))
    well = all(each.well for each in seen) and not (broken or failed)
    raise typer.Exit(0 if well else 1)


class Looks:
    """Looks at the running deployments, each compared with those of the last minute."""

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.past: dict[str, list[Look]] = {}

    def now(self) -> list[Seen]:
        """Those that are running, as they are.

        Raises:
            InputError: the one named is not running.
        """
        named = [running(self.name)] if self.name else [d for d in deployments() if d.running]
        found = []
        for deployment in named:
            past = self.past.setdefault(deployment.name, [])
            seen, look = see(deployment, past)
            found.append(seen)
            if look:
                self.past[deployment.name] = [*past, look][-MOST_LOOKS:]
        return found


def _watch(looks: Looks, seen: list[Seen]) -> list[Seen]:
    """Show how they are until Ctrl-C, in place in a terminal; how they were last."""
    with suppress(KeyboardInterrupt):
        if not out.is_terminal:
            while True:
                out.print(shown(seen))
                time.sleep(WATCH_S)
                seen = looks.now()
        with Live(shown(seen), console=out, auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_S)
                seen = looks.now()
                live.update(shown(seen), refresh=True)
    return seen
