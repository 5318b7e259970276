"""`tpdeploy history`: predictions against measurements over time."""

from typing import Annotated

import typer
from rich.table import Table

from tpdeploy.cli.output import out, print_json
from tpdeploy.harness.measure.history import Entry, Held, history
from tpdeploy.numbers import change, in_ms

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("history")
def show_history(
    *,
    last: Annotated[int, typer.Option(min=1, help="How many of the newest to show.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print every one as JSON.")] = False,
) -> None:
    """Show every validation kept here: what was predicted at the time, and what was measured."""
    found = history()
    if json:
        print_json(found)
        return
    if not found.entries:
        out.print("No validation is kept here yet; measure one: tpdeploy validate")
        return
    out.print("In ms, predicted at the time / measured")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("when", no_wrap=True)
    table.add_column("what")
    for title in ("TTFT", "", "TPOT", ""):
        table.add_column(title, justify="right", no_wrap=True)
    for entry in reversed(found.entries[:last]):
        when = f"{entry.measured_at.astimezone():%m-%d %H:%M}"
        table.add_row(when, _what(entry), *_cells(entry.ttft), *_cells(entry.tpot))
    out.print(table)
    if len(found.entries) > last:
        out.print(f"and {len(found.entries) - last} before, all with --json", style="dim")


def _what(entry: Entry) -> str:
    split, load = entry.parallelism, entry.workload
    replicas = f" x {split.replicas}" if split.replicas > 1 else ""
    kind = f"{load.lengths.name} " if load.lengths else ""
    sent = f"{kind}{load.input_tokens:,}+{load.output_tokens:,} tokens"
    arriving = f"{load.concurrency} in flight" if load.concurrency else f"{load.rate:g}/s"
    by = "" if entry.measured_by == "tpdeploy" else f", by {entry.measured_by}"
    name = entry.model.rpartition("/")[2]
    return f"{name}\n{entry.backend} {split.words}{replicas}, {sent}, {arriving}{by}"


def _cells(held: Held | None) -> tuple[str, str]:
    if held is None:
        return "-", ""
    error = "" if held.error is None else change(held.error)
    return f"{in_ms(held.predicted)} / {in_ms(held.measured)}", error
