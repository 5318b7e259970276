"""Verdicts: against the target, and against the predicted range."""

import pytest

from tests.harness.plans import prediction
from tests.harness.test_metrics import exchange, measured
from tpdeploy.harness.measure.comparison import Row, Verdict, compare, overall, place, verdict
from tpdeploy.planner.plan import Estimate
from tpdeploy.planner.workload import Percentile, Target, Workload

LOAD = Workload(input_tokens=10, output_tokens=3, concurrency=2)
# TTFT p50 200 ms, TPOT p50 20 ms, of which 20 requests can tell p50 and not p99.
FIGURES = measured(*[exchange(0.1, 0.01), exchange(0.3, 0.03)] * 10)


@pytest.mark.parametrize(
    ("target", "expected"), [(None, "no target"), (20.0, "pass"), (20.5, "pass"), (19.9, "fail")]
)
def test_a_target_is_met_up_to_its_value(target: float | None, expected: Verdict) -> None:
    """Equal is met, more is missed, none stated is neither."""
    assert FIGURES.tpot_ms is not None
    limit = None if target is None else Target(ms=target)
    assert verdict(FIGURES.tpot_ms, limit, FIGURES.requests) == expected


@pytest.mark.parametrize(
    ("at", "ms", "requests", "expected"),
    [
        ("p99", 400, 367, "unknown"),
        ("p99", 400, 368, "pass"),
        ("p99", 250, 368, "fail"),
        ("p90", 400, 35, "unknown"),
        ("p90", 400, 36, "pass"),
        ("p50", 400, 5, "unknown"),
        ("p50", 400, 6, "pass"),
        ("mean", 400, 2, "pass"),
    ],
)
def test_a_target_is_met_only_where_so_many_requests_tell(
    at: Percentile, ms: float, requests: int, expected: Verdict
) -> None:
    """The extreme of 367 requests is below the p99 of all too often; one more, and it is not."""
    assert verdict(FIGURES.ttft_ms, Target(ms=ms, at=at), requests) == expected


def test_a_miss_beyond_doubt_needs_few_requests() -> None:
    """Of 20 requests even the low end of p99 is 300 ms: a target below it is missed."""
    low, high = FIGURES.ttft_ms.confidence["p99"]
    assert low == pytest.approx(300)
    assert high is None
    assert verdict(FIGURES.ttft_ms, Target(ms=299, at="p99"), FIGURES.requests) == "fail"
    assert verdict(FIGURES.ttft_ms, Target(ms=301, at="p99"), FIGURES.requests) == "unknown"


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
    assert (ttft.name, ttft.verdict, ttft.needed) == ("TTFT p99", "fail", None)
    assert (tpot.name, tpot.verdict) == ("TPOT p50", "no target")
    assert [ttft.measured, tpot.measured] == pytest.approx([300, 20])
    assert (tokens.measured, requests.measured) == (15, 5)
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


def test_a_target_that_cannot_be_told_is_not_met() -> None:
    """Though another is; a miss beside it is a miss."""
    unsure = {"tpot": Target(ms=500, at="p99")}
    met, missed = Target(ms=500), Target(ms=100)
    rows = compare(FIGURES, None, LOAD.model_copy(update={"ttft": met, **unsure}))
    assert [row.verdict for row in rows[:2]] == ["pass", "unknown"]
    assert rows[1].needed == 368
    assert overall(rows, 0) == "unknown"
    rows = compare(FIGURES, None, LOAD.model_copy(update={"ttft": missed, **unsure}))
    assert overall(rows, 0) == "fail"


def test_rows_of_earlier_versions_are_read() -> None:
    """They tell metric and statistic in their name alone, as `TTFT p50`, and `requests`."""
    for row in compare(FIGURES, prediction(ttft_ms=200), LOAD):
        earlier = row.model_dump(exclude={"metric", "at"})
        assert Row.model_validate(earlier) == row
