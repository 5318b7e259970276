"""Placement: which devices each replica gets, never splitting a group over domains needlessly."""

from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import Placement
from tpdeploy.profiles.devices.cluster import Cluster

Group = tuple[int, tuple[int, ...]]  # the machine, and device numbers on it


def device_groups(cluster: Cluster, tp: int) -> list[Group]:
    """Every (machine, devices) group of `tp` that can run at once.

    Groups that fit a domain stay inside one; wider groups start at a domain's first device.
    """
    here = _on_a_machine(cluster, tp)
    return [(machine, devices) for machine in range(cluster.machines) for devices in here]


def pipelines(
    cluster: Cluster, tp: int, pp: int, *, several_machines: bool = True
) -> list[tuple[Group, ...]]:
    """Every replica of `pp` groups of `tp` that can run at once: within a machine where it fits.

    Groups that are left over on their machines are joined across them, if `several_machines`.
    """
    found: list[tuple[Group, ...]] = []
    left: list[Group] = []
    on_a_machine = _on_a_machine(cluster, tp)
    whole = len(on_a_machine) // pp * pp
    for machine in range(cluster.machines):
        here = [(machine, devices) for devices in on_a_machine]
        found += _joined(here[:whole], pp)
        left += here[whole:]
    return found + _joined(left, pp) if several_machines else found


def group_capacity(cluster: Cluster, tp: int) -> int:
    """Groups of `tp` that can run at once: as many as `device_groups` lists."""
    return cluster.machines * len(_on_a_machine(cluster, tp))


def replica_capacity(cluster: Cluster, tp: int, pp: int, *, several_machines: bool = True) -> int:
    """Replicas of `pp` groups of `tp` that can run at once: as many as `pipelines` lists."""
    within, left = divmod(len(_on_a_machine(cluster, tp)), pp)
    joined = cluster.machines * left // pp if several_machines else 0
    return cluster.machines * within + joined


def place(cluster: Cluster, parallelism: Parallelism) -> tuple[Placement, ...]:
    """The first replicas that fit, with the cores of each rank on CPUs."""
    chosen = pipelines(cluster, parallelism.stage_ranks, parallelism.pipeline)
    return tuple(
        _placement(cluster, number, groups)
        for number, groups in enumerate(chosen[: parallelism.replicas])
    )


def _on_a_machine(cluster: Cluster, tp: int) -> list[tuple[int, ...]]:
    """The devices of each group of `tp` on a machine; machines are alike."""
    span = cluster.domain if tp <= cluster.domain else cluster.per_machine
    return [
        tuple(range(first, first + tp))
        for start in range(0, cluster.per_machine, span)
        for first in range(start, min(start + span, cluster.per_machine) - tp + 1, tp)
    ]


def _joined(groups: list[Group], pp: int) -> list[tuple[Group, ...]]:
    """Each `pp` successive groups as one replica; what is left over is left out."""
    return [tuple(groups[i : i + pp]) for i in range(0, len(groups) // pp * pp, pp)]


def _placement(cluster: Cluster, number: int, groups: tuple[Group, ...]) -> Placement:
    ranks = [(machine, device) for machine, devices in groups for device in devices]
    machines = tuple(machine for machine, _ in ranks)
    devices = tuple(device for _, device in ranks)
    return Placement(
        replica=number,
        node=machines[0],
        devices=devices,
        cpus=tuple(cluster.cpus[device] for device in devices) if cluster.cpus else (),
        nodes=machines if len(set(machines)) > 1 else (),
    )
