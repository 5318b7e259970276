"""Analytical model of a collective on equal links (hops and bytes), one function per operation.

`group` devices, each with a link of `ring_bytes_per_s` in either direction; every message waits
`hop_latency_s` before it moves. Libraries take a tree for small messages and a ring for large
ones: the tree's hops and the ring's bytes are added up.
"""

from collections.abc import Callable
from math import log2

from tpdeploy.profiles.devices.fabric import LinkModel, Operation

LinkTime = Callable[[LinkModel, int, float], float]


def all_reduce_seconds(link: LinkModel, group: int, message_bytes: float) -> float:
    """Seconds: up a tree and down again, 2 log2(n) hops; each byte crosses 2 (n-1)/n times."""
    crossings = 2 * (group - 1) / group
    latency = 2 * log2(group) * link.hop_latency_s
    return latency + crossings * message_bytes / link.ring_bytes_per_s


def all_gather_seconds(link: LinkModel, group: int, message_bytes: float) -> float:
    """Seconds: log2(n) hops, and each rank receives (n-1)/n of what it ends with.

    A reduce-scatter is the same backwards: each rank sends (n-1)/n of what it begins with.
    """
    share = (group - 1) / group
    return log2(group) * link.hop_latency_s + share * message_bytes / link.ring_bytes_per_s


def all_to_all_seconds(link: LinkModel, group: int, message_bytes: float) -> float:
    """Seconds: one hop, all pairs at once, and each rank sends (n-1)/n of its message."""
    share = (group - 1) / group
    return link.hop_latency_s + share * message_bytes / link.ring_bytes_per_s


def point_to_point_seconds(link: LinkModel, message_bytes: float) -> float:
    """Seconds of one message from one device to another: a hop and its bytes."""
    return link.hop_latency_s + message_bytes / link.ring_bytes_per_s


LINK_TIMES: dict[Operation, LinkTime] = {
    "all-reduce": all_reduce_seconds,
    "all-gather": all_gather_seconds,
    "reduce-scatter": all_gather_seconds,
    "all-to-all": all_to_all_seconds,
    "expert-dispatch": all_to_all_seconds,
    "expert-combine": all_to_all_seconds,
}
