"""Confidence intervals hold what they promise, or are not given."""

import random
from math import log

import pytest

from tpdeploy.harness.measure.confidence import mean_interval, percentile_interval
from tpdeploy.planner.serving.percentiles import SHARES, requests_needed


@pytest.mark.parametrize(
    ("at", "needed"), [("mean", 2), ("p50", 6), ("p90", 36), ("p95", 72), ("p99", 368)]
)
def test_the_number_of_requests_that_a_statistic_needs(at: str, needed: int) -> None:
    """By hand: 0.5^6, 0.9^36, 0.95^72 and 0.99^368 are the first powers of at most 2.5 %."""
    assert requests_needed(at) == needed


@pytest.mark.parametrize("at", SHARES)
def test_below_that_number_a_bound_is_missing_and_from_it_on_none(at: str) -> None:
    """One value less, and the interval is open to a side."""
    needed = requests_needed(at)
    assert None in percentile_interval(range(needed - 1), SHARES[at])
    for count in (needed, needed + 1, 10 * needed):
        assert None not in percentile_interval(range(count), SHARES[at])


@pytest.mark.parametrize(("at", "count"), [("p50", 20), ("p90", 40), ("p95", 100), ("p99", 400)])
def test_the_true_percentile_lies_within_in_95_of_100_samples(at: str, count: int) -> None:
    """Of 2,000 drawn samples of an exponential distribution, whose percentiles are known."""
    draw = random.Random(1)  # noqa: S311 - samples, not cryptography
    true, held = -log(1 - SHARES[at]), 0
    for _ in range(2000):
        low, high = percentile_interval(
            sorted(draw.expovariate(1) for _ in range(count)), SHARES[at]
        )
        assert low is not None
        assert high is not None
        held += low <= true <= high
    assert held >= 0.945 * 2000


def test_one_value_tells_no_mean() -> None:
    """Its error is not known."""
    assert mean_interval([3.0]) == (None, None)


def test_many_values_take_no_time() -> None:
    """Hundreds of thousands of inter-token latencies: by hand 100,000 -+ 1.96 x sqrt(50,000)."""
    assert percentile_interval(range(200_000), 0.5) == pytest.approx((99_561, 100_438), abs=2)
