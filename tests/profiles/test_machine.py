"""Detection turns what the NVIDIA driver shows into the same cluster a user would state."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.machine import detect as machine
from tpdeploy.profiles.machine.detect import cpu_cluster, detect, gpu_cluster, visible_count
from tpdeploy.profiles.record import Dtype

H100 = "NVIDIA H100 80GB HBM3"
A100_PCIE = "NVIDIA A100 80GB PCIe"


class FakeNvml(SimpleNamespace):
    """NVML with the given product names; `bridged` pairs share NVLink, or every GPU has it up.

    `direct`: GPUs read each other's memory; None: this driver cannot tell.
    """

    NVML_P2P_CAPS_INDEX_READ = 0
    NVML_P2P_CAPS_INDEX_NVLINK = 2
    NVML_P2P_STATUS_OK = 0

    class NVMLError(Exception):
        """NVML's own error."""

    def __init__(
        self,
        names: list[str | bytes],
        *,
        bridged: tuple[tuple[int, int], ...] = (),
        links_up: bool = False,
        driver: bool = True,
        direct: bool | None = None,
    ) -> None:
        super().__init__(names=names, bridged=bridged, links_up=links_up, driver=driver, ended=0)
        self.direct = direct

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        if not self.driver:
            raise self.NVMLError

    def nvmlShutdown(self) -> None:  # noqa: N802 - NVML's name
        self.ended += 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVML's name
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802 - NVML's name
        return index

    def nvmlDeviceGetName(self, handle: int) -> Any:  # noqa: N802 - NVML's name
        if self.names[handle] == "lost":
            raise self.NVMLError("GPU is lost")
        return self.names[handle]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802 - NVML's name
        return SimpleNamespace(total=(80 << 30) - handle)

    def nvmlDeviceGetNvLinkState(self, handle: int, link: int) -> int:  # noqa: N802 - NVML's name
        if not self.links_up:
            raise self.NVMLError
        return 1

    def nvmlDeviceGetP2PStatus(self, one: int, other: int, kind: int) -> int:  # noqa: N802
        if kind == self.NVML_P2P_CAPS_INDEX_READ:
            if self.direct is None:
                raise self.NVMLError
            return 0 if self.direct else 5
        return 0 if (one, other) in self.bridged else 5


def found(names: list[str | bytes], **state: Any) -> Cluster:
    return gpu_cluster(FakeNvml(names, **state), len(names), None)  # type: ignore[arg-type]


def test_hopper_with_nvlink_is_on_nvswitch() -> None:
    """Eight H100 with links up are the cluster `8xH100` describes, with the driver's memory."""
    cluster = found([H100] * 8, links_up=True)
    assert (cluster.accelerator.name, cluster.count) == ("H100-SXM-80GB", 8)
    assert cluster.fabric.name == "nvswitch-gen4"
    assert cluster.accelerator.peaks.memory_bytes == (80 << 30) - 7
    assert cluster.origin == "detected"


def test_nvlink_that_is_down_is_told_and_not_counted() -> None:
    """H100 SXM whose fabric is not up are planned on PCIe, and the answer says why."""
    cluster = found([H100] * 8)
    assert cluster.fabric.name == "pcie-gen5"
    assert "NVLink is down" in cluster.assumptions[1]


def test_cards_without_nvlink_are_on_pcie() -> None:
    """L40S have no NVLink; names may come as bytes."""
    assert found([b"NVIDIA L40S"] * 4).fabric.name == "pcie-gen4"


@pytest.mark.parametrize(
    ("name", "direct", "fabric"),
    [
        ("NVIDIA L40S", True, "pcie-gen4"),
        ("NVIDIA L40S", False, "pcie-gen4-host"),
        ("NVIDIA GeForce RTX 4090", False, "pcie-gen4"),
        ("NVIDIA GeForce RTX 4090", True, "pcie-gen4-p2p"),
    ],
)
def test_what_the_driver_tells_of_p2p_is_planned_with(name: str, direct: bool, fabric: str) -> None:
    """Cards that exchange otherwise than they usually do are planned as they do here."""
    assert found([name] * 4, direct=direct).fabric.name == fabric


def test_cards_without_a_bridge_are_on_pcie() -> None:
    """A100 PCIe cards that share no NVLink have no bridge."""
    cluster = found([A100_PCIE] * 2)
    assert cluster.fabric.name == "pcie-gen4"
    assert len(cluster.assumptions) == 1


def test_bridged_pairs_are_islands_of_two() -> None:
    """When neighbours in number are bridged, each pair is a domain."""
    cluster = found([A100_PCIE] * 4, bridged=((0, 1), (2, 3)))
    assert cluster.fabric.name == "nvlink-bridge-gen3"
    assert cluster.domain == 2


def test_bridges_between_other_pairs_are_told_and_not_counted() -> None:
    """Groups take neighbours in number: a bridge elsewhere does not help them."""
    cluster = found([A100_PCIE] * 4, bridged=((0, 2), (1, 3)))
    assert cluster.fabric.name == "pcie-gen4"
    assert "NVLink bridges join GPUs 0-2, 1-3" in cluster.assumptions[1]


def test_an_interconnect_that_is_asked_for_wins() -> None:
    """`--interconnect` overrides what the driver shows."""
    nvml: Any = FakeNvml([H100] * 8, links_up=True)
    assert gpu_cluster(nvml, 8, "pcie").fabric.name == "pcie-gen5"


def test_an_unknown_product_is_named() -> None:
    """A GPU nobody recorded is not taken for another."""
    with pytest.raises(InputError, match="NVIDIA Z9000 is not in the catalog"):
        found(["NVIDIA Z9000"])


def test_a_product_that_no_engine_runs_on_is_refused_as_that() -> None:
    """The nearest one would not help."""
    with pytest.raises(InputError, match="--gpus auto: no engine here runs on Tesla P40: "):
        found(["Tesla P40"] * 2)


def test_mixed_gpus_count_as_the_weakest() -> None:
    """Each counts as the one with the least memory and the slowest; NVML's memory is taken."""
    cluster = found(["NVIDIA L40S", "NVIDIA L4"])
    assert (cluster.accelerator.name, cluster.count) == ("L4", 2)
    assert cluster.kinds == ("L40S", "L4")
    assert "ranks are equal" in cluster.assumptions[0]
    assert "1 x NVIDIA L40S and 1 x NVIDIA L4 found in this machine" in cluster.assumptions[1]


def test_detection_asks_the_driver_and_lets_it_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a driver its GPUs are the cluster, and NVML is shut down after."""
    nvml = FakeNvml(["NVIDIA L40S"] * 2)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert (detect().accelerator.name, detect().count) == ("L40S", 2)
    assert nvml.ended == 2


def test_without_a_driver_the_cpu_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose NVIDIA driver does not answer serves on its cores."""
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml([], driver=False))
    assert detect().accelerator.platform == "cpu"


def test_a_failing_driver_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that fell off the bus is an error of the machine, not of the input."""
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(["lost"]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(TpdeployError, match="the NVIDIA driver failed: GPU is lost"):
        detect()


@pytest.mark.parametrize(
    ("setting", "count"), [(None, 8), ("0,1", 2), (" 0 , 1,2,3", 4), ("", 0), ("-1", 0)]
)
def test_hidden_gpus_are_not_planned_for(
    monkeypatch: pytest.MonkeyPatch, setting: str | None, count: int
) -> None:
    """CUDA_VISIBLE_DEVICES limits detection; when it is not set, all GPUs count."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if setting is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    assert visible_count(8) == count


@pytest.mark.parametrize("setting", ["4,5", "1,0", "GPU-1a2b", "0,1,2,3,4,5,6,7,8"])
def test_a_selection_that_plans_cannot_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """A plan counts from 0: launching it must not take GPUs that were left to others."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    with pytest.raises(InputError, match=f"CUDA_VISIBLE_DEVICES={setting} is not the first"):
        visible_count(8)


def test_a_cpu_share_has_its_part_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two shares of four cores have half the memory and half the speed of all four."""
    monkeypatch.setattr(machine, "usable_cores", lambda: [0, 1, 8, 9])
    whole, half = (cpu_cluster(n) for n in (1, 2))
    assert half.cpus == ("0,1", "8,9")
    one, two = whole.accelerator.peaks, half.accelerator.peaks
    assert two.memory_bytes == one.memory_bytes // 2
    assert two.memory_bytes_per_s == pytest.approx(one.memory_bytes_per_s / 2)
    assert two.flops_per_s[Dtype.FP32] == pytest.approx(one.flops_per_s[Dtype.FP32] / 2)


@pytest.mark.parametrize(("nodes", "cores", "shares"), [(1, 8, 2), (1, 1, 1), (4, 8, 4), (2, 8, 2)])
def test_by_default_a_share_is_a_numa_node(
    monkeypatch: pytest.MonkeyPatch, nodes: int, cores: int, shares: int
) -> None:
    """One share a NUMA node, but at least two where there are two cores."""
    monkeypatch.setattr(machine, "usable_cores", lambda: list(range(cores)))
    monkeypatch.setattr(machine, "numa_nodes", lambda: [[0]] * nodes)
    assert cpu_cluster(None).count == shares


@pytest.mark.parametrize(("native", "ratio"), [(True, 4.387), (False, 0.15)])
def test_bf16_is_slower_than_fp32_without_its_instructions(
    monkeypatch: pytest.MonkeyPatch, native: bool, ratio: float
) -> None:
    """A CPU without AVX512-BF16 or AMX is not credited with their speed."""
    monkeypatch.setattr(machine, "computes_in_bf16", lambda: native)
    flops = cpu_cluster(1).accelerator.peaks.flops_per_s
    assert flops[Dtype.BF16] / flops[Dtype.FP32] == pytest.approx(ratio, rel=1e-3)
