"""Sweeps of a made plan, as `tpdeploy validate --sweep` would measure them."""

from collections.abc import Sequence
from datetime import UTC, datetime

from tests.harness.plans import prediction, small_plan
from tests.harness.test_metrics import exchange
from tpdeploy.harness.measure.comparison import compare, overall
from tpdeploy.harness.measure.metrics import DEFINITIONS, measure
from tpdeploy.harness.measure.report import ValidationReport, WarmUp
from tpdeploy.harness.measure.sweep import SweepReport, sweep_report
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.replay import at_load
from tpdeploy.planner.workload import Target, Workload

LOAD = Workload(input_tokens=16, output_tokens=4, concurrency=2, ttft=Target(ms=200))


def measured(
    load: float, ttft_s: float, tokens_per_s: float, plan: DeploymentPlan | None = None
) -> ValidationReport:
    """One load of `plan`: every request with that TTFT and 10 ms a token."""
    made = plan or small_plan(LOAD)
    workload = at_load(made.workload, load)
    figures = measure([exchange(ttft_s, 0.01)] * 40, 40.0, workload)
    rates = {"output_tokens_per_s": tokens_per_s, "requests_per_s": tokens_per_s / 4}
    figures = figures.model_copy(update=rates)
    rows = compare(figures, None, workload)
    return ValidationReport(
        started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        endpoint="http://127.0.0.1:8000",
        versions={"tpdeploy": "0", "server": "1.2.3"},
        plan=made,
        workload=workload,
        seed=0,
        definitions=DEFINITIONS,
        warm_up=WarmUp(requests=4, failed=0, stable=True),
        measured=figures,
        rows=rows,
        verdict=overall(rows, 0),
        requests=(),
    )


def sweep(
    points: Sequence[tuple[float, float, float]], plan: DeploymentPlan | None = None
) -> SweepReport:
    """A sweep of (load, TTFT in seconds, output tokens/s), each predicted at 50 ms and 100 /s."""
    reports = [measured(*point, plan) for point in points]
    return sweep_report(reports, [prediction() for _ in reports])
