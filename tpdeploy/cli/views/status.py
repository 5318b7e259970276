"""How a deployment looks right now: its state, its members, and their load beside the plan."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tpdeploy.launcher.figures import Load
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.seen import Seen

NUMBERS = ("running", "waiting", "KV use", "tokens/s", "TTFT ms", "TPOT ms")
INDENT = (0, 0, 0, 2)
NOTHING = Text("Nothing is running. Start with: tpdeploy launch")


def shown(deployments: list[Seen]) -> RenderableType:
    """All of them, one below the other."""
    return (
        Group(*(part for each in deployments for part in _parts(each))) if deployments else NOTHING
    )


def _parts(seen: Seen) -> Iterator[RenderableType]:
    state = Text(seen.phase, style="" if seen.well else "bold red")
    yield Text.assemble(f"{seen.name}: ", state, f", up {_duration(seen.started_at)}")
    yield Text(f"  {seen.model} by {seen.backend} at {seen.url}/v1")
    orphaned = "its supervisor is gone: tpdeploy stop" if seen.phase == "orphaned" else ""
    refused = f"refused: {seen.refused}" if seen.refused else ""
    for line in (orphaned, seen.doing, refused, seen.reason, *seen.drift):
        if line:
            yield Text(f"  {line}", style="yellow")
    yield Padding(_members(seen), INDENT)
    if seen.loads:
        yield Padding(_loads(seen), INDENT)
    for member in seen.members:
        if member.last_end and member.healthy:  # else it is the reason
            yield Text(f"  {member.label} before: {member.last_end}")


def _duration(since: datetime) -> str:
    seconds = int((datetime.now(UTC) - since).total_seconds())
    return str(timedelta(seconds=max(0, seconds)))


def _table(*titles: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in titles:
        folds = title in {"state", "devices"}
        table.add_column(title, no_wrap=not folds, justify="right" if title in NUMBERS else "left")
    return table


def _members(seen: Seen) -> Table:
    table = _table("member", "devices", "port", "runs as", "restarts", "up", "state")
    for member in seen.members:
        table.add_row(*_member(member, gone=member.label in seen.gone))
    return table


def _member(member: Member, *, gone: bool) -> tuple[str, ...]:
    up = _duration(member.started_at) if member.started_at and member.healthy else "-"
    return (
        member.label,
        ",".join(map(str, member.devices)) or "-",
        str(member.port or "-"),
        member.known_as,
        str(member.restarts),
        up,
        "gone" if gone else _condition(member),
    )


def _condition(member: Member) -> str:
    """Its phase, and what it is doing; or that it does not answer, though it should."""
    if member.phase == "ready":
        return "ready" if member.healthy else "no answer"
    if member.phase == "starting":
        return member.stage or "waiting"
    told = member.stage not in {"", member.phase} and member.phase != "failed"
    return f"{member.phase}: {member.stage}" if told else member.phase


def _loads(seen: Seen) -> Table:
    table = _table("load", *NUMBERS)
    for label, load in seen.loads.items():
        table.add_row(label, *_load(load))
    if len(seen.loads) > 1:
        table.add_row("together", *_load(seen.load))
    if seen.planned:
        table.add_row("planned", *_load(seen.planned))
    return table


def _load(load: Load) -> tuple[str, ...]:
    return (
        _number(load.running, 0),
        _number(load.waiting, 0),
        "-" if load.kv_use is None else f"{load.kv_use:.0%}",
        _number(load.output_tokens_per_s, 1),
        _number(load.ttft_ms, 0),
        _number(load.tpot_ms, 1),
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
