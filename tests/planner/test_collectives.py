"""Collectives of clusters: measured where they were, never falling with size, else a model."""

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpdeploy.backends.tensorrt_llm import TensorRtLlmBackend
from tpdeploy.backends.vllm import VllmBackend
from tpdeploy.planner.performance.collectives import (
    Collective,
    PointToPoint,
    all_gather,
    all_reduce,
    all_to_all,
    expert_combine,
    expert_dispatch,
    point_to_point,
    reduce_scatter,
)
from tpdeploy.planner.performance.interpolation import Interpolation
from tpdeploy.profiles.machine.gpus_spec import parse_gpus

VLLM = VllmBackend.own_kernels
SIZES = st.floats(min_value=1, max_value=2e9)
OPERATIONS: dict[str, Callable[..., Collective | PointToPoint]] = {
    **{
        f.__name__: partial(f, own=VLLM.graphs)
        for f in (
            all_reduce,
            all_gather,
            reduce_scatter,
            all_to_all,
            expert_dispatch,
            expert_combine,
        )
    },
    "point_to_point": point_to_point,
}
CLUSTERS = {
    name: parse_gpus(*name.split("/"))
    for name in (
        "8xH100",
        "8xA100",
        "8xL40S",
        "8xB200",
        "8xMI300X",
        "16xGB200",
        "8xA100-PCIe/nvlink",
        "8xRTX-3090/nvlink",
        "4x8xH100",
        "2x8xL40S",
    )
}
EVERY: dict[tuple[str, str, int], Collective | PointToPoint] = {
    (operation, name, group): function(cluster, group)
    for operation, function in OPERATIONS.items()
    for name, cluster in CLUSTERS.items()
    for group in (2, 3, 4, 6, 8, 16, 32)
    if group <= cluster.count
}


def test_pcie_widths_cost_what_was_measured_on_l40s() -> None:
    """4 MB through the host takes 222 and 1,235 us at 2 and 4 GPUs (NCCL, L40S)."""
    curves = [
        c
        for c in parse_gpus("8xL40S", "pcie-gen4-host").fabric.curves
        if (c.operation, c.algorithm) == ("all-reduce", "nccl")
    ]
    seconds = [Interpolation.through(curve.points).seconds(4 << 20) for curve in curves]
    assert seconds == pytest.approx([222e-6, 1235e-6], rel=0.01)


@given(case=st.sampled_from(sorted(EVERY)), small=SIZES, large=SIZES)
def test_a_larger_message_is_never_faster(
    case: tuple[str, str, int], small: float, large: float
) -> None:
    """Neither noise in curves nor carrying them over makes more bytes faster."""
    small, large = sorted((small, large))
    assert EVERY[case].seconds(small) <= EVERY[case].seconds(large) * (1 + 1e-9)


@pytest.mark.parametrize("case", sorted(EVERY), ids=str)
def test_every_group_has_a_time_and_says_where_from(case: tuple[str, str, int]) -> None:
    """Every operation on every kind of cluster is predicted, with its source."""
    found = EVERY[case]
    assert 1e-6 < found.seconds(1 << 16) < 0.1
    assert "measured" in found.source or "link model" in found.source


# Datasheet bandwidth of one device's links inside its domain, in one direction.
LINE_BYTES_PER_S = {
    "8xH100": 450e9,
    "8xA100": 300e9,
    "8xL40S": 32e9,
    "8xB200": 900e9,
    "8xMI300X": 448e9,
    "16xGB200": 900e9,
    "8xA100-PCIe/nvlink": 300e9,
    "8xRTX-3090/nvlink": 56.25e9,
    "4x8xH100": 450e9,
    "2x8xL40S": 32e9,
}


@given(case=st.sampled_from(sorted(EVERY)), size=SIZES)
def test_no_group_beats_the_line(case: tuple[str, str, int], size: float) -> None:
    """Measured, carried over or modelled: what a device must send takes its link's bandwidth."""
    operation, name, group = case
    if operation.startswith("expert"):
        share = 1 / 16  # for certain only one copy of a token's eight leaves, in FP8
    elif operation in ("all_reduce", "point_to_point"):
        share = 1.0
    else:
        share = (group - 1) / group
    assert EVERY[case].seconds(size) >= share * size / LINE_BYTES_PER_S[name]


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - {"point_to_point"}))
def test_a_group_of_one_has_nothing_to_do(operation: str) -> None:
    """Without parallelism there is no communication."""
    assert OPERATIONS[operation](CLUSTERS["8xH100"], 1).seconds(1 << 30) == 0


def test_the_source_says_how_a_time_is_known() -> None:
    """Measured, scaled from a measurement, or the link model."""
    h100 = CLUSTERS["4x8xH100"]
    on_switches, between = "all-reduce on nvswitch-gen4, ", "all-reduce on infiniband-ndr, "
    assert all_reduce(h100, 8).source == on_switches + "measured on H100-SXM-80GB"
    assert all_reduce(h100, 3).source == on_switches + "scaled from 4 measured on H100-SXM-80GB"
    assert all_reduce(h100, 16).source == between + "2x8 measured on H100-SXM-80GB"
    assert all_reduce(h100, 32).source == between + "scaled from 2x8 measured on H100-SXM-80GB"
    assert all_gather(h100, 16).source == "all-gather on infiniband-ndr, two-step link model"
    mesh = all_reduce(CLUSTERS["8xMI300X"], 8)
    assert mesh.source == "all-reduce on infinity-fabric, link model"
    assert point_to_point(h100, 16).source == "message on infiniband-ndr, link model"


def test_an_engine_has_its_own_kernels() -> None:
    """At 64 KiB on eight H100: vLLM's and TensorRT-LLM's kernels, NCCL, and vLLM without graphs."""
    h100 = CLUSTERS["8xH100"]
    graph, own, nccl, eager = (
        all_reduce(h100, 8, own).seconds(1 << 16)
        for own in (VLLM.graphs, TensorRtLlmBackend.own_kernels.graphs, (), VLLM.eager)
    )
    assert (graph, own, nccl) == pytest.approx((6.41e-6, 4.59e-6, 18.68e-6), rel=0.03)
    assert eager == pytest.approx(nccl, rel=0.03)  # an eager custom kernel takes 22 us


def test_own_kernels_are_not_made_for_odd_groups() -> None:
    """Three or seven GPUs reduce with NCCL, whatever the engine."""
    h100 = CLUSTERS["8xH100"]
    for group in (3, 5, 7):
        assert all_reduce(h100, group, VLLM.graphs).curves == all_reduce(h100, group).curves


def test_eight_through_the_host_lie_between_the_machines_that_were_measured() -> None:
    """32 MiB: 5.7 ms on eight RTX 4090 without P2P, 38.9 ms on eight L40S of a cloud."""
    cards = parse_gpus("8xRTX-4090")
    assert 5.7e-3 < all_reduce(cards, 8).seconds(32 << 20) < 38.9e-3


@pytest.mark.parametrize("name", ["8xA100-PCIe/nvlink", "8xRTX-3090/nvlink"])
def test_beyond_a_bridged_pair_there_is_pcie(name: str) -> None:
    """A pair is fast; three GPUs and more are several times slower."""
    bridged = CLUSTERS[name]
    pair, four = (all_reduce(bridged, n).seconds(4 << 20) for n in (2, 4))
    assert four > 4 * pair
    assert bridged.domain == 2


def test_bridged_groups_take_what_was_measured_across_bridges() -> None:
    """Eight bridged A100 are scaled from four of them, not from L40S without bridges."""
    source = all_reduce(CLUSTERS["8xA100-PCIe/nvlink"], 8).source
    assert source == "all-reduce on nvlink-bridge-gen3, scaled from 4 measured on A100-PCIe-80GB"


def test_a_mesh_gives_a_pair_one_link_of_seven() -> None:
    """Two MI300X were measured at 47.7 GB/s, eight at 312.9 (1 GiB)."""
    mi300x, size = CLUSTERS["8xMI300X"], 1 << 30
    assert size / all_reduce(mi300x, 2).seconds(size) == pytest.approx(47.7e9, rel=0.1)
    assert 1.75 * size / all_reduce(mi300x, 8).seconds(size) == pytest.approx(312.9e9, rel=0.02)


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - {"point_to_point"}))
def test_a_group_over_machines_is_slower_than_inside_one(operation: str) -> None:
    """The network between machines is slower than the fabric inside."""
    function, h100 = OPERATIONS[operation], CLUSTERS["4x8xH100"]
    for size in (1 << 14, 1 << 20, 1 << 26):
        assert function(h100, 8).seconds(size) < function(h100, 16).seconds(size)


def test_one_nvl72_rack_is_one_domain() -> None:
    """Two machines of four GB200 reduce as eight in one; over InfiniBand they are slower."""
    rack = all_reduce(parse_gpus("2x4xGB200"), 8)
    assert rack.seconds(1 << 20) == all_reduce(parse_gpus("8xGB200"), 8).seconds(1 << 20)
    apart = all_reduce(parse_gpus("2x4xGB200", network="infiniband-ndr"), 8)
    assert apart.seconds(1 << 20) > rack.seconds(1 << 20)


@pytest.mark.parametrize(
    ("slow", "fast"),
    [
        ("ethernet-10g", "ethernet-100g"),
        ("ethernet-100g", "ethernet-400g"),
        ("infiniband-hdr", "infiniband-ndr"),
        ("infiniband-ndr", "infiniband-xdr"),
        ("efa-400g", "efa-3200g"),
    ],
)
@pytest.mark.parametrize("operation", ["all_gather", "all_to_all", "point_to_point"])
def test_a_faster_network_is_never_slower(operation: str, slow: str, fast: str) -> None:
    """More bandwidth between machines never lengthens a modelled operation."""
    function = OPERATIONS[operation]
    before, after = (function(parse_gpus("2x8xH100", network=n), 16) for n in (slow, fast))
    for size in (1 << 10, 1 << 16, 1 << 22, 1 << 28):
        assert after.seconds(size) <= before.seconds(size)


def test_ranks_of_a_machine_share_its_one_adapter() -> None:
    """Eight senders over one adapter of 100 Gbit/s take eight times as long as over eight."""
    shared = point_to_point(parse_gpus("2x8xH100", network="ethernet-100g"), 16)
    alone = point_to_point(parse_gpus("2x1xH100", network="ethernet-100g"), 2)
    assert shared.seconds(1 << 28) == pytest.approx(8 * alone.seconds(1 << 28), rel=0.01)


def test_two_h100_machines_reduce_as_measured_over_infiniband() -> None:
    """1 MiB in 88 us and 100 MiB in 647 us on two machines of eight."""
    reduce = all_reduce(CLUSTERS["4x8xH100"], 16)
    assert reduce.seconds(1 << 20) == pytest.approx(88e-6)
    assert reduce.seconds(100 << 20) == pytest.approx(647e-6)


def test_the_bytes_take_twice_as_long_over_half_the_lanes() -> None:
    """By hand, on 4090s: PCIe 4.0 x8 beside x16; what NCCL takes beside the bytes stays."""
    whole, half = (
        all_reduce(parse_gpus("2xRTX-4090", interconnect), 2)
        for interconnect in ("pcie-gen4", "pcie-gen4-x8")
    )
    assert half.seconds(1024) == pytest.approx(whole.seconds(1024))
    long = whole.seconds(1 << 30)
    assert half.seconds(1 << 30) == pytest.approx(2 * long, rel=1e-3)
    bytes_s = long * (1 << 16) / (1 << 30)  # at the rate of the largest message
    assert half.seconds(1 << 16) == pytest.approx(whole.seconds(1 << 16) + bytes_s, rel=0.05)
    assert half.source.endswith("on pcie-gen4-x8, measured on L40S, 0.5 of its bytes/s")
