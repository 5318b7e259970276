"""How far the gain in tokens/s from a width to its double is off, which decides TP or replicas."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean, median

from pydantic import Field

from tpdeploy.harness.backtest.prediction import Predicted, Result
from tpdeploy.harness.backtest.table import Row, number, stated, whole
from tpdeploy.planner.search.ranking import TIE
from tpdeploy.profiles.record import Record

# What is the same in two runs that compare widths: the engine, the source, and the load of a group.
SAME = ("engine", "model", "precision", "gpu", "input_tokens", "output_tokens")
SETTING = (*SAME, "engine_version", "server", "family", "concurrency")


class Doubling(Record):
    """Errors of the gain when a width doubles: predicted gain / measured gain - 1."""

    name: str = Field(description="'1 to 2', or 'all'")
    pairs: int = Field(gt=0, description="of runs that differ in their width alone")
    median_absolute_percent: float
    mean_absolute_percent: float
    median_signed_percent: float = Field(description="above 0: more gain predicted than measured")
    within_tie_percent: float = Field(description="pairs within what plans call equally good")


def doublings(rows: Sequence[Row], results: Sequence[Result]) -> tuple[Doubling, ...]:
    """The errors of every doubling, and of all; none if no two rows differ in width alone."""
    found: defaultdict[int, list[float]] = defaultdict(list)
    for width, error in errors(zip(rows, results, strict=True)):
        found[width].append(error)
    every = [error for errors in found.values() for error in errors]
    groups = [(f"{w} to {2 * w}", group) for w, group in sorted(found.items())] + [("all", every)]
    return tuple(_doubling(name, group) for name, group in groups if group)


def errors(pairs: Iterable[tuple[Row, Result]]) -> Iterator[tuple[int, float]]:
    """The narrower width of each doubling, and predicted / measured - 1 of its gain."""
    by_setting: defaultdict[tuple[str, ...], dict[int, float]] = defaultdict(dict)
    for row, told in pairs:
        ratio = _ratio(row, told)
        if ratio is not None:
            by_setting[tuple(stated(row, name) for name in SETTING)][whole(row, "tp", 1)] = ratio
    for widths in by_setting.values():
        for width, ratio in widths.items():
            if 2 * width in widths:
                yield width, widths[2 * width] / ratio - 1


def tokens_per_s(row: Row, told: Predicted) -> float | None:
    """What was measured, from the latencies where only these are stated."""
    ttft, tpot = told.ttft.measured, told.tpot.measured
    rate, clients = told.output_tokens_per_s.measured, number(stated(row, "concurrency"))
    if rate is not None or ttft is None or tpot is None or clients is None:
        return rate
    tokens = float(row["output_tokens"])
    return clients * tokens / (ttft + tpot * (tokens - 1)) * 1000


def is_group(row: Row) -> bool:
    """Whether a row is one group with a load of its own; at a rate every width serves as much."""
    alone = all(whole(row, name, 0, default=1) == 1 for name in ("pp", "dp"))
    return alone and bool(stated(row, "concurrency")) and not stated(row, "request_rate")


def _ratio(row: Row, told: Result) -> float | None:
    """Predicted / measured tokens/s of one group; None if there is no such figure."""
    if not isinstance(told, Predicted) or not is_group(row):
        return None
    measured = tokens_per_s(row, told)
    return told.output_tokens_per_s.predicted / measured if measured else None


def _doubling(name: str, found: Sequence[float]) -> Doubling:
    sizes = [abs(error) for error in found]
    return Doubling(
        name=name,
        pairs=len(found),
        median_absolute_percent=100 * median(sizes),
        mean_absolute_percent=100 * fmean(sizes),
        median_signed_percent=100 * median(found),
        within_tie_percent=100 * fmean(size <= TIE for size in sizes),
    )
