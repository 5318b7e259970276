"""Percentiles, one definition for predictions and measurements."""

from collections.abc import Sequence


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
