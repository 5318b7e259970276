"""Where more load stops to bring more throughput."""

import pytest

from tpdeploy.harness.measure.knee import knee_of_concurrency, knee_of_rate


@pytest.mark.parametrize(
    ("throughput", "knee"),
    [
        ([100, 190, 360, 650], None),  # each further request adds more than 50
        ([100, 190, 300, 310], 4),  # from 4 to 8 each adds 2.5
        ([100, 120, 130, 140], 1),  # already the second adds only 20
        ([100, 190, 180, 500], 2),  # falls before it rises
    ],
)
def test_the_knee_is_where_a_request_adds_half_as_much(
    throughput: list[float], knee: float | None
) -> None:
    """The last load before a further request adds less than half of what one alone has."""
    assert knee_of_concurrency([1, 2, 4, 8], throughput) == knee


def test_one_load_has_no_knee() -> None:
    """There is nothing to compare it with."""
    assert knee_of_concurrency([4], [100]) is None


@pytest.mark.parametrize(
    ("served", "knee"), [([1, 2, 4], None), ([1, 1.96, 3], 2), ([0.5, 0.5, 0.5], 0)]
)
def test_a_rate_beyond_the_knee_is_not_served(served: list[float], knee: float | None) -> None:
    """The highest rate of which 95 % is served; 0 when not even the lowest is."""
    assert knee_of_rate([1, 2, 4], served, [10_000] * 3) == knee


@pytest.mark.parametrize(("requests", "knee"), [(25, None), (400, 1)])
def test_a_shortfall_that_chance_explains_is_none(requests: int, knee: float | None) -> None:
    """25 arrivals are 20 % off now and then: 1.6 of 2 requests/s says nothing; of 400 it does."""
    assert knee_of_rate([1, 2], [1, 1.6], [requests] * 2) == knee
