"""The groups of ranks that all-reduce with one another, on this machine."""

from collections.abc import Iterator

from tpdeploy.planner.plan import DeploymentPlan, Placement
from tpdeploy.profiles.machine.cores import cores_in


def rank_groups(place: Placement, width: int) -> list[list[int]]:
    """The ranks of `place` in groups of `width`, those alone that lie on one machine whole."""
    found = [list(range(first, first + width)) for first in range(0, len(place.devices), width)]
    nodes = [node for node, _ in place.ranks]
    return [group for group in found if {nodes[rank] for rank in group} == {0}]


def device_groups(plan: DeploymentPlan) -> list[list[int]]:
    """The devices of each group of several ranks: of a stage, which attention DP divides again."""
    return [[place.devices[rank] for rank in group] for place, group in _groups(plan)]


def core_groups(plan: DeploymentPlan) -> list[list[str]]:
    """The same on CPUs: the cores of each rank."""
    return [[place.cpus[rank] for rank in group] for place, group in _groups(plan) if place.cpus]


def _groups(plan: DeploymentPlan) -> Iterator[tuple[Placement, list[int]]]:
    width = plan.parallelism.stage_ranks
    for place in plan.placement if width > 1 else ():
        yield from ((place, group) for group in rank_groups(place, width))


def nodes_of(cores: str, nodes: list[list[int]]) -> set[int]:
    """The NUMA nodes, by their place in `nodes`, on which a rank's cores lie."""
    return {n for n, node in enumerate(nodes) if set(node) & set(cores_in(cores))}
