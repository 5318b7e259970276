"""Predictions against measurements over time, from the reports of validations."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from tpdeploy.bounds import LEAST_TTFT_MS
from tpdeploy.harness.measure.comparison import Metric, Row
from tpdeploy.harness.measure.relearning import validations
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.record import Record, Text


class Held(Record):
    """One latency, predicted and measured, in ms."""

    name: Text
    predicted: float | None = Field(description="None: nothing was predicted for this load")
    measured: float
    error: float | None = Field(description="predicted / measured - 1")


class Entry(Record):
    """One validation."""

    measured_at: datetime
    measured_by: Text
    model: Text
    device: Text
    backend: Text
    parallelism: Parallelism
    workload: Workload
    ttft: Held
    tpot: Held | None = Field(description="None: one output token")
    source: Text = Field(description="of the plan's prediction")


class History(Record):
    """Every validation that is kept, newest first."""

    version: Literal[1] = 1
    entries: tuple[Entry, ...]


def history() -> History:
    """What is kept here."""
    return History(entries=tuple(_entry(report) for report in validations()))


def _entry(report: ValidationReport) -> Entry:
    plan = report.plan
    return Entry(
        measured_at=report.started_at,
        measured_by=report.measured_by,
        model=plan.model.id,
        device=plan.cluster.gpu,
        backend=plan.backend,
        parallelism=plan.parallelism,
        workload=report.workload,
        ttft=next(held for row in report.rows if (held := _held(row, "TTFT"))),
        tpot=next((held for row in report.rows if (held := _held(row, "TPOT"))), None),
        source=plan.prediction.ttft_ms.source,
    )


def _held(row: Row, metric: Metric) -> Held | None:
    if row.metric != metric:
        return None
    predicted = row.predicted.value if row.predicted else None
    told = predicted is not None and row.measured > LEAST_TTFT_MS
    error = predicted / row.measured - 1 if predicted is not None and told else None
    return Held(name=row.name, predicted=predicted, measured=row.measured, error=error)
