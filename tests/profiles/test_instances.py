"""Machines of cloud providers are found by the names they have there."""

from pathlib import Path

import pytest

from tpdeploy.api.decision import leaves_count_open
from tpdeploy.errors import InputError
from tpdeploy.profiles import DATA
from tpdeploy.profiles.devices.catalog import (
    choose_fabric,
    find_accelerator,
    find_fabric,
    is_accelerator,
)
from tpdeploy.profiles.devices.instances import (
    Instance,
    find_instance,
    instance_names,
    providers,
)
from tpdeploy.profiles.devices.networks import find_network
from tpdeploy.profiles.machine.gpus_spec import parse_gpus

PAGE = Path(__file__).parents[2] / "docs" / "profiles.md"
INSTANCES = [instance for provider in providers() for instance in provider.instances]


@pytest.mark.parametrize("instance", INSTANCES, ids=lambda i: i.names[0])
def test_an_instance_is_made_of_what_is_known(instance: Instance) -> None:
    """Its GPU, fabric and network have records, and one machine holds its GPUs."""
    device = find_accelerator(instance.gpu)
    assert device.name == instance.gpu
    fabric = find_fabric(choose_fabric(device, instance.fabric))
    assert instance.count <= fabric.domain or fabric.beyond
    find_network(instance.network)
    for name in instance.names:
        cluster = parse_gpus(f"2x{name}")
        assert (cluster.accelerator, cluster.machines) == (device, 2 * instance.machines)
        assert cluster.per_machine == instance.count
        assert cluster.network is not None
        assert cluster.network.name == instance.network or fabric.spans_machines


def test_no_name_means_two_machines() -> None:
    """Names are unique among providers, and no GPU has one of them."""
    names = [name.lower() for instance in INSTANCES for name in instance.names]
    assert len(names) == len(set(names)) == len(instance_names())
    assert [name for name in names if is_accelerator(name)] == []


def test_the_page_on_profiles_lists_every_machine() -> None:
    """Each row has the names, the GPUs and the network of the record."""
    page = PAGE.read_text(encoding="utf-8")
    for instance in INSTANCES:
        names = ", ".join(f"`{name}`" for name in instance.names)
        rack = f"{instance.machines} x " if instance.machines > 1 else ""
        row = f"| {names} | {rack}{instance.count} x {instance.gpu} | `{instance.network}` |"
        assert row in page


def test_files_name_their_schema() -> None:
    """An editor finds the schema of every provider's file from its first line."""
    for path in sorted((DATA / "instances").glob("*.yaml")):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        assert first == "# yaml-language-server: $schema=../schemas/instances.schema.json", path


@pytest.mark.parametrize(
    ("spec", "gpu", "nodes", "count", "fabric", "network"),
    [
        ("p5.48xlarge", "H100-SXM-80GB", 1, 8, "nvswitch-gen4", None),
        ("1xp5.48xlarge", "H100-SXM-80GB", 1, 8, "nvswitch-gen4", None),
        ("2xp5en.48xlarge", "H200-SXM-141GB", 2, 16, "nvswitch-gen4", "efa-3200g"),
        ("2 x p4d.24xlarge", "A100-SXM-40GB", 2, 16, "nvswitch-gen3", "efa-400g"),
        ("p4de.24xlarge:4", "A100-SXM-80GB", 4, 32, "nvswitch-gen3", "efa-400g"),
        ("ml.g5.12xlarge", "A10G", 1, 4, "pcie-gen4", None),
        ("g6e.48xlarge", "L40S", 1, 8, "pcie-gen4", None),
        ("2xp6-b200.48xlarge", "B200-SXM-180GB", 2, 16, "nvswitch-gen5", "efa-3200g"),
        ("2xa3-highgpu-8g", "H100-SXM-80GB", 2, 16, "nvswitch-gen4", "tcpx-100g"),
        ("2xA3-MegaGPU-8g", "H100-SXM-80GB", 2, 16, "nvswitch-gen4", "tcpxo-200g"),
        ("a2-ultragpu-1g", "A100-SXM-80GB", 1, 1, "nvswitch-gen3", None),
        ("g2-standard-48", "L4", 1, 4, "pcie-gen4", None),
        ("3xStandard_ND96isr_H100_v5", "H100-SXM-80GB", 3, 24, "nvswitch-gen4", "infiniband-ndr"),
        ("ND96amsr_A100_v4", "A100-SXM-80GB", 1, 8, "nvswitch-gen3", None),
        ("Standard_NC80adis_H100_v5", "H100-NVL-94GB", 1, 2, "nvlink-bridge-gen4", None),
        ("Standard_NC96ads_A100_v4", "A100-PCIe-80GB", 1, 4, "nvlink-bridge-gen3", None),
        ("2xStandard_ND_MI300X_v5", "MI300X-192GB", 2, 16, "infinity-fabric", "infiniband-ndr"),
        ("2xBM.GPU.H100.8", "H100-SXM-80GB", 2, 16, "nvswitch-gen4", "ethernet-400g"),
        ("bm.gpu.mi300x.8", "MI300X-192GB", 1, 8, "infinity-fabric", None),
        ("GB200-NVL72", "GB200-186GB", 18, 72, "nvl72-gen5", "infiniband-ndr"),
        ("1xgb200 nvl72", "GB200-186GB", 18, 72, "nvl72-gen5", "infiniband-ndr"),
        ("2xGB300-NVL72", "GB300-288GB", 36, 144, "nvl72-gen5", "infiniband-xdr"),
        ("2xDGX-H100", "H100-SXM-80GB", 2, 16, "nvswitch-gen4", "infiniband-ndr"),
        ("dgx b200", "B200-SXM-180GB", 1, 8, "nvswitch-gen5", None),
    ],
)
def test_a_name_is_the_machine_that_is_rented(
    spec: str, gpu: str, nodes: int, count: int, fabric: str, network: str | None
) -> None:
    """Its GPUs, how many, what joins them and what joins several such machines."""
    cluster = parse_gpus(spec)
    found = cluster.network.name if cluster.network else None
    assert (cluster.accelerator.name, cluster.machines, cluster.count) == (gpu, nodes, count)
    assert (cluster.fabric.name, found) == (fabric, network)


def test_what_a_name_was_taken_for_is_said_first() -> None:
    """The plan's first assumption names the provider, the count and the GPU."""
    assert parse_gpus("p5.48xlarge").assumptions[0] == "p5.48xlarge of AWS is 8 x H100-SXM-80GB."


def test_what_is_asked_for_replaces_what_the_machine_has() -> None:
    """`--interconnect` and `--network` count for such machines, too."""
    cluster = parse_gpus("2xp5.48xlarge", "pcie", network="ethernet-100g")
    assert cluster.fabric.name == "pcie-gen5"
    assert cluster.network is not None
    assert cluster.network.name == "ethernet-100g"


def test_a_machine_by_its_name_is_one_machine() -> None:
    """A GPU without a count leaves it open; a machine without one does not."""
    assert leaves_count_open("H100", parse_gpus("H100"))
    assert not leaves_count_open("p5.48xlarge", parse_gpus("p5.48xlarge"))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("2x8xp5.48xlarge", "p5.48xlarge is a whole machine; give 2xp5.48xlarge"),
        ("2x4xGB200-NVL72", "GB200-NVL72 is a whole rack; give 2xGB200-NVL72"),
        ("0xp5.48xlarge", "counts must be at least 1"),
        ("p5.48xlrge", "unknown GPU p5.48xlrge; did you mean p5.48xlarge"),
        ("a3-megagpu", "did you mean a3-megagpu-8g"),
    ],
)
def test_what_is_no_machine_is_refused_with_what_would_work(spec: str, words: str) -> None:
    """Names of machines are offered beside those of GPUs."""
    with pytest.raises(InputError, match=words):
        parse_gpus(spec)


def test_an_unknown_name_is_no_instance() -> None:
    """A GPU's name is not taken for a machine."""
    assert find_instance("H100") is None
