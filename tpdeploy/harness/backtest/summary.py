"""How far the predictions of measured runs are off: by engine, GPU, model and width, and in all."""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean, median
from typing import Literal

from pydantic import Field

from tpdeploy.harness.backtest.doubling import Doubling, doublings
from tpdeploy.harness.backtest.prediction import Compared, Failed, Predicted, Result
from tpdeploy.harness.backtest.table import Row
from tpdeploy.profiles.record import Record

By = Literal["all", "engine", "gpu", "model", "tp"]
GROUPINGS: tuple[By, ...] = ("engine", "gpu", "model", "tp")

Pair = tuple[Row, Result]


class Errors(Record):
    """Errors of predictions against measurements; error = predicted / measured - 1."""

    rows: int = Field(gt=0, description="rows predicted that state the measurement")
    median_absolute_percent: float
    mean_absolute_percent: float
    median_signed_percent: float = Field(description="above 0: predicted more than was measured")
    in_range_percent: float = Field(description="rows whose measurement is in the predicted range")


class Group(Record):
    """The rows of one engine, GPU, model or width."""

    by: By
    name: str
    rows: int
    predicted: int
    ttft: Errors | None
    tpot: Errors | None
    output_tokens_per_s: Errors | None


class Unpredicted(Record):
    """Rows that cannot be predicted for the same reason."""

    reason: str
    rows: int


class Summary(Record):
    """A backtest: every group's errors, and why rows were not predicted."""

    file: str
    groups: tuple[Group, ...] = Field(description="all rows first")
    doublings: tuple[Doubling, ...] = Field(description="by width, all pairs last")
    unpredicted: tuple[Unpredicted, ...] = Field(description="the most frequent reason first")


def summarise(file: str, rows: Sequence[Row], results: Sequence[Result]) -> Summary:
    """The errors of `results`, which are the predictions of `rows`, in their order."""
    pairs = list(zip(rows, results, strict=True))
    groups = [_group("all", "all", pairs)]
    for by in GROUPINGS:
        names = sorted({row[by].strip() for row in rows}, key=lambda name: (len(name), name))
        groups += [
            _group(by, name, [pair for pair in pairs if pair[0][by].strip() == name])
            for name in (names if by == "tp" else sorted(names))
        ]
    reasons = Counter(result.reason for result in results if isinstance(result, Failed))
    return Summary(
        file=file,
        groups=tuple(groups),
        doublings=doublings(rows, results),
        unpredicted=tuple(
            Unpredicted(reason=reason, rows=count) for reason, count in reasons.most_common()
        ),
    )


def errors(compared: Iterable[Compared]) -> Errors | None:
    """Their errors in percent; None where nothing was measured."""
    measured = [(c, c.relative_error) for c in compared]
    signed = [100 * error for _, error in measured if error is not None]
    if not signed:
        return None
    inside = [c.in_range for c, error in measured if error is not None]
    return Errors(
        rows=len(signed),
        median_absolute_percent=median(map(abs, signed)),
        mean_absolute_percent=fmean(map(abs, signed)),
        median_signed_percent=median(signed),
        in_range_percent=100 * fmean(inside),
    )


def _group(by: By, name: str, pairs: Sequence[Pair]) -> Group:
    predicted = [result for _, result in pairs if isinstance(result, Predicted)]
    return Group(
        by=by,
        name=name,
        rows=len(pairs),
        predicted=len(predicted),
        ttft=errors(result.ttft for result in predicted),
        tpot=errors(result.tpot for result in predicted),
        output_tokens_per_s=errors(result.output_tokens_per_s for result in predicted),
    )
