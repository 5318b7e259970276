"""Confidence intervals of statistics of a sample."""

from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from math import sqrt
from statistics import stdev

from tpdeploy.planner.serving.percentiles import MISSED

NORMAL_95 = 1.96

# Low and high; None: so few values do not tell that bound.
Interval = tuple[float | None, float | None]


def mean_interval(ordered: Sequence[float]) -> Interval:
    """1.96 standard errors to either side of the mean, within the ascending values."""
    if len(ordered) < 2:
        return None, None
    mean, error = sum(ordered) / len(ordered), NORMAL_95 * stdev(ordered) / sqrt(len(ordered))
    return max(ordered[0], mean - error), min(ordered[-1], mean + error)


def percentile_interval(ordered: Sequence[float], share: float) -> Interval:
    """Between which of the ascending values their percentile lies in 95 % of such samples.

    How many of them lie below it is binomial; each side is missed by at most 2.5 % of samples.

    >>> percentile_interval(range(1, 101), 0.5)
    (40, 61)
    >>> percentile_interval(range(1, 101), 0.99)
    (97, None)
    """
    count = len(ordered)
    low = _quantile(count, share, MISSED)
    high = _quantile(count, share, 1 - MISSED) + 1
    return (
        ordered[low - 1] if low else None,
        ordered[high - 1] if high <= count else None,
    )


@cache
def _quantile(count: int, share: float, chance: float) -> int:
    """The least k for which at most k of `count` are below their percentile with this `chance`."""
    from scipy.special import bdtr  # noqa: PLC0415 - time that only measurements need

    return bisect_left(range(count + 1), chance, key=lambda k: float(bdtr(k, count, share)))
