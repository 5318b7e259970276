"""The short form of a cluster is understood, or refused with what would work."""

import pytest

from tpdeploy.errors import InputError
from tpdeploy.profiles.devices.catalog import accelerators, find_accelerator
from tpdeploy.profiles.machine.cores import usable_cores
from tpdeploy.profiles.machine.gpus_spec import parse_gpus


@pytest.mark.parametrize(
    ("spec", "name", "count", "nodes"),
    [
        ("8xH100", "H100-SXM-80GB", 8, 1),
        ("H100", "H100-SXM-80GB", 1, 1),
        ("4xA100-40GB", "A100-SXM-40GB", 4, 1),
        ("2x8xH200", "H200-SXM-141GB", 16, 2),
        (" 2X4090 ", "RTX-4090", 2, 1),
        ("4090", "RTX-4090", 1, 1),
        ("8 x H100", "H100-SXM-80GB", 8, 1),
        ("8 H100", "H100-SXM-80GB", 8, 1),
        ("8h100", "H100-SXM-80GB", 8, 1),
        ("8*H100", "H100-SXM-80GB", 8, 1),
        ("H100x8", "H100-SXM-80GB", 8, 1),
        ("h100:8", "H100-SXM-80GB", 8, 1),
        ("L40Sx4", "L40S", 4, 1),
        ("2 x 8 x H200", "H200-SXM-141GB", 16, 2),
        ("RTX3090", "RTX-3090", 1, 1),
        ("2xRTX3090", "RTX-3090", 2, 1),
        ("RTX 3090 x 2", "RTX-3090", 2, 1),
        ("2x6000 ada", "RTX-6000-Ada", 2, 1),
        ("8xH100 PCIe", "H100-PCIe-80GB", 8, 1),
        ("8xA100-SXM4-80GB", "A100-SXM-80GB", 8, 1),
        ("8xNVIDIA H100 80GB HBM3", "H100-SXM-80GB", 8, 1),
        ("NVIDIA GeForce RTX 4090", "RTX-4090", 1, 1),
        ("8xGB200", "GB200-186GB", 8, 2),
        ("18x4xGB200", "GB200-186GB", 72, 18),
        ("2xDGX-Spark", "GB10", 2, 2),
        ("DGX-Spark", "GB10", 1, 1),
    ],
)
def test_counts_nodes_and_names_are_read(spec: str, name: str, count: int, nodes: int) -> None:
    """Devices, and machines before them, are counted."""
    cluster = parse_gpus(spec)
    assert (cluster.accelerator.name, cluster.count, cluster.machines) == (name, count, nodes)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("0xH100", "counts must be at least 1"),
        ("-2xH100", "counts must be at least 1"),
        ("8xFOO", "unknown GPU FOO"),
        ("8xH10", "did you mean H100"),
        ("8x", "give a count and a name"),
        ("8", "give a count and a name"),
        ("abc", "unknown GPU abc"),
        ("RTX4095", "unknown GPU RTX4095; did you mean .*RTX-4090"),
        ("H100x-1", "counts must be at least 1"),
        ("2x8xCPU", "give 8xCPU"),
        ("", "give a count and a name, as 8xH100"),
        ("16xH100", "state the machines, as 2x8xH100"),
        ("2x16xH100", "state the machines, as 4x8xH100"),
        ("2x8xGB200", "joins machines of 4; state the machines, as 4x4xGB200"),
        ("6xGB200", "state the machines, as 2x4xGB200"),
        ("1xP40", "no engine here runs on P40: it has compute capability 6.1, vllm needs 7"),
        ("2xTesla P100-PCIE-16GB", "compute capability 6.0.*all that are planned: tpdeploy gpus"),
        ("4xMI50", "no engine here runs on MI50: it is gfx906"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_would_work(spec: str, words: str) -> None:
    """One clear line for every kind of mistake."""
    with pytest.raises(InputError, match=words):
        parse_gpus(spec)


def test_what_the_short_form_assumes_is_stated() -> None:
    """8xH100 says that it means SXM on NVSwitch."""
    (assumption,) = parse_gpus("8xH100").assumptions
    assert "H100-SXM-80GB" in assumption
    assert "nvswitch-gen4 (assumed)" in assumption


def test_a_cpu_is_shared_in_equal_parts_of_its_cores() -> None:
    """Each share names its own cores, none twice."""
    cores = usable_cores()
    cluster = parse_gpus(f"{len(cores)}xCPU")
    named = [int(core) for share in cluster.cpus for core in share.split(",")]
    assert named == cores


def test_an_interconnect_that_was_asked_for_is_said_to_be() -> None:
    """`--interconnect pcie` takes H100 off NVSwitch and says so."""
    cluster = parse_gpus("8xH100", "pcie")
    assert cluster.fabric.name == "pcie-gen5"
    assert "pcie-gen5 (as asked)" in cluster.assumptions[0]


def test_cpu_shares_have_no_other_interconnect() -> None:
    """Cores of one machine share its memory and nothing else."""
    with pytest.raises(InputError, match="CPU comes with cpu-shared-memory"):
        parse_gpus("1xCPU", "nvlink")


def test_more_shares_than_cores_are_refused() -> None:
    """A share has at least one core."""
    with pytest.raises(InputError, match="cores to share"):
        parse_gpus("100000xCPU")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("2x8xH100", "joined by infiniband-ndr (assumed): InfiniBand NDR"),
        ("2x8xA100", "joined by infiniband-hdr (assumed)"),
        ("2x8xL40S", "joined by ethernet-100g (assumed)"),
        ("2x4xGB200", "2 machines, on the same nvl72-gen5 (assumed); a tensor-parallel group may"),
        ("2xGB200-NVL72", "36 machines, 18 on one nvl72-gen5, joined by infiniband-ndr (assumed)"),
        ("2xDGX-Spark", "joined by connectx7-spark (assumed)"),
        ("4x1xH100", "a tensor-parallel group may span several of them"),
        ("2x8xH200", "no tensor-parallel group spans two of them unless --tp asks for it"),
    ],
)
def test_what_joins_several_machines_is_assumed_and_said(spec: str, words: str) -> None:
    """Each generation has its usual network; machines of one NVL72 rack need none."""
    assert words in parse_gpus(spec).assumptions[-1]


def test_a_network_that_was_asked_for_is_said_to_be() -> None:
    """`--network` also takes machines out of a common NVL72 rack."""
    cluster = parse_gpus("2x4xGB200", network="efa-3200g")
    assert "joined by efa-3200g (as asked)" in cluster.assumptions[1]
    assert cluster.network is not None
    assert cluster.network.name == "efa-3200g"
    assert not cluster.fabric.spans_machines


@pytest.mark.parametrize(
    ("spec", "network", "words"),
    [
        ("8xH100", "ethernet-100g", "8xH100 is one machine; state several"),
        ("auto", "ethernet-100g", "auto is one machine"),
        ("2xCPU", "ethernet-100g", "2xCPU is one machine"),
        ("2x8xH100", "infiniband-nrd", "unknown network infiniband-nrd; did you mean infiniband-"),
    ],
)
def test_a_network_that_makes_no_sense_is_refused(spec: str, network: str, words: str) -> None:
    """A network joins several machines, and is one of those that are known."""
    with pytest.raises(InputError, match=words):
        parse_gpus(spec, network=network)


def test_no_two_gpus_are_spelled_alike() -> None:
    """Without dashes, blanks and makers every name still means one device."""
    for device in accelerators():
        for name in (device.name, *device.aliases):
            assert find_accelerator(name).name == device.name
