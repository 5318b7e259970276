"""PCIe devices that exchange directly, and those that go through host memory."""

from tpdeploy.planner.performance.collectives import all_reduce
from tpdeploy.profiles.devices.catalog import assemble, find_accelerator


def test_devices_that_exchange_directly_take_the_curves_of_such() -> None:
    """A card with P2P takes half of PCIe 5.0 measured so; one without, and one measured, do not."""
    workstation, geforce, measured = (
        assemble(find_accelerator(name), "pcie-gen4", 1, 8)
        for name in ("RTX-A6000", "RTX-4090", "L40S")
    )
    assert workstation.fabric.share == 0.5
    assert "P2P" in workstation.fabric.description
    assert {curve.gpu for curve in workstation.fabric.curves} == {"RTX-PRO-6000-Server"}
    for other in (geforce, measured):
        assert {curve.gpu for curve in other.fabric.curves} == {"L40S"}
        assert all_reduce(other, 8).seconds(4e6) > all_reduce(workstation, 8).seconds(4e6)


def test_half_the_lanes_of_direct_links_are_half_as_fast() -> None:
    """PCIe 4.0 x8 has half the bytes/s of x16, as PCIe 3.0 x16 has."""
    card = find_accelerator("RTX-A6000")
    shares = [assemble(card, n, 1, 2).fabric.share for n in ("pcie-gen4-x8", "pcie-gen3")]
    assert shares == [0.25, 0.25]
