"""How a sweep looks in a terminal."""

from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from tpdeploy.cli.views.splits import INDENT
from tpdeploy.cli.views.validation import VERDICT_STYLES, why_lines
from tpdeploy.harness.measure.comparison import Row
from tpdeploy.harness.measure.sweep import Point, SweepReport, in_range
from tpdeploy.numbers import in_unit, number
from tpdeploy.planner.search.replay import load_of

# Requests/s are tokens/s by the tokens of an answer; they are in the kept report.
SHOWN = ("TTFT", "TPOT", "throughput")


def show_sweep(console: Console, sweep: SweepReport, path: Path) -> None:
    """Predicted, measured and target at each load, where the knee is, the verdict."""
    load = sweep.plan.workload
    console.print(f"{sweep.plan.model.id} at {sweep.endpoint}", style="bold", soft_wrap=True)
    console.print(f"  {load.sizes}\n")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(counted(sweep), justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for title in ("predicted", "measured", "target"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("", "range"):
        table.add_column(title, no_wrap=True)
    for point in sweep.points:
        _add_point(table, point)
    console.print(Padding(table, INDENT))
    console.print()
    for line in findings(sweep):
        console.print(Padding(line, INDENT))
    console.print(f"\nReport kept in {path}", soft_wrap=True)
    console.print(f"Verdict: {_verdict(sweep)}", style=VERDICT_STYLES[sweep.verdict])


def shown_rows(point: Point) -> list[Row]:
    """The figures of a load that a person reads."""
    return [row for row in point.rows if row.metric in SHOWN]


def counted(sweep: SweepReport) -> str:
    """What the loads of a sweep count."""
    return "in flight" if sweep.plan.workload.rate is None else "requests/s"


def findings(sweep: SweepReport) -> list[str]:
    """What the loads say together: the most there was, the knee, how far the targets hold."""
    unit = counted(sweep)
    most = max(sweep.points, key=lambda point: point.measured.output_tokens_per_s)
    tokens = number(most.measured.output_tokens_per_s)
    held, figures = in_range(sweep.points)
    lines = [
        f"{held} of {figures} figures in the predicted range.",
        f"Most: {tokens} output tokens/s, at {load_of(most.workload):g} {unit}.",
    ]
    if len(sweep.points) > 1:
        lines.append(f"Knee: {_knee(sweep)}.")
    if sweep.plan.workload.ttft or sweep.plan.workload.tpot:
        heaviest = sweep.within_targets
        met = "at no load" if heaviest is None else f"up to {heaviest:g} {unit}"
        lines.append(f"Targets met {met}.")
    warming = ", ".join(f"{load_of(p.workload):g}" for p in sweep.points if p.warming_up)
    if warming:
        lines.append(f"May still have been warming up: {warming} {unit} (--warmup).")
    lines += why_lines(
        [point.not_learned for point in sweep.points],
        [point.not_comparable for point in sweep.points],
    )
    failed = sum(point.measured.failed for point in sweep.points)
    lines.append(f"{failed or 'No'} request{'' if failed == 1 else 's'} failed.")
    return lines


def _verdict(sweep: SweepReport) -> str:
    missed = [f"{load_of(p.workload):g}" for p in sweep.points if p.verdict == "fail"]
    if missed:
        return f"fail, at {', '.join(missed)} {counted(sweep)}"
    unknown = [point for point in sweep.points if point.verdict == "unknown"]
    if unknown:
        loads = ", ".join(f"{load_of(point.workload):g}" for point in unknown)
        needed = max(row.needed or 0 for point in unknown for row in point.rows)
        return f"unknown, too few requests at {loads} {counted(sweep)}: {needed:,} needed"
    return "pass" if sweep.verdict == "pass" else "no target was stated"


def _knee(sweep: SweepReport) -> str:
    meaning = sweep.definitions["knee"]
    if sweep.knee is None:
        return f"not reached ({meaning})"
    if sweep.knee == 0:
        return f"below the lightest load ({meaning})"
    return f"{sweep.knee:g} {counted(sweep)} ({meaning})"


def _add_point(table: Table, point: Point) -> None:
    rows = shown_rows(point)
    for row in rows:
        load = f"{load_of(point.workload):g}" if row is rows[0] else ""
        name = f"{row.name}, ms" if row.unit == "ms" else "tokens/s out"
        measured, target = (in_unit(value, row.unit) for value in (row.measured, row.target))
        figures = (_predicted(row), measured, target)
        told = "" if row.verdict == "no target" else row.verdict
        table.add_row(load, name, *figures, told, "" if row.place == "in range" else row.place)


def _predicted(row: Row) -> str:
    if row.predicted is None:
        return "-"
    expected = row.predicted
    value, low, high = (
        in_unit(part, row.unit) for part in (expected.value, expected.low, expected.high)
    )
    return f"{value} ({low} to {high})"
