"""Bundled accelerators and fabrics are complete, consistent and found by the names people use."""

import re

import pytest

from tests.scripts import script
from tpdeploy.errors import InputError
from tpdeploy.profiles import DATA
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.devices.catalog import (
    accelerators,
    choose_fabric,
    efficiency_of,
    fabric_names,
    find_accelerator,
    find_fabric,
    measured_curves,
)
from tpdeploy.profiles.devices.fabric import Curve, Fabric, Network
from tpdeploy.profiles.devices.networks import find_network, network_names
from tpdeploy.profiles.record import Dtype, Provenance

ALL = accelerators()
FABRICS = [find_fabric(name) for name in fabric_names()]
NETWORKS = [find_network(name) for name in network_names()]
MEASURED = [
    (path.parent.name, device.name)
    for path in sorted((DATA / "curves").glob("*/*.yaml"))
    for device in ALL
    if device.name.lower() == path.stem
]
CURVES_BY_PLACE = {
    **{place: measured_curves(*place) for place in MEASURED},
    **{(network.name, ""): network.curves for network in NETWORKS},
}
CURVES = [curve for curves in CURVES_BY_PLACE.values() for curve in curves]
PLACE = {id(c): place for (place, _), curves in CURVES_BY_PLACE.items() for c in curves}

# Datasheet bandwidth of one device's link in one direction (an adapter's, for networks).
LINE_BYTES_PER_S = {
    "cpu-shared-memory": 25e9,
    "nvl72-gen5": 900e9,
    "nvlink-bridge-gen3": 300e9,
    "nvlink-bridge-gen4": 300e9,
    "nvswitch-gen3": 300e9,
    "nvswitch-gen4": 450e9,
    "nvswitch-gen5": 900e9,
    "pcie-gen4": 32e9,
    "pcie-gen5": 64e9,
    "infiniband-xdr": 100e9,
    "infiniband-ndr": 50e9,
    "infiniband-hdr": 25e9,
    "ethernet-400g": 50e9,
    "ethernet-200g": 25e9,
    "connectx7-spark": 25e9,
    "ethernet-100g": 12.5e9,
    "ethernet-10g": 1.25e9,
    "tcpxo-200g": 25e9,
    "efa-400g": 50e9,
    "efa-3200g": 50e9,
    "efa-6400g": 100e9,
    "tcpx-100g": 12.5e9,
    "ethernet-50g": 6.25e9,
    "ethernet-40g": 5e9,
    "ethernet-25g": 3.125e9,
}


def curve_name(curve: Curve) -> str:
    return f"{PLACE[id(curve)]}-{curve.gpu}-{curve.operation}-{curve.algorithm}-{curve.group_size}"


def test_at_least_38_accelerators_are_bundled() -> None:
    """The public list of 38 and the CPU are there."""
    assert len(ALL) >= 39


@pytest.mark.parametrize("device", ALL, ids=lambda d: d.name)
def test_an_accelerator_is_plausible_and_complete(device: Accelerator) -> None:
    """Narrow formats are at least as fast, its fabrics and its class's efficiency exist."""
    peaks = device.peaks.flops_per_s
    if Dtype.FP8 in peaks:
        assert peaks[Dtype.FP8] >= peaks[Dtype.BF16]
    if Dtype.FP4 in peaks:
        assert peaks[Dtype.FP4] >= peaks[Dtype.FP8]
    assert 8e9 < device.peaks.memory_bytes < 400e9
    assert device.platform == "cpu" or 0.1e12 < device.peaks.memory_bytes_per_s < 10e12
    assert efficiency_of(device.architecture).errors.tpot > 0
    for name in device.fabrics:
        find_fabric(name)


def test_ranges_are_of_the_kind_of_model_and_width() -> None:
    """Experts on several GPUs are missed by more than dense models; without a server by less.

    What no part speaks of, and all on a class without runs, has the range of the class.
    """
    known = efficiency_of("hopper")
    dense, experts = (known.errors.of(kind, joined=True) for kind in ("dense", "experts"))
    assert dense.tpot < experts.tpot
    ours = efficiency_of("hopper", "tensorrt-llm")
    offline = ours.errors.of("dense", joined=False).offline
    assert ours.without_server().errors.of("dense", joined=False).tpot == offline
    none = efficiency_of("cdna2").errors
    assert none.of("latent", joined=True).tpot == none.of("dense", joined=False).tpot == none.tpot
    borrowed = efficiency_of("cdna3", "sglang").errors
    assert borrowed.parts == ()


@pytest.mark.parametrize("fabric", FABRICS, ids=lambda f: f.name)
def test_a_fabric_leads_somewhere(fabric: Fabric) -> None:
    """Bridges have a fabric beyond them, and machines a network."""
    if 1 < fabric.domain <= 4:
        assert fabric.beyond in fabric_names()
    assert fabric.network in network_names() or fabric.name in {"cpu-shared-memory", "mig"}
    assert fabric.link.source


@pytest.mark.parametrize("curve", CURVES, ids=curve_name)
def test_measured_curves_are_plausible(curve: Curve) -> None:
    """A larger message never takes less time, its first point is a latency, its GPU is known."""
    times = [seconds for _, seconds in curve.points]
    assert times == sorted(times)
    assert 1e-6 < times[0] < 1e-3
    assert curve.group_size <= 8 * curve.nodes or curve.gpu.startswith("GB")
    assert curve.group_size % curve.nodes == 0
    find_accelerator(curve.gpu)


@pytest.mark.parametrize("curve", CURVES, ids=curve_name)
def test_no_curve_beats_the_line(curve: Curve) -> None:
    """Bytes that must leave a device never leave faster than its link's datasheet allows."""
    n, m = curve.group_size, curve.nodes
    if curve.operation.startswith("expert"):
        # One byte of FP8 for two of BF16, and of eight copies of a token one leaves for certain.
        share = 1 / 16
    elif curve.operation == "all-reduce":
        share = (m - 1) * m / n if m > 1 else 1.0
    else:
        share = (n - 1) / n
    size, seconds = curve.points[-1]
    assert share * size / seconds <= LINE_BYTES_PER_S[PLACE[id(curve)]]


@pytest.mark.parametrize(("fabric", "gpu"), MEASURED, ids=str)
def test_a_measured_gpu_finds_its_own_curves(fabric: str, gpu: str) -> None:
    """A cluster of GPUs that were measured is predicted from their own measurements."""
    assert {curve.gpu for curve in measured_curves(fabric, gpu)} >= {gpu}


def test_other_gpus_take_what_was_measured_on_their_fabric() -> None:
    """H20 sits on the same NVSwitches as H100, and nothing was measured on PCIe 3.0."""
    assert {c.gpu for c in measured_curves("nvswitch-gen4", "H20-96GB")} == {"H100-SXM-80GB"}
    assert measured_curves("pcie-gen3", "V100-PCIe-32GB") == ()


@pytest.mark.parametrize("fabric", FABRICS, ids=lambda f: f.name)
def test_the_link_model_agrees_with_the_curves(fabric: Fabric) -> None:
    """The bandwidth stated for unmeasured widths is within what NCCL reached on some width."""
    reached = [
        2 * (n - 1) / n * size / seconds
        for place, gpu in MEASURED
        if place == fabric.name
        for curve in measured_curves(place, gpu)
        if (curve.algorithm, curve.operation) == ("nccl", "all-reduce")
        for n, (size, seconds) in [(curve.group_size, curve.points[-1])]
    ]
    if reached:
        assert 0.95 * min(reached) <= fabric.link.ring_bytes_per_s <= 1.05 * max(reached)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.name)
def test_a_network_is_no_faster_than_its_line(network: Network) -> None:
    """What an adapter reaches stays below what it is sold for."""
    assert network.link.ring_bytes_per_s < LINE_BYTES_PER_S[network.name]


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("accelerators", "accelerator"),
        ("efficiency", "efficiency"),
        ("fabrics", "fabric"),
        ("networks", "network"),
        ("curves", "curves"),
    ],
)
def test_files_name_their_schema(folder: str, kind: str) -> None:
    """An editor finds the schema of every data file from its first line."""
    up = "../../" if kind in {"curves", "efficiency"} else "../"
    for path in sorted((DATA / folder).rglob("*.yaml")):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        assert first == f"# yaml-language-server: $schema={up}schemas/{kind}.schema.json", path


def test_an_accelerator_file_bears_its_name() -> None:
    """A record is found where its name says."""
    assert {path.stem for path in (DATA / "accelerators").glob("*.yaml")} == {
        device.name.lower() for device in ALL
    }


def test_no_name_means_two_accelerators() -> None:
    """Names and aliases are unique whatever their case."""
    names = [name.lower() for d in ALL for name in (d.name, *d.aliases)]
    assert {name for name in names if names.count(name) > 1} == set()


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("H100", "H100-SXM-80GB"),
        ("a100-40gb", "A100-SXM-40GB"),
        ("NVIDIA L40S", "L40S"),
        ("4090", "RTX-4090"),
        ("A10G", "A10G"),
        ("NVIDIA A100-SXM4-80GB", "A100-SXM-80GB"),
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
        ("H200", "NVSwitch", "nvswitch-gen4"),
        ("RTX-3090", "nvlink", "nvlink-bridge-112"),
        ("RTX-3090", "PCIe-gen3-x16", "pcie-gen3"),
        ("RTX-4090", "pcie-gen4-x8", "pcie-gen4-x8"),
    ],
)
def test_interconnects_are_chosen_by_a_word(gpu: str, asked: str | None, fabric: str) -> None:
    """A short word means the fabric of that kind that the device is sold with."""
    assert choose_fabric(find_accelerator(gpu), asked) == fabric


def test_an_interconnect_the_device_lacks_is_refused() -> None:
    """An L40S has no NVLink; what it comes with is named."""
    with pytest.raises(InputError, match="L40S comes with pcie-gen4"):
        choose_fabric(find_accelerator("L40S"), "nvlink")


@pytest.mark.parametrize(
    ("name", "base", "share"),
    [
        ("pcie-gen3-x8", "pcie-gen3", 0.5),
        ("pcie-gen4-x4", "pcie-gen4", 0.25),
        ("pcie-gen6", "pcie-gen5", 2.0),
        ("pcie-gen4-x8-host", "pcie-gen4", 0.5),
    ],
)
def test_pcie_without_a_record_is_scaled_from_the_nearest(
    name: str, base: str, share: float
) -> None:
    """Half the lanes move half the bytes; each generation moves twice those of the one before."""
    found = find_fabric(name)
    assert (found.name, found.share) == (name, share)
    assert f"{share:g} of the bytes/s of {base}" in found.description


def test_pcie_that_is_as_fast_as_a_record_is_described_as_it() -> None:
    """Eight lanes of generation 6 are sixteen of 5, and through the host is what 4 is."""
    for name, base in (("pcie-gen6-x8", "pcie-gen5"), ("pcie-gen4-host", "pcie-gen4")):
        found = find_fabric(name)
        assert (found.name, found.share) == (name, 1.0)
        assert found.description == find_fabric(base).description


@pytest.mark.parametrize("name", ["pcie-gen2", "pcie-gen4-x2", "pcie-gen4x8", "pcie-gen4-p2"])
def test_pcie_of_another_kind_is_refused_with_what_there_is(name: str) -> None:
    """The generations and lanes that can be stated are listed."""
    with pytest.raises(InputError, match=r"pcie-gen3 to pcie-gen6, each also with -x8 or -x4"):
        choose_fabric(find_accelerator("L40S"), name)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    """A slip of the keyboard is answered by the name that was meant, as it is written."""
    with pytest.raises(InputError, match=r"unknown GPU A100-PCI; did you mean .*A100-PCIe"):
        find_accelerator("A100-PCI")
    with pytest.raises(InputError, match=r"unknown interconnect nvswitch-gen9; did you mean"):
        find_fabric("nvswitch-gen9")
    with pytest.raises(InputError, match=r"--interconnect nvlnk: unknown; did you mean nvlink"):
        choose_fabric(find_accelerator("H100"), "nvlnk")


SCHEMAS = script("write_schemas")


@pytest.mark.parametrize("name", SCHEMAS.RECORDS)
def test_committed_schemas_are_those_of_the_types(name: str) -> None:
    """`python scripts/write_schemas.py` would change nothing."""
    committed = SCHEMAS.FOLDER / f"{name}.schema.json"
    assert committed.read_text() == SCHEMAS.schema_text(SCHEMAS.RECORDS[name])


TAKEN_OVER = [
    (path.parent.name, path.stem)
    for path in sorted((DATA / "efficiency").glob("*/*.yaml"))
    if efficiency_of(path.stem, path.parent.name).serving.source.startswith("taken over")
]


@pytest.mark.parametrize(("engine", "architecture"), TAKEN_OVER)
def test_what_is_taken_over_is_what_was_fitted(engine: str, architecture: str) -> None:
    """A class without runs has another one's times; with kernels of its own also its own rates."""
    efficiency = efficiency_of(architecture, engine)
    said = re.match(r"taken over from (\S+) on (\S+):", efficiency.serving.source)
    assert said is not None
    fitted = efficiency_of(said[2], said[1]).serving
    if efficiency.kernels.source.startswith(("scripts/fit_kernels.py", "compute and start")):
        fitted = fitted.model_copy(update={"compute": 1.0, "experts": 1.0})
    provenance = set(Provenance.model_fields)
    assert efficiency.serving.model_dump(exclude=provenance) == fitted.model_dump(
        exclude=provenance
    )
