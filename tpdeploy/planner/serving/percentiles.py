"""Percentiles, one definition for predictions and measurements."""

from collections.abc import Sequence
from math import ceil, log

SHARES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
# Each side of a 95 % interval is missed by this share of samples.
MISSED = 0.025


def statistics_ms(seconds: Sequence[float]) -> dict[str, float]:
    """The mean of `seconds` and each percentile of SHARES, in ms."""
    ordered = sorted(value * 1000 for value in seconds)
    told = {name: percentile(ordered, share) for name, share in SHARES.items()}
    return {"mean": sum(ordered) / len(ordered), **told}


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of the ascending values lie, linearly interpolated.

    >>> percentile([1.0, 2.0, 3.0], 0.5)
    2.0
    >>> percentile([0.0, 10.0], 0.9)
    9.0
    """
    position = share * (len(ordered) - 1)
    left = int(position)
    right = min(left + 1, len(ordered) - 1)
    return ordered[left] + (position - left) * (ordered[right] - ordered[left])


def requests_needed(at: str) -> int:
    """Fewest values of which a 95 % interval of the statistic `at` exists.

    Its bounds are at best the least and the greatest value: all n values lie to one side of the
    percentile in a share p^n, or (1 - p)^n, of samples, which may be 2.5 % each.

    >>> [requests_needed(at) for at in ("mean", "p50", "p90", "p95", "p99")]
    [2, 6, 36, 72, 368]
    """
    if at not in SHARES:
        return 2
    rarer = max(SHARES[at], 1 - SHARES[at])
    return ceil(log(MISSED) / log(rarer))
