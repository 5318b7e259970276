"""Verdicts: against the target, and against the predicted range."""

import pytest

from tests.harness.plans import prediction
from tests.harness.test_metrics import exchange, measured
from tpdeploy.harness.comparison import Verdict, compare, overall, place, verdict
from tpdeploy.planner.plan import Estimate
from tpdeploy.planner.workload import Target, Workload

LOAD = Workload(input_tokens=10, output_tokens=3, concurrency=2)
FIGURES = measured(exchange(0.1, 0.01), exchange(0.3, 0.03))  # TTFT p50 200 ms, TPOT p50 20 ms


@pytest.mark.parametrize(
    ("target", "expected"), [(None, "no target"), (20.0, "pass"), (20.5, "pass"), (19.9, "fail")]
)
def test_a_target_is_met_up_to_its_value(target: float | None, expected: Verdict) -> None:
    """Equal is met, more is missed, none stated is neither."""
    assert verdict(20.0, target) == expected


@pytest.mark.parametrize(
    ("measured_ms", "expected"),
    [(9.9, "below"), (10.0, "in range"), (30.0, "in range"), (30.1, "above")],
)
def test_the_place_in_the_predicted_range(measured_ms: float, expected: str) -> None:
    """The ends of the range belong to it."""
    assert place(measured_ms, Estimate(value=20, low=10, high=30, source="model")) == expected


def test_rows_use_the_statistic_the_target_names() -> None:
    """A target at p99 is compared with the measured p99; without a target p50 counts."""
    load = LOAD.model_copy(update={"ttft": Target(ms=290, at="p99")})
    ttft, tpot, tokens, requests = compare(FIGURES, prediction(), load)
    assert (ttft.name, ttft.verdict) == ("TTFT p99", "fail")
    assert (tpot.name, tpot.verdict) == ("TPOT p50", "no target")
    assert [ttft.measured, tpot.measured] == pytest.approx([298, 20])
    assert (tokens.measured, requests.measured) == (1.5, 0.5)
    assert ttft.predicted == prediction().ttft_ms
    assert tpot.place == "in range"


def test_without_a_prediction_there_is_nothing_to_place() -> None:
    """A load the plan was not made for is measured and not held against the plan."""
    for row in compare(FIGURES, None, LOAD):
        assert row.predicted is None
        assert row.place is None


def test_the_overall_verdict() -> None:
    """One miss or one failed request fails; met targets pass; no target is no pass."""
    met = compare(FIGURES, None, LOAD.model_copy(update={"ttft": Target(ms=500)}))
    missed = compare(FIGURES, None, LOAD.model_copy(update={"ttft": Target(ms=100)}))
    none = compare(FIGURES, None, LOAD)
    assert [overall(rows, 0) for rows in (met, missed, none)] == ["pass", "fail", "no target"]
    assert overall(met, failed=1) == overall(none, failed=1) == "fail"
