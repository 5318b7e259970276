"""Placement: which devices each replica gets, never splitting a group over domains needlessly."""

from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import Placement
from tpdeploy.profiles.devices.cluster import Cluster

Group = tuple[int, tuple[int, ...]]  # the node, and device numbers on it


def device_groups(cluster: Cluster, tp: int) -> list[Group]:
    """Every (node, devices) group of `tp` that can run at once.

    Groups that fit a domain stay inside one; wider groups start at a domain's first device.
    """
    here = _on_a_node(cluster, tp)
    return [(node, devices) for node in range(cluster.nodes) for devices in here]


def pipelines(
    cluster: Cluster, tp: int, pp: int, *, multi_node: bool = True
) -> list[tuple[Group, ...]]:
    """Every replica of `pp` groups of `tp` that can run at once: within a node where it fits.

    Groups that are left over on their nodes are joined across them, if `multi_node`.
    """
    found: list[tuple[Group, ...]] = []
    left: list[Group] = []
    on_a_node = _on_a_node(cluster, tp)
    whole = len(on_a_node) // pp * pp
    for node in range(cluster.nodes):
        here = [(node, devices) for devices in on_a_node]
        found += _joined(here[:whole], pp)
        left += here[whole:]
    return found + _joined(left, pp) if multi_node else found


def group_capacity(cluster: Cluster, tp: int) -> int:
    """Groups of `tp` that can run at once: as many as `device_groups` lists."""
    return cluster.nodes * len(_on_a_node(cluster, tp))


def replica_capacity(cluster: Cluster, tp: int, pp: int, *, multi_node: bool = True) -> int:
    """Replicas of `pp` groups of `tp` that can run at once: as many as `pipelines` lists."""
    within, left = divmod(len(_on_a_node(cluster, tp)), pp)
    joined = cluster.nodes * left // pp if multi_node else 0
    return cluster.nodes * within + joined


def place(cluster: Cluster, parallelism: Parallelism) -> tuple[Placement, ...]:
    """The first replicas that fit, with the cores of each rank on CPUs."""
    chosen = pipelines(cluster, parallelism.stage_ranks, parallelism.pipeline)
    return tuple(
        _placement(cluster, number, groups)
        for number, groups in enumerate(chosen[: parallelism.replicas])
    )


def _on_a_node(cluster: Cluster, tp: int) -> list[tuple[int, ...]]:
    """The devices of each group of `tp` on a node; nodes are alike."""
    span = cluster.domain if tp <= cluster.domain else cluster.per_node
    return [
        tuple(range(first, first + tp))
        for start in range(0, cluster.per_node, span)
        for first in range(start, min(start + span, cluster.per_node) - tp + 1, tp)
    ]


def _joined(groups: list[Group], pp: int) -> list[tuple[Group, ...]]:
    """Each `pp` successive groups as one replica; what is left over is left out."""
    return [tuple(groups[i : i + pp]) for i in range(0, len(groups) // pp * pp, pp)]


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
