"""Measured values against prediction and target, row by row."""

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field, model_validator

from tpdeploy.harness.measure.metrics import Measured, Spread
from tpdeploy.planner.plan import Estimate, Prediction
from tpdeploy.planner.serving.percentiles import requests_needed
from tpdeploy.planner.workload import Percentile, Target, Workload
from tpdeploy.profiles.record import Record, Text

# unknown: so few requests tell neither that the target is met nor that it is missed.
Verdict = Literal["pass", "fail", "unknown", "no target"]
Place = Literal["below", "in range", "above"]
Metric = Literal["TTFT", "TPOT", "throughput", "requests", "goodput"]


class Row(Record):
    """One figure: predicted, measured, and the most it may be."""

    name: Text = Field(description="the metric, and the statistic of a latency")
    metric: Metric
    at: Percentile | None = Field(description="the statistic of a latency; None: a rate")
    unit: Text
    predicted: Estimate | None
    measured: float
    target: float | None
    verdict: Verdict
    needed: int | None = Field(
        default=None, description="requests of which the verdict can be told; None: it is"
    )
    place: Place | None = Field(description="of the measured value, seen from the predicted range")

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_version(cls, content: object) -> object:
        """Earlier versions wrote metric and statistic as the name alone."""
        if not isinstance(content, dict) or "metric" in content:
            return content
        metric, _, at = str(content.get("name")).partition(" ")
        return {**content, "metric": metric, "at": at or None}


def verdict(measured: Spread, target: Target | None, requests: int) -> Verdict:
    """Whether the target is met; a figure equal to its target meets it.

    Of too few `requests` only a miss can be told: where even the low end of what the statistic
    may be lies above the target.
    """
    if target is None:
        return "no target"
    if requests >= requests_needed(target.at):
        return "pass" if measured.at(target.at) <= target.ms else "fail"
    low, _ = measured.confidence.get(target.at, (None, None))
    return "fail" if low is not None and low > target.ms else "unknown"


def place(measured: float, predicted: Estimate | None) -> Place | None:
    """Whether the measured value is below, inside or above the predicted range."""
    if predicted is None:
        return None
    if measured < predicted.low:
        return "below"
    return "above" if measured > predicted.high else "in range"


def compare(
    measured: Measured,
    prediction: Prediction | None,
    workload: Workload,
    *,
    comparable: bool = True,
) -> tuple[Row, ...]:
    """TTFT and TPOT at the statistic their target names (p50 without one), and the rates.

    The last of them is goodput, where there are targets.

    `prediction` is None when it was made for another load than `workload`. Where what was sent
    is not `comparable` with it both are shown, and no figure has a place in its range.
    """
    count = measured.requests
    first, later = (prediction.ttft_ms, prediction.tpot_ms) if prediction else (None, None)
    rows = [_latency("TTFT", measured.ttft_ms, first, workload.ttft, count)]
    if measured.tpot_ms is not None:
        rows.append(_latency("TPOT", measured.tpot_ms, later, workload.tpot, count))
    tokens = prediction.output_tokens_per_s if prediction else None
    requests = prediction.requests_per_s if prediction else None
    rows.append(_rate("throughput", "output tokens/s", measured.output_tokens_per_s, tokens))
    rows.append(_rate("requests", "requests/s", measured.requests_per_s, requests))
    if measured.goodput_per_s is not None:
        good = prediction.goodput_per_s if prediction else None
        rows.append(_rate("goodput", "good requests/s", measured.goodput_per_s, good))
    if not comparable:
        rows = [row.changed(place=None) for row in rows]
    return tuple(rows)


def overall(rows: Sequence[Row], failed: int) -> Verdict:
    """`fail` when a target is missed or a request failed, `no target` when none was stated.

    `pass` only when every target is met: one that cannot be told makes it `unknown`.
    """
    return "fail" if failed else worst(row.verdict for row in rows)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on all of them together."""
    found = set(verdicts)
    order: tuple[Verdict, ...] = ("fail", "unknown", "pass")
    return next((verdict for verdict in order if verdict in found), "no target")


def _latency(
    metric: Metric,
    measured: Spread,
    predicted: Estimate | None,
    target: Target | None,
    requests: int,
) -> Row:
    at: Percentile = target.at if target else "p50"
    told = verdict(measured, target, requests)
    return Row(
        name=f"{metric} {at}",
        metric=metric,
        at=at,
        unit="ms",
        predicted=predicted,
        measured=measured.at(at),
        target=target.ms if target else None,
        verdict=told,
        needed=requests_needed(at) if told == "unknown" else None,
        place=place(measured.at(at), predicted),
    )


def _rate(metric: Metric, unit: str, measured: float, predicted: Estimate | None) -> Row:
    return Row(
        name=metric,
        metric=metric,
        at=None,
        unit=unit,
        predicted=predicted,
        measured=measured,
        target=None,
        verdict="no target",
        place=place(measured, predicted),
    )
