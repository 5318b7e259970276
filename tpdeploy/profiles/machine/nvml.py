"""The current state of the NVIDIA GPUs: memory, processes, and peer-to-peer access."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from tpdeploy.errors import TpdeployError
from tpdeploy.profiles.machine.kernel import kernel_text

PCI_DEVICES = Path("/sys/bus/pci/devices")


@dataclass(frozen=True)
class GpuProcess:
    """A process that computes on a GPU; `bytes` is None where the driver does not tell."""

    pid: int
    name: str
    bytes: int | None


@dataclass(frozen=True)
class Gpu:
    """One GPU; `numa_node` and `translated` are None where the kernel does not tell."""

    index: int
    name: str
    total_bytes: int
    free_bytes: int
    processes: tuple[GpuProcess, ...] = ()
    numa_node: int | None = None
    translated: bool | None = None  # whether an IOMMU translates the addresses it uses


@dataclass(frozen=True)
class Driver:
    """The driver and its GPUs.

    `barriers` are the pairs of GPUs that cannot read each other's memory, and why.
    """

    version: str
    cuda: str
    gpus: tuple[Gpu, ...]
    barriers: Mapping[tuple[int, int], str]


@contextmanager
def opened() -> Iterator[ModuleType | None]:
    """NVML within the block; None when no driver answers.

    Raises:
        TpdeployError: it answers and then fails.
    """
    import pynvml  # noqa: PLC0415 - 15 ms that only this needs

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    except pynvml.NVMLError as error:
        raise TpdeployError(f"the NVIDIA driver failed: {error}; see nvidia-smi") from error
    finally:
        pynvml.nvmlShutdown()


def read_driver() -> Driver | None:
    """The driver's state; None if no driver answers.

    Raises:
        TpdeployError: it answers and then fails.
    """
    with opened() as nvml:
        return _read(nvml) if nvml else None


def driver_version() -> str:
    """The version of the driver; "unknown" where none tells."""
    with opened() as nvml:
        version = told(nvml, nvml.nvmlSystemGetDriverVersion) if nvml else None
    return text(version) if version else "unknown"


def _read(nvml: ModuleType) -> Driver:
    handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    return Driver(
        version=text(nvml.nvmlSystemGetDriverVersion()),
        cuda=_cuda(told(nvml, nvml.nvmlSystemGetCudaDriverVersion) or 0),
        gpus=tuple(_gpu(nvml, index, handle) for index, handle in enumerate(handles)),
        barriers=_barriers(nvml, handles),
    )


def _gpu(nvml: ModuleType, index: int, handle: object) -> Gpu:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    running = told(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
    pci = told(nvml, nvml.nvmlDeviceGetPciInfo, handle)
    folder = PCI_DEVICES / _address(text(pci.busId)) if pci else None
    return Gpu(
        index=index,
        name=text(nvml.nvmlDeviceGetName(handle)),
        total_bytes=int(memory.total),
        free_bytes=int(memory.free),
        processes=tuple(GpuProcess(p.pid, _name(p.pid), p.usedGpuMemory) for p in running),
        numa_node=_numa_node(folder) if folder else None,
        translated=_translated(folder) if folder else None,
    )


def _barriers(nvml: ModuleType, handles: list[Any]) -> dict[tuple[int, int], str]:
    """Pairs without peer-to-peer reads, by NVML's own word for the reason."""
    words = {
        getattr(nvml, name): name.removeprefix("NVML_P2P_STATUS_").replace("_", " ").lower()
        for name in dir(nvml)
        if name.startswith("NVML_P2P_STATUS_")
    }
    found = {}
    for one, other in combinations(range(len(handles)), 2):
        ask = (handles[one], handles[other], nvml.NVML_P2P_CAPS_INDEX_READ)
        status = told(nvml, nvml.nvmlDeviceGetP2PStatus, *ask)
        if status not in {None, nvml.NVML_P2P_STATUS_OK}:
            found[one, other] = words.get(status, f"status {status}")
    return found


def _cuda(version: int) -> str:
    """The newest CUDA that the driver runs: 12080 is 12.8."""
    return f"{version // 1000}.{version % 1000 // 10}" if version else "unknown"


def _name(pid: int) -> str:
    """The name of a process, which the driver may know from outside of this container."""
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "not visible here"


def _address(bus: str) -> str:
    """The kernel's name of a PCI device: its domain has four digits, NVML's has eight.

    >>> _address("00000000:1B:00.0")
    '0000:1b:00.0'
    """
    domain, _, rest = bus.lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def _numa_node(folder: Path) -> int | None:
    node = kernel_text(folder / "numa_node")
    return int(node) if node.isdigit() else None  # -1: the kernel does not know


def _translated(folder: Path) -> bool | None:
    kind = kernel_text(folder / "iommu_group" / "type")  # "identity" passes addresses through
    return kind.startswith("DMA") if kind else None


def text(name: str | bytes) -> str:
    """NVML gives names as bytes in some versions."""
    return name.decode() if isinstance(name, bytes) else name


def told(nvml: ModuleType, ask: Callable[..., Any], *about: object) -> Any:
    """NVML's answer; None if this driver or GPU has none."""
    try:
        return ask(*about)
    except nvml.NVMLError:
        return None
