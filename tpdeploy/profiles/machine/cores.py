"""The cores and the memory that this process may use, as the kernel tells."""

import os
from pathlib import Path

import psutil

from tpdeploy.profiles.machine.kernel import kernel_text

CGROUP = Path("/sys/fs/cgroup")
NUMA_NODES = Path("/sys/devices/system/node")
CPUINFO = Path("/proc/cpuinfo")


def usable_cores() -> list[int]:
    """The cores of this process, those of one NUMA node side by side.

    Affinity and a control group's CPU quota count: under a quota of two cores, two are used.
    """
    cores = [core for node in numa_nodes() for core in node]
    return cores[: _quota(len(cores))]


def numa_nodes() -> list[list[int]]:
    """The allowed cores of each NUMA node that has any; one node where the kernel shows none."""
    # Affinity is Linux's; elsewhere every core is allowed.
    affinity = getattr(os, "sched_getaffinity", None)
    allowed = set(affinity(0)) if affinity else set(range(os.cpu_count() or 1))
    lists = sorted(NUMA_NODES.glob("node[0-9]*/cpulist"), key=lambda p: int(p.parent.name[4:]))
    nodes = [sorted(allowed & set(cores_in(kernel_text(path)))) for path in lists]
    found = [node for node in nodes if node]
    return found if {core for node in found for core in node} == allowed else [sorted(allowed)]


def memory_bytes() -> int:
    """Memory of this machine, or what its control group may use."""
    total = psutil.virtual_memory().total
    limit = kernel_text(CGROUP / "memory.max")
    return min(total, int(limit)) if limit.isdigit() else total


def free_memory_bytes() -> int:
    """Memory that a new process can have: of this machine, and of what its control group may use.

    Pages of files count as free, since the kernel gives them up.
    """
    available = psutil.virtual_memory().available
    limit, used = kernel_text(CGROUP / "memory.max"), kernel_text(CGROUP / "memory.current")
    if not (limit.isdigit() and used.isdigit()):
        return available
    stated = (line.split() for line in kernel_text(CGROUP / "memory.stat").splitlines())
    files = next((int(size) for name, size in stated if name == "inactive_file"), 0)
    return max(0, min(available, int(limit) - int(used) + files))


def computes_in_bf16() -> bool:
    """Whether the cores multiply BF16 natively (AVX512-BF16 or AMX)."""
    flags = kernel_text(CPUINFO)
    return "avx512_bf16" in flags or "amx_bf16" in flags


def processor() -> str:
    """The processor's name as the kernel gives it; "CPU" where it gives none."""
    lines = kernel_text(CPUINFO).splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "CPU")


def _quota(cores: int) -> int:
    quota, _, period = kernel_text(CGROUP / "cpu.max").partition(" ")
    return max(1, min(cores, int(quota) // int(period))) if quota.isdigit() else cores


def cores_in(text: str) -> list[int]:
    """The cores of a kernel list such as `0-3,8-11`.

    >>> cores_in("0-2,5")
    [0, 1, 2, 5]
    """
    spans = [part.partition("-") for part in text.split(",") if part]
    return [core for a, _, b in spans for core in range(int(a), int(b or a) + 1)]
