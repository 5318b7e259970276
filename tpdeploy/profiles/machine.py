"""This machine as a Cluster: its NVIDIA GPUs as the driver sees them, else its CPU cores."""

import os
from pathlib import Path
from types import ModuleType

import psutil

from tpdeploy.errors import InputError
from tpdeploy.profiles.accelerator import Accelerator
from tpdeploy.profiles.catalog import assemble, choose_fabric, find_accelerator
from tpdeploy.profiles.cluster import Cluster

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
NUMA_NODES = Path("/sys/devices/system/node")


def detect(interconnect: str | None = None) -> Cluster:
    """This machine's GPUs, or its CPU when no NVIDIA driver answers.

    Raises:
        InputError: GPUs of several kinds, or of a kind that is not in the catalog.
    """
    import pynvml  # noqa: PLC0415 - 15 ms that only detection needs

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return cpu_cluster(None)
    try:
        count = pynvml.nvmlDeviceGetCount()
        return gpu_cluster(pynvml, count, interconnect) if count else cpu_cluster(None)
    finally:
        pynvml.nvmlShutdown()


def gpu_cluster(nvml: ModuleType, count: int, interconnect: str | None) -> Cluster:
    """The `count` GPUs that an initialized NVML shows, on the fabric that joins them."""
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    names = {_text(nvml.nvmlDeviceGetName(handle)) for handle in handles}
    if len(names) > 1:
        raise InputError(
            f"--gpus auto: this machine has GPUs of several kinds ({', '.join(sorted(names))}); "
            "name those to use, as 4xL40S"
        )
    name = names.pop()
    try:
        known = find_accelerator(name)
    except InputError as error:
        raise InputError(
            f"--gpus auto: {name} is not in the catalog; name the nearest one, as {count}xH100"
        ) from error
    memory = min(int(nvml.nvmlDeviceGetMemoryInfo(handle).total) for handle in handles)
    device = known.model_copy(
        update={"peaks": known.peaks.model_copy(update={"memory_bytes": memory})}
    )
    cluster = assemble(device, _fabric(nvml, handles, device, interconnect), 1, count)
    found = f"{count} x {name} found in this machine, joined by {cluster.fabric.name}."
    return cluster.model_copy(update={"assumptions": (found,), "origin": "detected"})


def cpu_cluster(shares: int | None) -> Cluster:
    """This machine's cores in `shares` equal parts: by default one a NUMA node, at least two.

    Raises:
        InputError: more shares than cores.
    """
    cores = sorted(os.sched_getaffinity(0))
    count = shares or max(len(list(NUMA_NODES.glob("node[0-9]*"))), min(2, len(cores)))
    if count > len(cores):
        raise InputError(f"--gpus {count}xCPU: this machine has {len(cores)} cores to share")
    per_share = len(cores) // count
    core = find_accelerator("CPU")
    peaks = core.peaks.model_copy(
        update={
            "memory_bytes": _memory_bytes() // count,
            "memory_bytes_per_s": core.peaks.memory_bytes_per_s * per_share,
            "flops_per_s": {k: v * per_share for k, v in core.peaks.flops_per_s.items()},
        }
    )
    device = core.model_copy(update={"peaks": peaks})
    cluster = assemble(device, choose_fabric(device, None), 1, count)
    found = (
        f"This machine's CPU in {count} shares of {per_share} "
        f"core{'s' if per_share > 1 else ''}; speed per core is that of another CPU, "
        "measured elsewhere."
    )
    parts = [cores[i * per_share : (i + 1) * per_share] for i in range(count)]
    return cluster.model_copy(
        update={
            "cpus": tuple(",".join(map(str, part)) for part in parts),
            "assumptions": (found,),
            "origin": "detected",
        }
    )


def _fabric(
    nvml: ModuleType, handles: list[object], device: Accelerator, interconnect: str | None
) -> str:
    """The fabric asked for; else NVLink if a link of the first GPU is up; else PCIe."""
    if interconnect or len(handles) == 1:
        return choose_fabric(device, interconnect)
    seen = "nvlink" if _nvlink_is_up(nvml, handles[0]) else "pcie"
    prefix = "nv" if seen == "nvlink" else seen
    fitting = [fabric for fabric in device.fabrics if fabric.startswith(prefix)]
    return fitting[0] if fitting else device.fabrics[0]


def _nvlink_is_up(nvml: ModuleType, handle: object) -> bool:
    try:
        return bool(nvml.nvmlDeviceGetNvLinkState(handle, 0))
    except nvml.NVMLError:
        return False


def _memory_bytes() -> int:
    """Memory of this machine, or what its control group may use."""
    total = psutil.virtual_memory().total
    try:
        limit = CGROUP_LIMIT.read_text(encoding="utf-8").strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def _text(name: str | bytes) -> str:
    """NVML gives names as bytes in some versions."""
    return name.decode() if isinstance(name, bytes) else name
