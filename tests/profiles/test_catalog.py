"""Bundled accelerators and fabrics are complete, consistent and found by the names people use."""

import pytest

from tpdeploy.errors import InputError
from tpdeploy.profiles.accelerator import Accelerator
from tpdeploy.profiles.catalog import (
    accelerators,
    choose_fabric,
    efficiency_of,
    fabric_names,
    find_accelerator,
    find_fabric,
)
from tpdeploy.profiles.fabric import Fabric
from tpdeploy.profiles.record import Dtype
from tpdeploy.profiles.schemas import FOLDER, RECORDS, schema_text

ALL = accelerators()
FABRICS = [find_fabric(name) for name in fabric_names()]


def test_at_least_38_accelerators_are_bundled() -> None:
    """The public list of 38 and the CPU are there."""
    assert len(ALL) >= 39


@pytest.mark.parametrize("device", ALL, ids=lambda d: d.name)
def test_an_accelerator_is_plausible_and_complete(device: Accelerator) -> None:
    """Narrow formats are at least as fast, its fabrics and its class's efficiency exist."""
    peaks = device.peaks.flops_per_s
    if Dtype.FP8 in peaks:
        assert peaks[Dtype.FP8] >= peaks[Dtype.BF16]
    assert 10e9 < device.peaks.memory_bytes < 400e9
    assert 0 < efficiency_of(device.architecture).relative_error
    for name in device.fabrics:
        find_fabric(name)


@pytest.mark.parametrize("fabric", FABRICS, ids=lambda f: f.name)
def test_a_fabric_leads_somewhere(fabric: Fabric) -> None:
    """Islands have a fabric beyond them unless they fill the machine, and sources everywhere."""
    if fabric.island <= 4:
        assert fabric.beyond in fabric_names()
    assert fabric.link.source
    assert all(curve.source for curve in fabric.curves)


def test_no_name_means_two_accelerators() -> None:
    """Names and aliases are unique whatever their case."""
    names = [name.lower() for d in ALL for name in {d.name, *d.aliases}]
    duplicates = {name for name in names if names.count(name) > 1}
    assert duplicates <= {"cpu"}


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("H100", "H100-SXM-80GB"),
        ("a100-40gb", "A100-SXM-40GB"),
        ("NVIDIA L40S", "L40S"),
        ("4090", "RTX-4090"),
    ],
)
def test_short_and_driver_names_are_understood(alias: str, name: str) -> None:
    """People's short forms and the driver's product names find the same record."""
    assert find_accelerator(alias).name == name


@pytest.mark.parametrize(
    ("gpu", "asked", "fabric"),
    [
        ("H100", None, "nvswitch-gen4"),
        ("H100", "pcie", "pcie-gen5"),
        ("A100-PCIe", "nvlink", "nvlink-bridge-gen3"),
        ("H200", "nvlink", "nvswitch-gen4"),
    ],
)
def test_interconnects_are_chosen_by_a_word(gpu: str, asked: str | None, fabric: str) -> None:
    """A short word means the fabric of that kind that the device is sold with."""
    assert choose_fabric(find_accelerator(gpu), asked) == fabric


def test_an_interconnect_the_device_lacks_is_refused() -> None:
    """An L40S has no NVLink; what it comes with is named."""
    with pytest.raises(InputError, match="L40S comes with pcie-gen4"):
        choose_fabric(find_accelerator("L40S"), "nvlink")


@pytest.mark.parametrize("name", RECORDS)
def test_committed_schemas_are_those_of_the_types(name: str) -> None:
    """`python -m tpdeploy.profiles.schemas` would change nothing."""
    assert (FOLDER / f"{name}.schema.json").read_text() == schema_text(RECORDS[name])
