"""Placement: whole groups, no device twice, no domain straddled needlessly."""

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.search.placement import (
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
    used = [device for _, devices in groups for device in devices]
    assert len(used) == len(set(used)) == tp * len(groups)
    assert len(groups) == 8 // tp


def test_pairs_stay_on_their_bridge() -> None:
    """On bridged pairs a width of two never joins devices of different pairs."""
    cluster = parse_gpus("4xA100-PCIe-80GB", "nvlink")
    assert cluster.domain == 2
    assert device_groups(cluster, 2) == [(0, (0, 1)), (0, (2, 3))]


def test_groups_never_cross_nodes() -> None:
    """Two nodes of eight hold two groups of eight, and four of five-wide groups do not appear."""
    cluster = parse_gpus("2x8xH200")
    assert [node for node, _ in device_groups(cluster, 8)] == [0, 1]
    assert device_groups(cluster, 16) == []


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
    nodes = [{node for node, _ in groups} for groups in pipelines(cluster, 4, 2)]
    assert nodes == [{0}, {1}]


def test_stages_are_joined_across_nodes_where_they_must() -> None:
    """A pipeline of two eights takes both nodes, and each rank names its own."""
    cluster = parse_gpus("2x8xH100")
    (placed,) = place(cluster, Parallelism(tensor=8, pipeline=2))
    assert placed.nodes == (0,) * 8 + (1,) * 8
    assert placed.devices == (*range(8), *range(8))
    assert pipelines(cluster, 8, 2, several_machines=False) == []


@given(tp=st.integers(1, 8), pp=st.integers(1, 8))
def test_no_device_is_in_two_stages(tp: int, pp: int) -> None:
    """Pipelines of every shape are disjoint, over nodes too."""
    cluster = parse_gpus("3x8xH100")
    used = [
        (node, device)
        for groups in pipelines(cluster, tp, pp)
        for node, devices in groups
        for device in devices
    ]
    assert len(used) == len(set(used))
    assert len(used) % (tp * pp) == 0


@given(
    gpus=st.sampled_from(["H100", "A100-PCIe-80GB", "L40S"]),
    nodes=st.integers(1, 5),
    per_machine=st.integers(1, 8),
    tp=st.integers(1, 13),
    pp=st.integers(1, 13),
    several_machines=st.booleans(),
)
def test_as_many_replicas_are_counted_as_listed(
    gpus: str, nodes: int, per_machine: int, tp: int, pp: int, several_machines: bool
) -> None:
    """The count of groups and of replicas is the length of their list, on domains and nodes too."""
    cluster = parse_gpus(f"{nodes}x{per_machine}x{gpus}")
    listed = pipelines(cluster, tp, pp, several_machines=several_machines)
    assert replica_capacity(cluster, tp, pp, several_machines=several_machines) == len(listed)
    assert group_capacity(cluster, tp) == len(device_groups(cluster, tp))


def test_ten_thousand_machines_are_counted_at_once_and_listed_in_their_number() -> None:
    """Counting takes under 10 ms and listing under a second, where a look back takes minutes."""
    cluster = parse_gpus("10000x8xH100")
    began = process_time()
    assert replica_capacity(cluster, 8, 3) == 3333
    counted = process_time()
    assert len(pipelines(cluster, 2, 4)) == 10_000
    listed = process_time()
    assert counted - began < 0.01
    assert listed - counted < 1
