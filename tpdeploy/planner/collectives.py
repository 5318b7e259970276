"""Time of one all-reduce: from measured curves, else from the fabric's stated link model."""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from math import exp, log

from tpdeploy.profiles.cluster import Cluster
from tpdeploy.profiles.fabric import AllReduceCurve, Fabric, LinkModel, Point

# An engine with kernels of its own takes the faster of these for the size of the message.
ALGORITHMS = frozenset({"custom-graph", "nccl", "shared-memory"})


@dataclass(frozen=True)
class AllReduce:
    """The all-reduce among `group` devices of one machine."""

    group: int
    link: LinkModel
    curves: tuple["Interpolation", ...]
    source: str

    def seconds(self, message_bytes: float) -> float:
        """Seconds of one all-reduce of `message_bytes`; nothing to do for a group of one."""
        if self.group == 1 or message_bytes <= 0:
            return 0.0
        if self.curves:
            return min(curve.seconds(message_bytes) for curve in self.curves)
        return ring_seconds(self.link, self.group, message_bytes)


@dataclass(frozen=True)
class Interpolation:
    """A measured curve made continuous, and never falling with the size."""

    sizes: tuple[int, ...]
    times: tuple[float, ...]

    @classmethod
    def through(cls, points: tuple[Point, ...]) -> "Interpolation":
        """The curve through `points`; noise that would make a larger message faster is removed."""
        sizes, times = zip(*points, strict=True)
        return cls(tuple(sizes), tuple(accumulate(times, max)))

    def seconds(self, size: float) -> float:
        """Straight in log-log; below the first point its latency, above the last its bandwidth."""
        sizes, times = self.sizes, self.times
        if size <= sizes[0]:
            return times[0]
        if size >= sizes[-1]:
            return times[-1] * size / sizes[-1]
        right = bisect_right(sizes, size)
        left = right - 1
        share = log(size / sizes[left]) / log(sizes[right] / sizes[left])
        return exp(log(times[left]) + share * log(times[right] / times[left]))


def all_reduce(cluster: Cluster, group: int) -> AllReduce:
    """The all-reduce for groups of `group` on this cluster.

    A group that leaves its island takes the measured curve of its size on the fabric itself if
    there is one (bridged pairs), else the fabric between islands.
    """
    fabric = cluster.fabric
    if group > cluster.island and cluster.beyond and not _curves(fabric, group):
        fabric = cluster.beyond
    curves = tuple(Interpolation.through(curve.points) for curve in _curves(fabric, group))
    kind = "measured" if curves else "link model"
    return AllReduce(group, fabric.link, curves, f"{kind} all-reduce on {fabric.name}")


def ring_seconds(link: LinkModel, group: int, message_bytes: float) -> float:
    """Seconds of a ring all-reduce: 2 (n-1) hops, each byte crossing the link 2 (n-1)/n times."""
    hops = 2 * (group - 1)
    return hops * link.hop_latency_s + hops / group * message_bytes / link.ring_bytes_per_s


def _curves(fabric: Fabric, group: int) -> list[AllReduceCurve]:
    return [c for c in fabric.curves if c.group_size == group and c.algorithm in ALGORITHMS]
