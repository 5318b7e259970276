"""Latencies from the times of one request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpdeploy.harness.load.exchange import Exchange

steps = st.lists(
    st.tuples(st.floats(0, 10), st.integers(1, 5)), min_size=1, max_size=40
)  # seconds since the last arrival, tokens that came


def exchange(arrivals: list[tuple[float, int]]) -> Exchange:
    at, result = 100.0, Exchange(due=100.0, sent=100.0)
    for seconds, tokens in arrivals:
        at += seconds
        result.arrivals.append((at, tokens))
        result.output_tokens += tokens
    return result


def test_definitions_by_hand() -> None:
    """First token after 2 s, then 1 s, then two tokens together after 4 s."""
    result = exchange([(2, 1), (1, 1), (4, 2)])
    assert (result.ttft_s, result.e2e_s) == (2, 7)
    assert result.tpot_s == pytest.approx(5 / 3)
    assert result.gaps_s == [1, 2, 2]


def test_one_token_has_no_time_per_further_token() -> None:
    """TPOT of a single token is undefined, not zero."""
    assert exchange([(2, 1)]).tpot_s is None


@given(steps)
def test_gaps_add_up_to_the_time_after_the_first_token(
    arrivals: list[tuple[float, int]],
) -> None:
    """Inter-token latencies share out exactly what lies between first and last token."""
    result = exchange(arrivals)
    assert sum(result.gaps_s) == pytest.approx(result.e2e_s - result.ttft_s, abs=1e-6)
    assert len(result.gaps_s) == result.output_tokens - arrivals[0][1]
