"""The tables of a report, in words, so that the page only lays them out."""

from dataclasses import dataclass

from tpdeploy.cli.report.content import Content
from tpdeploy.cli.report.plots import memory_parts, share
from tpdeploy.cli.views import daily as daily_view
from tpdeploy.cli.views.splits import split_words
from tpdeploy.cli.views.sweep import shown_rows
from tpdeploy.cli.views.timeline import HEAD, timeline_rows
from tpdeploy.harness.measure.comparison import Row
from tpdeploy.harness.measure.sweep import Point
from tpdeploy.numbers import in_ms, number
from tpdeploy.planner.daily import DailyPlan
from tpdeploy.planner.memory.footprint import GIB
from tpdeploy.planner.plan import Estimate, Prediction
from tpdeploy.planner.search.replay import load_of
from tpdeploy.planner.workload import Target


@dataclass(frozen=True)
class Table:
    """Titles, and rows of as many cells; the first cell of a row names it."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[int] = frozenset()  # columns of text, not of figures


def points_table(content: Content) -> Table:
    """Predicted, measured and target at every load that was measured."""
    rows = [_compared(point, row) for point in content.points for row in shown_rows(point)]
    titles = (content.load_axis, "figure", "predicted", "measured", "target", "verdict")
    return Table(titles, tuple(rows), frozenset({1, 5}))


def curve_table(content: Content) -> Table:
    """The prediction at every load of the curve."""
    rows = [
        (number_of(load), *_predicted(prediction))
        for load, prediction in zip(content.chosen.loads, content.chosen.predictions, strict=True)
    ]
    ttft, tpot = content.plan.workload.ttft, content.plan.workload.tpot
    titles = (
        content.load_axis,
        f"TTFT {statistic(ttft)}, ms",
        f"TPOT {statistic(tpot)}, ms",
        "output tokens/s",
        "requests/s",
    )
    return Table(titles, tuple(rows))


def timeline_table(content: Content) -> Table:
    """The replay over time: as predicted, and as measured where it was; no row without one."""
    predicted, measured = content.plan.prediction.timeline, None
    if content.points:
        predicted = content.points[0].prediction.timeline
        measured = content.points[0].measured.timeline
    return Table(HEAD, tuple(timeline_rows(predicted, measured)))


def day_table(daily: DailyPlan) -> Table:
    """Each hour of a day, and what it takes."""
    return Table(daily_view.HEAD, tuple(daily_view.hour_rows(daily)))


def day_figures(daily: DailyPlan, price: float | None) -> Table:
    """What a day takes, and what scaling saves."""
    rows = daily_view.figure_rows(daily, price)
    return Table(("figure", "value", "in a day"), tuple(rows), frozenset({2}))


def day_widths(daily: DailyPlan) -> Table:
    """What each width takes for the day."""
    return Table(daily_view.WIDTHS_HEAD, tuple(daily_view.width_rows(daily)))


def memory_table(content: Content) -> Table:
    """Bytes of a device by what they are for."""
    memory = content.plan.memory_per_gpu
    rows = [
        (name, f"{size / GIB:.2f}", f"{size / memory.total_bytes:.0%}")
        for name, size in memory_parts(memory)
    ]
    rows.append(("together", f"{memory.total_bytes / GIB:.2f}", "100%"))
    return Table(("part", "GiB", "share"), tuple(rows))


def communication_table(content: Content) -> Table:
    """Decode and prefill steps by width."""
    rows = [
        (
            f"TP {cost.tensor}",
            number(cost.decode.total * 1e3),
            number(cost.decode.communication * 1e3),
            share(cost.decode),
            number(cost.prefill.total * 1e3),
            number(cost.prefill.communication * 1e3),
            share(cost.prefill),
        )
        for cost in content.widths
    ]
    titles = (
        "width",
        "decode step, ms",
        "its communication, ms",
        "of the decode step",
        "prefill, ms",
        "its communication, ms",
        "of the prefill",
    )
    return Table(titles, tuple(rows))


def splits_table(content: Content) -> Table:
    """The chosen split and every other, with the reason."""
    plan = content.plan
    rows = [(split_words(plan.parallelism), *_short(plan.prediction), "chosen")]
    rows += [
        (
            split_words(other),
            number(other.output_tokens_per_s),
            in_ms(other.ttft_ms),
            in_ms(other.tpot_ms),
            other.reason,
        )
        for other in plan.alternatives
    ]
    return Table(("split", "tokens/s", "TTFT, ms", "TPOT, ms", "why"), tuple(rows), frozenset({4}))


def engines_table(content: Content) -> Table:
    """Every engine that was asked."""
    rows = [
        (
            engine.name,
            split_words(engine.parallelism) if engine.parallelism else "-",
            number(engine.output_tokens_per_s),
            in_ms(engine.ttft_ms),
            in_ms(engine.tpot_ms),
            engine.reason,
        )
        for engine in content.plan.engines
    ]
    titles = ("engine", "split", "tokens/s", "TTFT, ms", "TPOT, ms", "why")
    return Table(titles, tuple(rows), frozenset({5}))


def number_of(load: float) -> str:
    """A load as it was asked for."""
    return f"{load:,g}"


def statistic(target: Target | None) -> str:
    """The statistic that is held to the target; the median without one."""
    return target.at if target else "p50"


def with_range(estimate: Estimate) -> str:
    """An estimate and the range it is expected in."""
    return f"{number(estimate.value)} ({number(estimate.low)} to {number(estimate.high)})"


def _compared(point: Point, row: Row) -> tuple[str, ...]:
    expected = row.predicted
    return (
        number_of(load_of(point.workload)),
        f"{row.name}, ms" if row.unit == "ms" else row.unit,
        with_range(expected) if expected else "-",
        _with_confidence(point, row),
        number(row.target),
        "-" if row.verdict == "no target" else row.verdict,
    )


def _with_confidence(point: Point, row: Row) -> str:
    """A measured latency with its 95 % confidence interval, if there is one; a rate has none."""
    spread = {"TTFT": point.measured.ttft_ms, "TPOT": point.measured.tpot_ms}.get(row.metric)
    low, high = spread.confidence.get(row.at, (None, None)) if spread and row.at else (None, None)
    if low is None or high is None:
        return number(row.measured)
    return f"{number(row.measured)} ({number(low)} to {number(high)})"


def _predicted(prediction: Prediction) -> tuple[str, ...]:
    figures = (prediction.ttft_ms, prediction.tpot_ms)
    rates = (prediction.output_tokens_per_s, prediction.requests_per_s)
    return tuple(with_range(estimate) for estimate in (*figures, *rates))


def _short(prediction: Prediction) -> tuple[str, str, str]:
    return (
        number(prediction.output_tokens_per_s.value),
        in_ms(prediction.ttft_ms.value),
        in_ms(prediction.tpot_ms.value),
    )
