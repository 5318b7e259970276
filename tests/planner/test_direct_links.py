"""PCIe devices that exchange directly, and those that go through host memory."""

from statistics import median

import pytest

from tests.planner.inputs import ask
from tpdeploy.planner.performance.collectives import all_reduce
from tpdeploy.planner.search.other_path import other_path
from tpdeploy.planner.search.search import search
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.devices.catalog import assemble, find_accelerator, on_other_path
from tpdeploy.profiles.machine.gpus_spec import parse_gpus


def test_devices_that_exchange_directly_take_the_curves_of_such() -> None:
    """A card with P2P takes half of PCIe 5.0 measured so; one without does not."""
    workstation, server, geforce = (
        assemble(find_accelerator(name), "pcie-gen4", 1, 8)
        for name in ("RTX-A6000", "L40S", "RTX-4090")
    )
    for direct in (workstation, server):
        assert direct.fabric.share == 0.5
        assert "P2P" in direct.fabric.description
        assert {curve.gpu for curve in direct.fabric.curves} == {"RTX-PRO-6000-Server"}
    assert {curve.gpu for curve in geforce.fabric.curves} == {"L40S"}
    assert all_reduce(geforce, 8).seconds(4e6) > all_reduce(server, 8).seconds(4e6)


def test_half_the_lanes_of_direct_links_are_half_as_fast() -> None:
    """PCIe 4.0 x8 has half the bytes/s of x16, as PCIe 3.0 x16 has."""
    card = find_accelerator("RTX-A6000")
    shares = [assemble(card, n, 1, 2).fabric.share for n in ("pcie-gen4-x8", "pcie-gen3")]
    assert shares == [0.25, 0.25]


@pytest.mark.parametrize("lanes", ["", "-x8"])
def test_whether_devices_exchange_directly_can_be_stated(lanes: str) -> None:
    """`-p2p` and `-host` make a card like one that does, and like one that does not."""
    usual, others = "RTX-A6000", "RTX-4090"
    as_usual, direct = (parse_gpus(f"8x{usual}", f"pcie-gen4{lanes}{p}") for p in ("", "-p2p"))
    assert all_reduce(as_usual, 8).seconds(1e6) == all_reduce(direct, 8).seconds(1e6)
    through = parse_gpus(f"8x{usual}", f"pcie-gen4{lanes}-host")
    assert through.fabric.name == f"pcie-gen4{lanes}-host"
    usually = parse_gpus(f"8x{others}", f"pcie-gen4{lanes}")
    assert all_reduce(through, 8).seconds(1e6) == all_reduce(usually, 8).seconds(1e6)


# NCCL's all-reduce in us by bytes, as published; of eight across two sockets none is known whose
# shape is stated.
PUBLISHED = {
    # Behind one switch, in a CUDA graph (haohervchb/sglang-V100 pull request 2).
    ("V100-PCIe-32GB", "pcie-gen3"): {4096: 19.4, 16384: 22.3, 131072: 51.8, 393216: 83.5},
    # With a driver that allows it (tinygrad/open-gpu-kernel-modules pull request 22).
    ("RTX-4090", "pcie-gen4-p2p"): {32768: 18.8, 262144: 66.3, 1048576: 152.7, 33554432: 3966.7},
}


@pytest.mark.parametrize("case", PUBLISHED, ids=str)
def test_four_that_exchange_directly_take_about_what_was_measured(case: tuple[str, str]) -> None:
    """Within 15 % in the median, and none by more than half, though scaled from other GPUs."""
    gpu, fabric = case
    four = all_reduce(assemble(find_accelerator(gpu), fabric, 1, 4), 4)
    ratios = [four.seconds(size) * 1e6 / us for size, us in PUBLISHED[case].items()]
    assert median(ratios) == pytest.approx(1, abs=0.15)
    assert all(0.7 < ratio < 1.55 for ratio in ratios)


def test_the_plan_tells_what_would_be_chosen_the_other_way() -> None:
    """With P2P four 4090 are one group; without, as their driver has it, two stages of two."""
    inputs = ask("qwen3-32b", "4xRTX-4090", workload=Workload(concurrency=32))
    ranked = search(inputs).ranked
    assert ranked[0].tensor == 2
    (words,) = other_path(inputs, ranked)
    assert words == "With P2P between the GPUs (--interconnect pcie-gen4-p2p) TP 4 x 1."
    inputs = ask("llama-1b", "2xRTX-4090", workload=Workload(concurrency=256))
    assert other_path(inputs, search(inputs).ranked) == ()


@pytest.mark.parametrize("gpus", ["1xRTX-4090", "8xH100", "4xRTX-5090"])
def test_there_is_no_other_way_without_such_links(gpus: str) -> None:
    """One card, NVLink, and PCIe 5.0, of which only one way was measured."""
    assert on_other_path(parse_gpus(gpus)) is None
