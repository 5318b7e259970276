"""Placement: whole groups, no device twice, no domain straddled needlessly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.search.placement import (
    Group,
    device_groups,
    group_capacity,
    pipelines,
    place,
    replica_capacity,
)
from tpdeploy.profiles.machine.gpus_spec import parse_gpus

EIGHT = parse_gpus("8xH100")


@given(tp=st.integers(1, 8))
def test_no_device_is_used_twice(tp: int) -> None:
    """Groups of every width are disjoint and as many as fit."""
    groups = device_groups(EIGHT, tp)
    used = [rank for group in groups for rank in group]
    assert len(used) == len(set(used)) == tp * len(groups)
    assert len(groups) == 8 // tp


def test_pairs_stay_on_their_bridge() -> None:
    """On bridged pairs a width of two never joins devices of different pairs."""
    cluster = parse_gpus("4xA100-PCIe-80GB", "nvlink")
    assert cluster.domain == 2
    assert device_groups(cluster, 2) == [((0, 0), (0, 1)), ((0, 2), (0, 3))]


def machines(group: Group) -> list[int]:
    return sorted({machine for machine, _ in group})


def test_groups_cross_nodes_only_where_they_must() -> None:
    """Groups of eight stay on nodes of eight; wider ones have as many devices on each of theirs."""
    cluster = parse_gpus("2x8xH200")
    assert [machines(group) for group in device_groups(cluster, 8)] == [[0], [1]]
    (wide,) = device_groups(cluster, 12)
    assert wide == (*((0, d) for d in range(6)), *((1, d) for d in range(6)))
    assert device_groups(cluster, 9) == []


def test_groups_of_a_rack_stay_in_their_rack() -> None:
    """Each of two racks of 18 trays holds two groups of eight trays; none is in both."""
    cluster = parse_gpus("2xGB200-NVL72")
    groups = device_groups(cluster, 32)
    trays = [machines(group) for group in groups]
    assert [(each[0], each[-1], len(each)) for each in trays] == [
        *((0, 7, 8), (8, 15, 8)),
        *((18, 25, 8), (26, 33, 8)),
    ]
    (wider,) = device_groups(cluster, 144)
    assert machines(wider) == list(range(36))


def test_a_group_over_machines_names_the_machine_of_each_rank() -> None:
    """Those of the first machine come first, as engines number them."""
    (placed,) = place(parse_gpus("2x4xGB200"), Parallelism(tensor=8))
    assert placed.nodes == (0,) * 4 + (1,) * 4
    assert placed.devices == (*range(4), *range(4))


def test_cpu_replicas_get_their_cores() -> None:
    """On a CPU each rank's placement names its cores."""
    cluster = EIGHT.model_copy(update={"cpus": tuple(str(core) for core in range(8))})
    assert [p.cpus for p in place(cluster, Parallelism(tensor=2, replicas=2))] == [
        ("0", "1"),
        ("2", "3"),
    ]


@pytest.mark.parametrize("tp", [1, 3, 8])
def test_replicas_are_numbered_from_zero(tp: int) -> None:
    """Replica numbers count up without gaps."""
    most = len(device_groups(EIGHT, tp))
    assert [p.replica for p in place(EIGHT, Parallelism(tensor=tp, replicas=most))] == list(
        range(most)
    )


def test_stages_stay_on_a_node_where_they_can() -> None:
    """Two nodes of eight hold two pipelines of two fours, each on one node."""
    cluster = parse_gpus("2x8xH100")
    nodes = [{node for group in groups for node, _ in group} for groups in pipelines(cluster, 4, 2)]
    assert nodes == [{0}, {1}]


def test_stages_are_joined_across_nodes_where_they_must() -> None:
    """A pipeline of two eights takes both nodes, and each rank names its own."""
    cluster = parse_gpus("2x8xH100")
    (placed,) = place(cluster, Parallelism(tensor=8, pipeline=2))
    assert placed.nodes == (0,) * 8 + (1,) * 8
    assert placed.devices == (*range(8), *range(8))
    assert pipelines(cluster, 8, 2, several_machines=False) == []


@given(tp=st.integers(1, 24), pp=st.integers(1, 8))
def test_no_device_is_in_two_stages(tp: int, pp: int) -> None:
    """Pipelines of every shape are disjoint, over nodes too."""
    cluster = parse_gpus("3x8xH100")
    used = [rank for groups in pipelines(cluster, tp, pp) for group in groups for rank in group]
    assert len(used) == len(set(used))
    assert len(used) % (tp * pp) == 0


@given(
    gpus=st.sampled_from(["H100", "A100-PCIe-80GB", "L40S", "GB200"]),
    nodes=st.integers(1, 24),
    per_machine=st.integers(1, 8),
    tp=st.integers(1, 40),
    pp=st.integers(1, 13),
    several_machines=st.booleans(),
)
def test_as_many_replicas_are_counted_as_listed(
    gpus: str, nodes: int, per_machine: int, tp: int, pp: int, several_machines: bool
) -> None:
    """The count of groups and of replicas is the length of their list, on domains and nodes too."""
    each = min(per_machine, 4) if gpus == "GB200" else per_machine
    cluster = parse_gpus(f"{nodes}x{each}x{gpus}")
    listed = pipelines(cluster, tp, pp, several_machines=several_machines)
    assert replica_capacity(cluster, tp, pp, several_machines=several_machines) == len(listed)
    assert group_capacity(cluster, tp) == len(device_groups(cluster, tp))


@pytest.mark.slow
def test_ten_thousand_machines_are_counted_and_listed() -> None:
    """In less than a second, where a look back at each machine took minutes."""
    cluster = parse_gpus("10000x8xH100")
    assert replica_capacity(cluster, 8, 3) == 3333
    assert len(pipelines(cluster, 2, 4)) == 10_000
