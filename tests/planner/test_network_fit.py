"""The network that explains all-reduces between machines."""

import pytest

from tpdeploy.learning.network_fit import network_of
from tpdeploy.planner.performance.collectives import all_reduce
from tpdeploy.planner.performance.link_model import all_reduce_seconds
from tpdeploy.profiles.devices.catalog import assemble, find_accelerator
from tpdeploy.profiles.devices.fabric import LinkModel, Network
from tpdeploy.profiles.devices.networks import Reduction

TOLD: dict[str, object] = {"source": "a test", "date": "2026-01-01"}
SIZES = tuple(4**n for n in range(5, 15))


def samples(link: LinkModel, machines: int, each: int, slowed: float = 1.0) -> list[Reduction]:
    """Of groups over that link; those at once take `slowed` times as long."""
    shapes = [(machines, 1, 1.0), (machines, each, slowed), (machines * each, 1, 1.2)]
    return [
        Reduction(
            kernel="nccl",
            group=group,
            machines=machines,
            rails=rails,
            bytes=size,
            seconds=factor * all_reduce_seconds(link, machines, size),
            spread=0.01,
        )
        for group, rails, factor in (shapes if each > 1 else shapes[:1])
        for size in SIZES
    ]


def network(machines: int = 2, each: int = 8, slowed: float = 1.0) -> Network:
    """What is found over a link of 15 us and 40 GB/s."""
    link = LinkModel.model_validate({"hop_latency_s": 15e-6, "ring_bytes_per_s": 40e9, **TOLD})
    found = samples(link, machines, each, slowed)
    return network_of("lab", "a network", found, "H100-SXM-80GB", TOLD)


@pytest.mark.parametrize("machines", [2, 3, 8])
def test_the_link_is_found_again(machines: int) -> None:
    """Latency and bandwidth, from all-reduces of one rank a machine."""
    link = network(machines).link
    assert link.hop_latency_s == pytest.approx(15e-6, rel=0.01)
    assert link.ring_bytes_per_s == pytest.approx(40e9, rel=0.01)


@pytest.mark.parametrize("seconds", [1e-4, 10.0])
def test_figures_that_show_no_link_give_one_all_the_same(seconds: float) -> None:
    """Every size in the same time, or as good as none for the latency: it stays one of hardware."""
    link = LinkModel.model_validate({"hop_latency_s": 15e-6, "ring_bytes_per_s": 40e9, **TOLD})
    flat = [s.changed(seconds=seconds) for s in samples(link, 2, 1)]
    found = network_of("lab", "a network", flat, "H100-SXM-80GB", TOLD).link
    assert 0 < found.hop_latency_s <= seconds
    steep = [s.changed(seconds=s.bytes * 1e-10) for s in samples(link, 2, 1)]
    found = network_of("lab", "a network", steep, "H100-SXM-80GB", TOLD).link
    assert found.ring_bytes_per_s == pytest.approx(1e10, rel=0.05)


def test_devices_that_slow_one_another_share_an_adapter() -> None:
    """Those that do not have one each; one device a machine does not tell."""
    assert network(slowed=1.2).adapters == "gpu"
    assert network(slowed=8.0).adapters == "machine"
    assert network(slowed=8.0).link.ring_bytes_per_s == pytest.approx(40e9, rel=0.01)
    assert network(each=1).adapters == "machine"


def test_an_all_reduce_over_all_devices_takes_what_was_measured() -> None:
    """At every size, and its source names the devices."""
    found = network()
    usual = assemble(find_accelerator("H100"), "nvswitch-gen4", 2, 8)
    over = all_reduce(usual.model_copy(update={"network": found}), 16)
    (curve,) = (curve for curve in found.curves if curve.group_size == 16)
    for size, seconds in curve.points:
        assert over.seconds(size) == pytest.approx(seconds, rel=0.02)
    assert over.source == "all-reduce on lab, 2x8 measured on H100-SXM-80GB"
