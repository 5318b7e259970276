"""The knee: the load above which throughput no longer grows."""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

# Beyond the knee a further request in flight adds less than this share of what one alone brings.
WORTH = 0.5
# Beyond the knee of an open loop less than this share of what arrives is served.
SERVED = 0.95
# Standard deviations that a count of arrivals is off by chance in at most 5 % of measurements.
CHANCE = 1.96

CLOSED_LOOP = (
    "the last load before one more request in flight adds less than half of the output tokens/s "
    "that each had at the lightest load"
)
OPEN_LOOP = (
    "the highest rate of which at least 95 % is served; a shortfall that chance explains is none "
    "(1.96 standard deviations of so many Poisson arrivals)"
)


def knee_of_concurrency(loads: Sequence[float], tokens_per_s: Sequence[float]) -> float | None:
    """Requests in flight at the knee; None when throughput still grows at the last load.

    >>> knee_of_concurrency([1, 2, 4, 8], [100, 195, 360, 400])
    4
    """
    alone = tokens_per_s[0] / loads[0]
    points = list(zip(loads, tokens_per_s, strict=True))
    for (load, rate), (more, higher) in pairwise(points):
        if (higher - rate) / (more - load) < WORTH * alone:
            return load
    return None


def knee_of_rate(
    rates: Sequence[float], served: Sequence[float], requests: Sequence[int]
) -> float | None:
    """Requests/s at the knee, from what was served of each rate over so many requests.

    None when the last rate is still served, 0 when not even the first is. A rate over n Poisson
    arrivals has a relative standard deviation of 1 / sqrt(n).

    >>> knee_of_rate([1, 2, 4, 8], [0.9, 1.98, 3.9, 4.2], [400] * 4)
    4
    """
    kept_up = 0.0
    for rate, done, count in zip(rates, served, requests, strict=True):
        if done < SERVED * rate * (1 - CHANCE / sqrt(count)):
            return kept_up
        kept_up = rate
    return None
