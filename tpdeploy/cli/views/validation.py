"""How a validation looks in a terminal."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from tpdeploy.cli.views.timeline import show_timeline
from tpdeploy.harness.measure.comparison import Row
from tpdeploy.harness.measure.confidence import Interval
from tpdeploy.harness.measure.metrics import Measured, Spread
from tpdeploy.harness.measure.report import ValidationReport, WarmUp
from tpdeploy.harness.measure.teaching import NOT_KNOWN, Reason
from tpdeploy.numbers import in_ms, in_unit, number
from tpdeploy.planner.plan import Distribution, Estimate
from tpdeploy.planner.workload import Workload

INDENT = (0, 0, 0, 2)
LONG_TAIL = 2.0  # a judgement: p90 / p50 from which it is pointed out
LATENCIES = ("TTFT", "TPOT", "ITL", "end-to-end")
STATISTICS = ("mean", "p50", "p90", "p95", "p99")
WIDE = 100  # columns in which confidence intervals have room
VERDICT_STYLES = {"pass": "green", "fail": "bold red", "unknown": "yellow", "no target": ""}


def show_report(
    console: Console, report: ValidationReport, path: Path, *, explained: bool = False
) -> None:
    """Predicted, measured and target side by side, the distributions, the verdict.

    If they are to be `explained`, what each figure means too.
    """
    console.print(_title(report), style="bold", soft_wrap=True)
    console.print(Padding(f"{load_in_words(report.workload)}\n", INDENT))
    console.print(Padding(_comparison(report.rows), INDENT))
    if report.expected is None:
        console.print(Padding("The prediction is left out: it was made for another load.", INDENT))
    console.print("\nMeasured, ms", style="bold")
    console.print(Padding(_distributions(report, wide=console.width >= WIDE), INDENT))
    if report.measured.timeline:
        told = report.expected.timeline if report.expected else None
        console.print(f"\nOver time{', predicted / measured' if told else ''}", style="bold")
        show_timeline(console, told, report.measured.timeline)
    console.print()
    for line in facts(report):
        console.print(Padding(line, INDENT))
    if explained:
        console.print("\nMeaning", style="bold")
        console.print(Padding(_definitions(report.definitions), INDENT), style="dim")
    more = "" if explained else " What the figures mean: validate -v."
    console.print(f"\nReport kept in {path}.{more}", soft_wrap=True)
    console.print(f"Verdict: {_verdict(report)}", style=VERDICT_STYLES[report.verdict])


def _title(report: ValidationReport) -> str:
    own = report.measured_by == "tpdeploy"
    by = "" if own else f"measured by {report.measured_by}, in "
    return f"{report.plan.model.id} {by or 'at '}{report.endpoint}"


def load_in_words(load: Workload) -> str:
    """What is sent, as `128 tokens in, 64 out, 4 requests in flight`."""
    arriving = (
        f"{load.concurrency:,} request{'s' if load.concurrency > 1 else ''} in flight"
        if load.concurrency is not None
        else load.arriving
        if load.recording
        else f"{load.rate:g} requests/s"
    )
    return f"{load.sizes}, {arriving}"


def _comparison(rows: Sequence[Row]) -> Table:
    table = _table("", "predicted", "measured", "target")
    for title in ("verdict", "prediction"):
        table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(
            f"{row.name}, ms" if row.unit == "ms" else row.unit,
            _estimate(row.predicted, row.unit),
            in_unit(row.measured, row.unit),
            in_unit(row.target, row.unit),
            "-" if row.verdict == "no target" else row.verdict,
            row.place or "-",
        )
    return table


def _distributions(report: ValidationReport, *, wide: bool) -> Table:
    """Statistics of each latency; below them the predicted ones, if they are for what was sent."""
    measured, told = report.measured, report.expected
    intervals = ("p50", "p99") if wide and measured.ttft_ms.confidence else ()
    titles = [f"{statistic}, 95 %" for statistic in intervals]
    table = _table("", *STATISTICS, *titles)
    own = (measured.ttft_ms, measured.tpot_ms, measured.itl_ms, measured.e2e_ms)
    expected = (
        (told.ttft_distribution, told.tpot_distribution, None, told.e2e_distribution)
        if told
        else (None,) * 4
    )
    for name, values, predicted in zip(LATENCIES, own, expected, strict=True):
        if values is not None:
            sure = [_between(values.confidence[statistic]) for statistic in intervals]
            table.add_row(name, *_statistics(values), *sure)
            if predicted:
                table.add_row("  predicted", *_statistics(predicted), style="dim")
    return table


def _statistics(values: Spread | Distribution) -> list[str]:
    return [in_ms(getattr(values, statistic)) for statistic in STATISTICS]


def _between(interval: Interval) -> str:
    low, high = interval
    return "-" if low is None or high is None else f"{in_ms(low)} to {in_ms(high)}"


def _definitions(definitions: dict[str, str]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, definition in definitions.items():
        table.add_row(name, definition)
    return table


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    for title in numbers:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _tails(measured: Measured) -> Iterator[str]:
    """Latencies of which the median alone tells too little."""
    for name, spread in (("TTFT", measured.ttft_ms), ("TPOT", measured.tpot_ms)):
        if spread and 0 < LONG_TAIL * spread.p50 < spread.p90:
            yield f"One in ten has more than {spread.p90 / spread.p50:.1f} times the median {name}."


def facts(report: ValidationReport) -> list[str]:
    """What there is to know beside the tables, one sentence per line."""
    measured, lag = report.measured, report.measured.client_lag_ms
    late = "" if lag is None else f"; requests were sent at most {lag:.1f} ms late"
    if measured.timeline and measured.client_lag_p99_ms is not None:
        late += f", 99 % of them at most {measured.client_lag_p99_ms:.1f} ms"
    counted = measured.failures is not None
    failed = f"{measured.failed or 'none'} failed" if counted else "failures were not counted"
    lines = [
        f"{measured.requests:,} requests in {measured.span_s:.1f} s{_after(report.warm_up)}; "
        f"{failed}.",
        f"{number(measured.total_tokens_per_s)} tokens/s, prompts included{late}.",
        *_tails(measured),
    ]
    if report.warming_up:
        lines.append("It may still have been warming up; measure again after more: --warmup.")
    lines += why_lines([report.not_learned], [report.not_comparable])
    if report.engine_ms:
        told = ", ".join(f"{name} {in_ms(ms)}" for name, ms in report.engine_ms.items())
        lines.append(f"The engine's own clocks, mean ms: {told}.")
    if measured.failures:
        kinds = ", ".join(f"{number} {kind}" for kind, number in measured.failures.items())
        reasons = [f"; the first: {r.message}" for r in report.requests if r.message]
        lines.append(f"Failed: {kinds}{reasons[0] if reasons else ''}.")
    if measured.other_length:
        lines.append(f"{measured.other_length:,} answers have another length than asked.")
    return lines


def why_lines(
    not_learned: Sequence[Reason | None], not_comparable: Sequence[Reason | None]
) -> list[str]:
    """Each reason once, one sentence per line."""
    other = dict.fromkeys(each.why for each in not_comparable if each)
    unlearned = dict.fromkeys(each.why for each in not_learned if each and each != NOT_KNOWN)
    lines = [f"Not comparable with the prediction: {why}." for why in other]
    return lines + [f"Not learned from: {why}." for why in unlearned]


def _after(warm_up: WarmUp | None) -> str:
    if warm_up is None:
        return ""
    settled = "latency had settled" if warm_up.stable else "latency had not settled"
    return f" after a warm-up of {warm_up.requests:,} ({settled})"


def _verdict(report: ValidationReport) -> str:
    missed = [row.name for row in report.rows if row.verdict == "fail"]
    if missed:
        return f"fail, missed the target for {' and '.join(missed)}"
    if report.measured.failed:
        return "fail, requests failed"
    unknown = [f"{row.name}: {row.needed:,} needed" for row in report.rows if row.needed]
    if unknown:
        return f"unknown, too few requests to tell {' and '.join(unknown)}"
    return "pass" if report.verdict == "pass" else "no target was stated"


def _estimate(estimate: Estimate | None, unit: str) -> str:
    if estimate is None:
        return "-"
    parts = (estimate.value, estimate.low, estimate.high)
    value, low, high = (in_unit(part, unit) for part in parts)
    return f"{value} ({low} to {high})"
