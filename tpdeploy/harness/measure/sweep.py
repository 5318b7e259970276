"""Sweep: one deployment measured under several loads, each compared with its prediction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from tpdeploy.errors import InputError
from tpdeploy.harness.measure.comparison import Row, Verdict, compare, worst
from tpdeploy.harness.measure.knee import CLOSED_LOOP, OPEN_LOOP, knee_of_concurrency, knee_of_rate
from tpdeploy.harness.measure.metrics import Measured
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.harness.measure.teaching import NOT_KNOWN, Reason
from tpdeploy.planner.plan import DeploymentPlan, Prediction
from tpdeploy.planner.search.replay import at_load, load_of
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.record import Record, Text


class Point(Record):
    """One load of a sweep."""

    workload: Workload
    prediction: Prediction
    measured: Measured
    rows: tuple[Row, ...]
    verdict: Verdict
    warming_up: bool = Field(
        default=False, description="what was measured may still have been warming up"
    )
    not_learned: Reason | None = Field(default=NOT_KNOWN, description="None: plans learn from it")
    not_comparable: Reason | None = None


class SweepReport(Record):
    """Measurements under several loads, and the load up to which targets are met."""

    version: Literal[1] = 1
    started_at: datetime
    endpoint: Text
    versions: dict[str, str]
    plan: DeploymentPlan
    seed: int | None
    definitions: dict[str, str]
    points: tuple[Point, ...] = Field(min_length=1, description="lightest load first")
    knee: float | None = Field(description="requests in flight, or /s; None: not reached")
    within_targets: float | None = Field(
        description="heaviest load up to which every target is met; None: no target, or at none"
    )
    verdict: Verdict


def loads_of(text: str, planned: Workload) -> tuple[Workload, ...]:
    """The requests of the plan under each load of `text`, as `1,2,4,8`: lightest first.

    They are requests in flight, or requests/s where the plan is for a rate.

    Raises:
        InputError: not numbers, not above 0, or not whole where requests are counted.
    """
    what = "requests/s" if planned.rate is not None else "requests in flight"
    kind = float if planned.rate is not None else int
    try:
        loads = sorted({kind(part) for part in text.split(",")})
    except ValueError:
        raise InputError(f"--sweep {text}: give {what} with commas between, as 1,2,4,8") from None
    if not 0 < loads[0] <= loads[-1] < float("inf"):
        raise InputError(f"--sweep {text}: {what} must be greater than 0")
    return tuple(at_load(planned, load) for load in loads)


def predicted(report: ValidationReport, prediction: Prediction) -> ValidationReport:
    """`report` with the prediction for its own load."""
    comparable = report.not_comparable is None
    rows = compare(report.measured, prediction, report.workload, comparable=comparable)
    return report.changed(rows=rows, expected=prediction)


def sweep_report(
    reports: Sequence[ValidationReport], predictions: Sequence[Prediction]
) -> SweepReport:
    """The reports of one deployment, lightest load first, with the prediction for each."""
    points = tuple(_point(*pair) for pair in zip(reports, predictions, strict=True))
    first = reports[0]
    return SweepReport(
        started_at=first.started_at,
        endpoint=first.endpoint,
        versions=first.versions,
        plan=first.plan,
        seed=first.seed,
        definitions={**first.definitions, "knee": knee_definition(first.workload)},
        points=points,
        knee=_knee(points),
        within_targets=_within_targets(points),
        verdict=worst(point.verdict for point in points),
    )


def teaches(found: ValidationReport | SweepReport) -> bool:
    """Whether plans learn from it, or from one of its loads."""
    points = found.points if isinstance(found, SweepReport) else (found,)
    return any(point.not_learned is None for point in points)


def in_range(points: Sequence[Point]) -> tuple[int, int]:
    """How many figures lie in the range predicted for them, and of how many.

    Requests/s are not counted: they are tokens/s by the tokens of an answer. Nor is goodput, which
    follows from latencies and requests/s.
    """
    counted = {"TTFT", "TPOT", "throughput"}
    rows = [row for point in points for row in point.rows if row.metric in counted]
    places = [row.place for row in rows if row.place]
    return places.count("in range"), len(places)


def knee_definition(workload: Workload) -> str:
    """What the knee of a sweep of such a load is."""
    return CLOSED_LOOP if workload.rate is None else OPEN_LOOP


def _point(report: ValidationReport, prediction: Prediction) -> Point:
    return Point(
        workload=report.workload,
        prediction=prediction,
        measured=report.measured,
        rows=predicted(report, prediction).rows,
        verdict=report.verdict,
        warming_up=report.warming_up,
        not_learned=report.not_learned,
        not_comparable=report.not_comparable,
    )


def _knee(points: Sequence[Point]) -> float | None:
    loads = [load_of(point.workload) for point in points]
    if points[0].workload.rate is None:
        return knee_of_concurrency(loads, [p.measured.output_tokens_per_s for p in points])
    served = [point.measured.requests_per_s for point in points]
    return knee_of_rate(loads, served, [point.measured.requests for point in points])


def _within_targets(points: Sequence[Point]) -> float | None:
    """The last load before the first at which a target is missed, or cannot be told."""
    met = None
    for point in points:
        if worst(row.verdict for row in point.rows) != "pass":
            break
        met = load_of(point.workload)
    return met
