"""Detection turns what the NVIDIA driver shows into the same cluster a user would state."""

from types import SimpleNamespace
from typing import Any

import pytest

from tpdeploy.errors import InputError
from tpdeploy.profiles.machine import cpu_cluster, gpu_cluster


class FakeNvml(SimpleNamespace):
    """NVML with the given product names; NVLink is up when `linked`."""

    class NVMLError(Exception):
        """NVML's own error."""

    def __init__(self, names: list[str | bytes], *, linked: bool, memory: int = 80 << 30) -> None:
        super().__init__(names=names, linked=linked, memory=memory)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802 - NVML's name
        return index

    def nvmlDeviceGetName(self, handle: int) -> Any:  # noqa: N802 - NVML's name
        return self.names[handle]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802 - NVML's name
        return SimpleNamespace(total=self.memory)

    def nvmlDeviceGetNvLinkState(self, handle: int, link: int) -> int:  # noqa: N802 - NVML's name
        if not self.linked:
            raise self.NVMLError
        return 1


def detect(names: list[str | bytes], *, linked: bool) -> Any:
    return gpu_cluster(FakeNvml(names, linked=linked), len(names), None)  # type: ignore[arg-type]


def test_hopper_with_nvlink_is_on_nvswitch() -> None:
    """Eight H100 with links up are the cluster `8xH100` describes, with the driver's memory."""
    cluster = detect(["NVIDIA H100 80GB HBM3"] * 8, linked=True)
    assert (cluster.accelerator.name, cluster.count) == ("H100-SXM-80GB", 8)
    assert cluster.fabric.name == "nvswitch-gen4"
    assert cluster.accelerator.peaks.memory_bytes == 80 << 30


def test_cards_without_nvlink_are_on_pcie() -> None:
    """An A100 PCIe whose links are down has no bridge."""
    assert detect([b"NVIDIA A100 80GB PCIe"] * 2, linked=False).fabric.name == "pcie-gen4"


def test_bridged_pairs_are_islands_of_two() -> None:
    """With a link up, PCIe cards are pairs on a bridge."""
    cluster = detect(["NVIDIA A100 80GB PCIe"] * 4, linked=True)
    assert cluster.fabric.name == "nvlink-bridge-gen3"
    assert cluster.island == 2


def test_an_unknown_product_is_named() -> None:
    """A GPU nobody recorded is not taken for another."""
    with pytest.raises(InputError, match="NVIDIA Z9000 is not in the catalog"):
        detect(["NVIDIA Z9000"], linked=False)


def test_mixed_gpus_are_refused() -> None:
    """One plan is for equal devices."""
    with pytest.raises(InputError, match="several kinds"):
        detect(["NVIDIA L40S", "NVIDIA L4"], linked=False)


def test_a_cpu_share_has_its_part_of_the_memory() -> None:
    """Two shares of one machine have half its memory each."""
    whole, half = (cpu_cluster(n).accelerator.peaks.memory_bytes for n in (1, 2))
    assert half == whole // 2
