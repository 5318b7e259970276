"""Placement: which devices each replica gets, never splitting a group over domains needlessly."""

from collections.abc import Iterator

from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import Placement
from tpdeploy.profiles.devices.cluster import Cluster

Rank = tuple[int, int]  # the machine, and the device's number on it
Group = tuple[Rank, ...]


def device_groups(cluster: Cluster, tp: int) -> list[Group]:
    """Every group of `tp` devices that can run at once.

    Groups that fit a domain stay inside one; wider groups start at a domain's first device. A group
    that no machine holds has as many devices on each of the machines it takes, and lies within one
    domain if it fits there.
    """
    return [group for unit in _units(cluster, tp) for group in unit]


def pipelines(
    cluster: Cluster, tp: int, pp: int, *, several_machines: bool = True
) -> list[tuple[Group, ...]]:
    """Every replica of `pp` groups of `tp` that can run at once: within a machine where it fits.

    Groups that are left over on their machines are joined across them, if `several_machines`.
    """
    found: list[tuple[Group, ...]] = []
    left: list[Group] = []
    for unit in _units(cluster, tp):
        whole = len(unit) // pp * pp
        found += _joined(unit[:whole], pp)
        left += unit[whole:]
    return found + _joined(left, pp) if several_machines else found


def group_capacity(cluster: Cluster, tp: int) -> int:
    """Groups of `tp` that can run at once: as many as `device_groups` lists."""
    return sum(units * groups for units, groups in _counts(cluster, tp))


def replica_capacity(cluster: Cluster, tp: int, pp: int, *, several_machines: bool = True) -> int:
    """Replicas of `pp` groups of `tp` that can run at once: as many as `pipelines` lists."""
    counts = _counts(cluster, tp)
    within = sum(units * (groups // pp) for units, groups in counts)
    left = sum(units * (groups % pp) for units, groups in counts)
    return within + (left // pp if several_machines else 0)


def place(cluster: Cluster, parallelism: Parallelism) -> tuple[Placement, ...]:
    """The first replicas that fit, with the cores of each rank on CPUs."""
    chosen = pipelines(cluster, parallelism.stage_ranks, parallelism.pipeline)
    return tuple(
        _placement(cluster, number, groups)
        for number, groups in enumerate(chosen[: parallelism.replicas])
    )


def _units(cluster: Cluster, tp: int) -> Iterator[list[Group]]:
    """The groups of `tp` of each machine; of those that no machine holds, of each domain."""
    if tp <= cluster.per_machine:
        here = _on_a_machine(cluster, tp)
        for machine in range(cluster.machines):
            yield [tuple((machine, device) for device in devices) for devices in here]
        return
    each, taken = _spread(cluster, tp)
    if not each:
        return
    unit = _machines_a_unit(cluster, tp)
    for first in range(0, cluster.machines, unit):
        last = min(first + unit, cluster.machines)
        yield [
            tuple((m, d) for m in range(at, at + taken) for d in range(each))
            for at in range(first, last - taken + 1, taken)
        ]


def _counts(cluster: Cluster, tp: int) -> list[tuple[int, int]]:
    """How many units there are, and groups in each: what `_units` lists, without listing it."""
    if tp <= cluster.per_machine:
        return [(cluster.machines, len(_on_a_machine(cluster, tp)))]
    each, taken = _spread(cluster, tp)
    if not each:
        return []
    whole, left = divmod(cluster.machines, _machines_a_unit(cluster, tp))
    return [(whole, _machines_a_unit(cluster, tp) // taken), (1, left // taken)]


def _spread(cluster: Cluster, tp: int) -> tuple[int, int]:
    """Devices a machine, and machines, of a group that no machine holds; (0, 0) if uneven.

    Engines want as many ranks on every machine (vLLM: its world size a multiple of --nnodes).
    """
    taken = -(-tp // cluster.per_machine)
    return (0, 0) if tp % taken else (tp // taken, taken)


def _machines_a_unit(cluster: Cluster, tp: int) -> int:
    """Machines of the domain that such a group lies within, else all."""
    return cluster.domain // cluster.per_machine if tp <= cluster.domain else cluster.machines


def _on_a_machine(cluster: Cluster, tp: int) -> list[tuple[int, ...]]:
    """The devices of each group of `tp` on a machine; machines are alike."""
    domain = min(cluster.domain, cluster.per_machine)
    span = domain if tp <= domain else cluster.per_machine
    return [
        tuple(range(first, first + tp))
        for start in range(0, cluster.per_machine, span)
        for first in range(start, min(start + span, cluster.per_machine) - tp + 1, tp)
    ]


def _joined(groups: list[Group], pp: int) -> list[tuple[Group, ...]]:
    """Each `pp` successive groups as one replica; what is left over is left out."""
    return [tuple(groups[i : i + pp]) for i in range(0, len(groups) // pp * pp, pp)]


def _placement(cluster: Cluster, number: int, groups: tuple[Group, ...]) -> Placement:
    ranks = [rank for group in groups for rank in group]
    machines = tuple(machine for machine, _ in ranks)
    devices = tuple(device for _, device in ranks)
    return Placement(
        replica=number,
        node=machines[0],
        devices=devices,
        cpus=tuple(cluster.cpus[device] for device in devices) if cluster.cpus else (),
        nodes=machines if len(set(machines)) > 1 else (),
    )
