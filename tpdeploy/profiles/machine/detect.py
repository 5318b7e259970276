"""This machine as a Cluster: its NVIDIA GPUs as the driver sees them, else its CPU cores."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from types import ModuleType

from tpdeploy.errors import InputError
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.devices.catalog import assemble, choose_fabric, find_accelerator, find_fabric
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.devices.mixed import as_weakest, weakest
from tpdeploy.profiles.devices.pcie import MEASURED_BOTH, parsed
from tpdeploy.profiles.devices.unserved import unserved
from tpdeploy.profiles.machine.cores import computes_in_bf16, memory_bytes, numa_nodes, usable_cores
from tpdeploy.profiles.machine.nvml import opened, text, told
from tpdeploy.profiles.record import Dtype

# Rate of products in BF16 without its instructions, over FP32: torch 2.13 on a core of an AMD EPYC
# with AVX2, (1024 x 1536 x 1536) in 655 and 106 ms, (64 x 576 x 1536) in 14.3 and 1.8 ms.
EMULATED = 0.15


def detect(interconnect: str | None = None) -> Cluster:
    """This machine's GPUs, or its CPU when no NVIDIA driver answers.

    Raises:
        InputError: GPUs of a kind that is not in the catalog, of kinds that no engine runs on
            together, or hidden in part by CUDA_VISIBLE_DEVICES.
        TpdeployError: the driver answers and then fails.
    """
    with opened() as nvml:
        count = visible_count(nvml.nvmlDeviceGetCount()) if nvml else 0
        if nvml is None or count == 0:
            return cpu_cluster(None, interconnect)
        return gpu_cluster(nvml, count, interconnect)


def visible_count(installed: int) -> int:
    """How many of the `installed` GPUs CUDA_VISIBLE_DEVICES leaves; all when it is not set.

    Raises:
        InputError: it leaves others than the first; plans number GPUs from 0, so launching
            would take GPUs that are somebody else's.
    """
    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    if setting is None:
        return installed
    chosen = [part.strip() for part in setting.split(",") if part.strip()]
    if chosen in ([], ["-1"]):
        return 0
    if chosen != [str(index) for index in range(min(len(chosen), installed))]:
        raise InputError(
            f"--gpus auto: CUDA_VISIBLE_DEVICES={setting} is not the first GPUs in order, and a "
            "plan counts from 0; unset it, or name the GPUs, as 2xH100"
        )
    return len(chosen)


def gpu_cluster(nvml: ModuleType, count: int, interconnect: str | None) -> Cluster:
    """The first `count` GPUs that an initialized NVML shows, on the fabric that joins them."""
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    names = [text(nvml.nvmlDeviceGetName(handle)) for handle in handles]
    kinds = [_known(name, count) for name in names]
    known = weakest(kinds)
    memory = min(int(nvml.nvmlDeviceGetMemoryInfo(handle).total) for handle in handles)
    device = known.changed(peaks=known.peaks.changed(memory_bytes=memory))
    fabric = choose_fabric(device, interconnect)
    mixed = len(set(names)) > 1
    remarks: tuple[str, ...] = ()
    if interconnect is None and count > 1 and not mixed:
        fabric, remarks = _found_fabric(nvml, handles, device)
    name = " and ".join(f"{names.count(each)} x {each}" for each in dict.fromkeys(names))
    found = f"{name} found in this machine, joined by {fabric}."
    cluster = assemble(device, fabric, 1, count).changed(
        assumptions=(found, *remarks), origin="detected"
    )
    return as_weakest(cluster, kinds)


def _known(name: str, count: int) -> Accelerator:
    try:
        return find_accelerator(name)
    except InputError as error:
        nearest = f"{name} is not in the catalog; name the nearest one, as {count}xH100"
        raise InputError(f"--gpus auto: {unserved(name) or nearest}") from error


def cpu_cluster(shares: int | None, interconnect: str | None = None) -> Cluster:
    """This machine's cores in `shares` equal parts: by default one per NUMA node, at least two.

    Raises:
        InputError: more shares than cores, or an interconnect that is not the CPU's.
    """
    cores = usable_cores()
    count = shares or max(len(numa_nodes()), min(2, len(cores)))
    if count > len(cores):
        raise InputError(f"--gpus {count}xCPU: this machine has {len(cores)} cores to share")
    each = len(cores) // count
    device = _share_of_cores(find_accelerator("CPU"), each, memory_bytes() // count)
    parts = [cores[i * each : (i + 1) * each] for i in range(count)]
    found = (
        f"This machine's CPU in {count} shares of {each} core{'s' if each > 1 else ''}; "
        "speed per core is that of another CPU, measured elsewhere."
    )
    return assemble(device, choose_fabric(device, interconnect), 1, count).changed(
        cpus=tuple(",".join(map(str, part)) for part in parts),
        assumptions=(found,),
        origin="detected",
    )


def _share_of_cores(core: Accelerator, cores: int, memory: int) -> Accelerator:
    """The catalog's CPU, whose peaks are those of one core, as a device of `cores` cores."""
    flops = dict(core.peaks.flops_per_s)
    if not computes_in_bf16():
        flops[Dtype.BF16] = EMULATED * flops[Dtype.FP32]
    peaks = core.peaks.changed(
        memory_bytes=memory,
        memory_bytes_per_s=core.peaks.memory_bytes_per_s * cores,
        flops_per_s={dtype: rate * cores for dtype, rate in flops.items()},
    )
    return core.changed(peaks=peaks)


def _found_fabric(
    nvml: ModuleType, handles: Sequence[object], device: Accelerator
) -> tuple[str, tuple[str, ...]]:
    """The fabric that joins the GPUs, and what has to be said about it."""
    linked = next((name for name in device.fabrics if name.startswith("nv")), None)
    without = next((name for name in device.fabrics if name.startswith("pcie")), device.fabrics[0])
    without = _as_they_exchange(nvml, handles, device, without)
    if linked is None:
        return without, ()
    if not linked.startswith("nvlink-bridge"):
        up = all(_nvlink_is_up(nvml, handle) for handle in handles)
        return (linked, ()) if up else (without, ("NVLink is down on at least one GPU.",))
    pairs = [
        pair
        for pair in combinations(range(len(handles)), 2)
        if _are_bridged(nvml, handles[pair[0]], handles[pair[1]])
    ]
    domain = find_fabric(linked).domain
    if pairs and set(_neighbours(len(handles), domain)) <= set(pairs):
        return linked, ()
    if not pairs:
        return without, ()
    shown = ", ".join(f"{a}-{b}" for a, b in pairs)
    return without, (
        f"NVLink bridges join GPUs {shown}, not every {domain} neighbours in number, as groups "
        f"are placed: {without} is counted.",
    )


def _as_they_exchange(
    nvml: ModuleType, handles: Sequence[object], device: Accelerator, fabric: str
) -> str:
    """PCIe with P2P or without, where the driver tells otherwise than such devices usually do."""
    link = parsed(fabric)
    ask = partial(told, nvml, nvml.nvmlDeviceGetP2PStatus)
    reads = [ask(*pair, nvml.NVML_P2P_CAPS_INDEX_READ) for pair in combinations(handles, 2)]
    if link is None or link.generation > MEASURED_BOTH or None in reads:
        return fabric
    direct = all(status == nvml.NVML_P2P_STATUS_OK for status in reads)
    if direct == link.is_direct(usually=device.peer_to_peer):
        return fabric
    return replace(link, path="p2p" if direct else "host").name


def _neighbours(count: int, domain: int) -> list[tuple[int, int]]:
    """The pairs that must be bridged for consecutive GPUs to be domains."""
    return [
        pair
        for first in range(0, count, domain)
        for pair in combinations(range(first, min(first + domain, count)), 2)
    ]


def _are_bridged(nvml: ModuleType, one: object, other: object) -> bool:
    status = told(nvml, nvml.nvmlDeviceGetP2PStatus, one, other, nvml.NVML_P2P_CAPS_INDEX_NVLINK)
    return bool(status == nvml.NVML_P2P_STATUS_OK)


def _nvlink_is_up(nvml: ModuleType, handle: object) -> bool:
    return bool(told(nvml, nvml.nvmlDeviceGetNvLinkState, handle, 0))
