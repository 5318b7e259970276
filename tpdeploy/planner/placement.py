"""Placement: which devices each replica gets, never splitting a group over islands needlessly."""

from tpdeploy.planner.plan import Placement
from tpdeploy.profiles.cluster import Cluster


def device_groups(cluster: Cluster, tp: int) -> list[tuple[int, tuple[int, ...]]]:
    """Every (node, devices) group of `tp` that can run at once.

    Groups that fit an island stay inside one; wider groups start at an island's first device.
    """
    per_node = cluster.count // cluster.nodes
    span = cluster.island if tp <= cluster.island else per_node
    return [
        (node, tuple(range(first, first + tp)))
        for node in range(cluster.nodes)
        for start in range(0, per_node, span)
        for first in range(start, min(start + span, per_node) - tp + 1, tp)
    ]


def place(cluster: Cluster, tp: int, replicas: int) -> tuple[Placement, ...]:
    """The first `replicas` groups of `tp` devices, with the cores of each rank on CPUs."""
    groups = device_groups(cluster, tp)[:replicas]
    return tuple(
        Placement(
            replica=number,
            node=node,
            devices=devices,
            cpus=tuple(cluster.cpus[device] for device in devices) if cluster.cpus else (),
        )
        for number, (node, devices) in enumerate(groups)
    )
