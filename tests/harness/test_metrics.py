"""Figures of a measurement, by hand and by property."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpdeploy.harness.load.exchange import Exchange, Failure
from tpdeploy.harness.measure.metrics import Measured, measure, spread
from tpdeploy.planner.serving.percentiles import statistics_ms
from tpdeploy.planner.workload import Target, Workload

LOAD = Workload(input_tokens=10, output_tokens=3, concurrency=2)


def exchange(ttft: float, gap: float, tokens: int = 3, lag: float = 0.0) -> Exchange:
    arrivals = [(ttft + gap * number, 1) for number in range(tokens)]
    return Exchange(-lag, 0.0, arrivals, output_tokens=tokens, finished=arrivals[-1][0])


def measured(*exchanges: Exchange, load: Workload = LOAD) -> Measured:
    return measure(exchanges, 4.0, load)


def test_rates_and_latencies_by_hand() -> None:
    """Two requests of 3 tokens in 4 s, one with gaps three times as long, and 2 ms late."""
    result = measured(exchange(0.1, 0.01), exchange(0.3, 0.03, lag=0.002))
    assert result.ttft_ms.mean == pytest.approx(201)
    assert result.tpot_ms is not None
    assert result.tpot_ms.p50 == pytest.approx(20)
    assert result.itl_ms is not None
    assert result.itl_ms.mean == pytest.approx(20)
    assert result.e2e_ms.p99 == pytest.approx(120 + 0.99 * 242)
    assert (result.requests_per_s, result.output_tokens_per_s) == (0.5, 1.5)
    assert result.total_tokens_per_s == (2 * 10 + 6) / 4
    assert result.client_lag_ms == pytest.approx(2)
    assert result.goodput_per_s is None


def test_confidence_is_that_of_the_binomial_and_of_the_mean() -> None:
    """By hand for a hundred values; there is no bound beyond the sample."""
    found = spread([number / 1000 for number in range(1, 101)])
    assert found.confidence["p50"] == pytest.approx((40, 61))
    low, high = found.confidence["p99"]
    assert low == pytest.approx(97)
    assert high is None
    error = 1.96 * 29.011 / 10
    assert found.confidence["mean"] == pytest.approx((50.5 - error, 50.5 + error), rel=1e-3)


@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=60))
def test_every_statistic_lies_within_its_interval(seconds: list[float]) -> None:
    """Where there are values enough for one."""
    found = spread(seconds)
    for name, (low, high) in found.confidence.items():
        if low is not None and high is not None:
            assert low - 1e-6 <= getattr(found, name) <= high + 1e-6


def test_answers_of_another_length_count_and_are_counted() -> None:
    """Where an engine cannot force the length; their tokens are those that came."""
    short = exchange(0.1, 0.01, tokens=2)
    short.asked = 3
    result = measured(short, exchange(0.1, 0.01))
    assert result.other_length == 1
    assert result.output_tokens_per_s == 5 / 4


def test_failures_are_counted_by_kind_and_leave_the_latencies_alone() -> None:
    """A failed request is neither a latency nor a token."""
    bad = Exchange(0.0, 0.0, failure=Failure("timeout", "late"))
    result = measured(exchange(0.1, 0.01), bad, bad)
    assert result.failures == {"timeout": 2}
    assert result.failed == 2
    assert (result.requests, result.requests_per_s) == (1, 0.25)
    assert result.ttft_ms.p99 == pytest.approx(100)


def test_goodput_counts_requests_that_meet_every_target() -> None:
    """One misses TTFT, one misses TPOT, one meets both: one in 4 s."""
    load = LOAD.model_copy(update={"ttft": Target(ms=200), "tpot": Target(ms=20)})
    three = (exchange(0.3, 0.01), exchange(0.1, 0.03), exchange(0.1, 0.01))
    assert measured(*three, load=load).goodput_per_s == 0.25


def test_a_single_output_token_has_no_tpot() -> None:
    """TPOT and ITL are absent, not zero."""
    result = measured(exchange(0.1, 0.0, tokens=1))
    assert result.tpot_ms is None
    assert result.itl_ms is None


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=60))
def test_percentiles_are_ordered_and_within_the_values(seconds: list[float]) -> None:
    """p50 <= p90 <= p99, nothing beyond the extremes, whatever the order of the values."""
    result = statistics_ms(seconds)
    assert result == statistics_ms(sorted(seconds))
    inner = [result[at] for at in ("p50", "p90", "p95", "p99")]
    ends = [min(seconds) * 1000, *inner, max(seconds) * 1000]
    tolerance = 1e-9 * max(1.0, ends[-1])
    assert all(low <= high + tolerance for low, high in pairwise(ends))


@given(st.lists(st.floats(0.001, 1e3), min_size=2, max_size=60), st.floats(0.1, 10))
def test_percentiles_scale_with_the_values(seconds: list[float], factor: float) -> None:
    """Twice the latencies, twice every statistic."""
    one, many = statistics_ms(seconds), statistics_ms([value * factor for value in seconds])
    assert many == pytest.approx({at: value * factor for at, value in one.items()})
