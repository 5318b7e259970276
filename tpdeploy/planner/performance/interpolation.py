"""Measured curves made continuous, and scaled to group sizes without measurements."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from math import exp, inf, log

from tpdeploy.profiles.devices.fabric import Curve, Point

Seconds = Callable[[float], float]  # of a message of so many bytes

# Kernels made for small messages are not used beyond the last point; these are for every size.
ANY_SIZE = frozenset({"nccl", "shared-memory", "deepep"})

SMALLEST_BYTES = 1024  # no message is faster than one of this size


@dataclass(frozen=True)
class Interpolation:
    """A measured curve, seconds by bytes, made continuous; it never falls with the size."""

    sizes: tuple[int, ...]
    times: tuple[float, ...]
    limit: float = inf  # bytes of the largest message it is used for

    @classmethod
    def through(cls, points: tuple[Point, ...], limit: float = inf) -> "Interpolation":
        """The curve through `points`, for messages of at most `limit` bytes.

        Noise that would make a larger message faster is removed.
        """
        sizes, times = zip(*points, strict=True)
        return cls(tuple(sizes), tuple(accumulate(times, max)), limit)

    @classmethod
    def of(cls, curve: Curve) -> "Interpolation":
        """The measured `curve`, up to its last point if its kernel is for small messages only."""
        limit = inf if curve.algorithm in ANY_SIZE else curve.points[-1][0]
        return cls.through(curve.points, limit)

    def scaled(self, wanted: Seconds, measured: Seconds) -> "Interpolation":
        """This curve times how much longer a model takes for the `wanted` than the `measured`."""
        times = zip(self.sizes, self.times, strict=True)
        points = tuple((size, time * wanted(size) / measured(size)) for size, time in times)
        return Interpolation.through(points, self.limit)

    def over(self, share: float) -> "Interpolation":
        """This curve on a link with `share` of the bytes/s that it was measured on.

        The bytes take longer, at the rate of the largest message; what a message takes beside them
        is the library's, and stays.
        """
        if share == 1:
            return self
        start, slowest = self.times[0], self.times[-1] / self.sizes[-1]
        points = zip(self.sizes, self.times, strict=True)
        more = 1 / share - 1
        longer = tuple((b, s + more * min(s - start, b * slowest)) for b, s in points)
        return Interpolation.through(longer, self.limit)

    def begun(self, model: Seconds) -> "Interpolation":
        """This curve with a beginning below its first point, where it falls as the model does."""
        first, time = self.sizes[0], self.times[0]
        if first <= SMALLEST_BYTES:
            return self
        start = time * min(1.0, model(SMALLEST_BYTES) / model(first))
        return Interpolation((SMALLEST_BYTES, *self.sizes), (start, *self.times), self.limit)

    def seconds(self, size: float) -> float:
        """Seconds for `size` bytes: straight in log-log between points.

        Below the first point its latency holds, above the last its bandwidth.
        """
        sizes, times = self.sizes, self.times
        if size <= sizes[0]:
            return times[0]
        if size >= sizes[-1]:
            return times[-1] * size / sizes[-1]
        left = bisect_right(sizes, size) - 1
        wide, begin, rise = self._logarithms[left]
        return exp(begin + log(size / sizes[left]) / wide * rise)

    @cached_property
    def _logarithms(self) -> tuple[tuple[float, float, float], ...]:
        """Of each piece between two points: of its sizes' ratio, its first time, its times'."""
        points = pairwise(zip(self.sizes, self.times, strict=True))
        return tuple((log(b / a), log(s), log(t / s)) for (a, s), (b, t) in points)


def nearest(curves: list[Curve], group: int) -> Curve:
    """The curve whose group size is nearest `group` in proportion; of two, the wider group's."""
    return min(curves, key=lambda c: (abs(log(c.group_size / group)), -c.group_size))
