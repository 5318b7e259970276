"""Placement: which devices each replica gets, never splitting a group over islands needlessly."""

from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import Placement
from tpdeploy.profiles.cluster import Cluster

Group = tuple[int, tuple[int, ...]]  # the node, and device numbers on it


def device_groups(cluster: Cluster, tp: int) -> list[Group]:
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


def pipelines(
    cluster: Cluster, tp: int, pp: int, *, several_nodes: bool = True
) -> list[tuple[Group, ...]]:
    """Every replica of `pp` groups of `tp` that can run at once: within a node where it fits.

    Groups that are left over on their nodes are joined across them, if `several_nodes`.
    """
    found, left = [], []
    for node in range(cluster.nodes):
        here = [group for group in device_groups(cluster, tp) if group[0] == node]
        whole = len(here) // pp * pp
        found += [tuple(here[i : i + pp]) for i in range(0, whole, pp)]
        left += here[whole:]
    if several_nodes:
        found += [tuple(left[i : i + pp]) for i in range(0, len(left) // pp * pp, pp)]
    return found


def place(cluster: Cluster, parallelism: Parallelism) -> tuple[Placement, ...]:
    """The first replicas that fit, with the cores of each rank on CPUs."""
    chosen = pipelines(cluster, parallelism.tensor, parallelism.pipeline)
    return tuple(
        _placement(cluster, number, groups)
        for number, groups in enumerate(chosen[: parallelism.replicas])
    )


def _placement(cluster: Cluster, number: int, groups: tuple[Group, ...]) -> Placement:
    ranks = [(node, device) for node, devices in groups for device in devices]
    nodes = tuple(node for node, _ in ranks)
    devices = tuple(device for _, device in ranks)
    return Placement(
        replica=number,
        node=nodes[0],
        devices=devices,
        cpus=tuple(cluster.cpus[device] for device in devices) if cluster.cpus else (),
        nodes=nodes if len(set(nodes)) > 1 else (),
    )
