"""Measured against predicted and against target, row by row."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from tpdeploy.harness.metrics import Measured
from tpdeploy.planner.plan import Distribution, Estimate, Prediction
from tpdeploy.planner.workload import Percentile, Target, Workload
from tpdeploy.profiles.record import Record, Text

Verdict = Literal["pass", "fail", "no target"]
Place = Literal["below", "in range", "above"]


class Row(Record):
    """One figure: predicted, measured, and the most it may be."""

    name: Text
    unit: Text
    predicted: Estimate | None
    measured: float
    target: float | None
    verdict: Verdict
    place: Place | None = Field(description="of the measured value, seen from the predicted range")


def verdict(measured: float, target: float | None) -> Verdict:
    """Whether the target is met; a figure equal to its target meets it."""
    if target is None:
        return "no target"
    return "pass" if measured <= target else "fail"


def place(measured: float, predicted: Estimate | None) -> Place | None:
    """Where the measured value lies, seen from the predicted range."""
    if predicted is None:
        return None
    if measured < predicted.low:
        return "below"
    return "above" if measured > predicted.high else "in range"


def compare(
    measured: Measured, prediction: Prediction | None, workload: Workload
) -> tuple[Row, ...]:
    """TTFT and TPOT at the statistic their target names (p50 without one), and the rates.

    `prediction` is None when it was made for another load than `workload`.
    """
    ttft, tpot = workload.ttft, workload.tpot
    rows = [_latency("TTFT", measured.ttft_ms, prediction.ttft_ms if prediction else None, ttft)]
    if measured.tpot_ms is not None:
        predicted = prediction.tpot_ms if prediction else None
        rows.append(_latency("TPOT", measured.tpot_ms, predicted, tpot))
    tokens = prediction.output_tokens_per_s if prediction else None
    requests = prediction.requests_per_s if prediction else None
    rows.append(_row("throughput", "output tokens/s", measured.output_tokens_per_s, tokens, None))
    rows.append(_row("requests", "requests/s", measured.requests_per_s, requests, None))
    return tuple(rows)


def overall(rows: Sequence[Row], failed: int) -> Verdict:
    """`fail` when a target is missed or a request failed, `no target` when none was stated."""
    verdicts = {row.verdict for row in rows}
    if failed or "fail" in verdicts:
        return "fail"
    return "pass" if "pass" in verdicts else "no target"


def _latency(
    name: str, measured: Distribution, predicted: Estimate | None, target: Target | None
) -> Row:
    at: Percentile = target.at if target else "p50"
    limit = target.ms if target else None
    return _row(f"{name} {at}", "ms", measured.at(at), predicted, limit)


def _row(
    name: str, unit: str, measured: float, predicted: Estimate | None, target: float | None
) -> Row:
    return Row(
        name=name,
        unit=unit,
        predicted=predicted,
        measured=measured,
        target=target,
        verdict=verdict(measured, target),
        place=place(measured, predicted),
    )
