"""A faster or more direct link never makes a message slower, on any device that can have both."""

from itertools import pairwise

import pytest

from tests.tiers import tiered
from tpdeploy.planner.performance import collectives
from tpdeploy.planner.performance.collectives import Collective, PointToPoint
from tpdeploy.profiles import DATA
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.devices.catalog import accelerators, assemble
from tpdeploy.profiles.devices.pcie import parsed

SIZES = [1 << power for power in range(10, 29)]
OWN: tuple[collectives.Own, ...] = (("vllm-graph",), ("tensorrt-llm",), ())
OPERATIONS = [
    *((collectives.all_reduce, own) for own in OWN),
    (collectives.all_gather, OWN[0]),
    (collectives.reduce_scatter, OWN[0]),
    (collectives.all_to_all, OWN[0]),
    (collectives.expert_dispatch, OWN[0]),
    (collectives.expert_combine, OWN[0]),
]
# Devices are told apart by what joins them alone, and by what was measured with them.
PLUGGED = {
    (device.fabrics, *sorted((DATA / "curves").glob(f"*/{device.name.lower()}.yaml"))): device
    for device in accelerators()
    if any(parsed(fabric) for fabric in device.fabrics)
}.values()
# One with NVLink, and one on PCIe alone.
FAST = [d for d in PLUGGED if d.name in {"H100-PCIe-80GB", "L40S"}]


def ladders(device: Accelerator) -> list[tuple[str, ...]]:
    """Fabrics of `device` from the slowest on: generations, lanes, and NVLink over PCIe."""
    sold = next(fabric for fabric in device.fabrics if parsed(fabric))
    lanes = [tuple(f"pcie-gen{g}{n}" for n in ("-x4", "-x8", "")) for g in range(3, 7)]
    generations = [tuple(f"pcie-gen{g}{n}" for g in range(3, 7)) for n in ("", "-x8", "-x4")]
    linked = [(sold, fabric) for fabric in device.fabrics if not parsed(fabric)]
    return [*lanes, *generations, *linked]


def times(device: Accelerator, fabric: str) -> dict[str, list[float]]:
    """Seconds of every operation in groups of 2 to 8, and of one message to a neighbour."""
    cluster = assemble(device, fabric, 1, 8)
    found: dict[str, Collective | PointToPoint] = {
        f"{operation.__name__} of {group} with {own}": operation(cluster, group, own)
        for operation, own in OPERATIONS
        for group in (2, 3, 4, 6, 8)
    }
    found["message"] = collectives.point_to_point(cluster, 2)
    return {what: [one.seconds(size) for size in SIZES] for what, one in found.items()}


@pytest.mark.parametrize("device", tiered(PLUGGED, FAST), ids=lambda device: device.name)
def test_a_faster_link_is_never_slower(device: Accelerator) -> None:
    """From 1 KiB to 256 MiB: newer PCIe, more lanes, and NVLink instead of PCIe."""
    known = {name: times(device, name) for name in {n for names in ladders(device) for n in names}}
    for slow, fast in (pair for names in ladders(device) for pair in pairwise(names)):
        for what, before in known[slow].items():
            longer = [a > b * (1 + 1e-9) for a, b in zip(known[fast][what], before, strict=True)]
            assert not any(longer), f"{what} on {fast} beside {slow}"
