"""`tpdeploy status`: what is deployed, and whether it is well right now."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from tpdeploy.cli.output import err, out, print_json
from tpdeploy.launcher.control import take_over_orphans
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.registry import runtime_of
from tpdeploy.launcher.state import Deployment, deployments, running
from tpdeploy.profiles.record import Record

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Status(Record):
    """Every running deployment."""

    deployments: tuple[Deployment, ...]


@app.command()
def status(
    name: Annotated[str | None, typer.Option(help="Only this deployment.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show the running deployments. Exit code 2 when the one named is not running."""
    for orphan in take_over_orphans():
        err.print(f"{orphan} had lost its supervisor; it has a new one")
    found = [running(name)] if name else [d for d in deployments() if d.running]
    found = [deployment.seen_now() for deployment in found]
    if json:
        print_json(Status(deployments=tuple(found)))
        return
    if not found:
        out.print("Nothing is running. Start with: tpdeploy launch")
    for deployment in found:
        _show(deployment)


def _show(deployment: Deployment) -> None:
    up = datetime.now(UTC) - deployment.started_at
    hint = " (its supervisor is gone): tpdeploy stop" if deployment.phase == "orphaned" else ""
    out.print(f"{deployment.name}: {deployment.phase}{hint}, up {str(up).partition('.')[0]}")
    out.print(f"  {deployment.model} by {deployment.backend} at {deployment.url}/v1")
    if deployment.reason:
        out.print(f"  {deployment.reason}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2))
    for title in ("member", "devices", "port", "runs as", "state", "health"):
        table.add_column(title)
    for member in deployment.members:
        table.add_row(*_row(member))
    out.print(table)


def _row(member: Member) -> tuple[str, ...]:
    alive = runtime_of(member).observe(member).runs
    phase = member.phase if alive or member.phase == "failed" else "gone"
    stage = f": {member.stage}" if member.stage not in {"", member.phase} else ""
    return (
        member.label,
        ",".join(map(str, member.devices)) or "-",
        str(member.port),
        member.known_as,
        phase + stage,
        "ok" if member.healthy else "no answer",
    )
