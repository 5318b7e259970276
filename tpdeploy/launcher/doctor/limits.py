"""Limits of the operating system: open files, locked memory, shared memory, the port."""

import resource
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import psutil

from tpdeploy.errors import InputError
from tpdeploy.launcher.doctor.case import Case
from tpdeploy.launcher.doctor.finding import Finding, fail, ok, warning
from tpdeploy.launcher.runtimes.ports import FIRST_PORT, PORTS_TRIED, check_port, free_from
from tpdeploy.numbers import in_gib
from tpdeploy.planner.plan import DeploymentPlan

# In the largest process of vLLM 0.32 that serves on a CPU and has no request: 86.
ENGINE_FILES = 100
# A judgement: shards of weights, GPUs and the sockets of NCCL take some hundred more.
AMPLE_FILES = 4096
# vLLM raises its soft limit to this (set_ulimit in utils/system_utils.py of 0.32), or not at all
# where the hard limit is lower. The front raises its own as far as it may.
RAISED_TO = 65_535
# A connection of the client, and one to a replica.
FILES_PER_REQUEST = 2
# As NVIDIA advises for containers with NCCL (docs of NCCL, troubleshooting: --shm-size=1g).
SHARED_BYTES = 2**30
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where the kernel has it
INFINIBAND = Path("/sys/class/infiniband")


def requests_in_flight(plan: DeploymentPlan) -> int:
    """As many as the engines run at once, or as many clients as are planned for."""
    split = plan.parallelism
    running = plan.limits.max_num_seqs * split.data * split.replicas
    return max(running, plan.workload.concurrency or 0)


def files_needed(base: int, requests: int) -> int:
    """`base + 2 x requests` open files."""
    return base + FILES_PER_REQUEST * requests


def usable_files() -> int:
    """Open files that a process of the deployment may have."""
    soft, hard = (
        2**63 if limit == resource.RLIM_INFINITY else limit
        for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    return hard if hard >= RAISED_TO else soft


def open_files(case: Case) -> Iterator[Finding]:
    """Each request of a client is two open files of the front."""
    requests = requests_in_flight(case.plan) if case.plan else 0
    least, ample = (files_needed(base, requests) for base in (ENGINE_FILES, AMPLE_FILES))
    limit = usable_files()
    seen = f"{limit:,} allowed"
    if limit >= ample:
        yield ok("open files", f"{seen}, {ample:,} are ample")
        return
    remedy = f"ulimit -n {ample}, or LimitNOFILE= of the service"
    if limit < least:
        yield fail("open files", f"{seen}, {requests} requests at once need {least:,}", remedy)
    else:
        yield warning("open files", f"{seen}, {ample:,} are ample", remedy)


def locked_memory(case: Case) -> Iterator[Finding]:
    """Where there is InfiniBand, NCCL registers memory with it, which must be locked for that."""
    if not (case.on_gpus and INFINIBAND.is_dir() and any(INFINIBAND.iterdir())):
        return
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if hard == resource.RLIM_INFINITY:
        yield ok("locked memory", "unlimited")
    else:
        seen = f"{in_gib(hard)} allowed, and there is InfiniBand"
        remedy = "ulimit -l unlimited, or --ulimit memlock=-1 of the container"
        yield warning("locked memory", seen, remedy)


def shared_memory(case: Case) -> Iterator[Finding]:
    """Ranks of one machine talk through it."""
    if case.plan and case.plan.parallelism.ranks == 1:
        return
    try:
        usage = psutil.disk_usage(SHARED_MEMORY)
    except OSError as error:
        yield fail("shared memory", f"{SHARED_MEMORY}: {error.strerror}", "mount a tmpfs there")
        return
    seen = f"{SHARED_MEMORY} has {in_gib(usage.total)}, {in_gib(usage.free)} of it free"
    if usage.free < SHARED_BYTES:
        remedy = f"mount -o remount,size=8G {SHARED_MEMORY}, or --shm-size=8g of the container"
        yield warning("shared memory", f"{seen}; ranks may need {in_gib(SHARED_BYTES)}", remedy)
    else:
        yield ok("shared memory", seen)


def port(case: Case) -> Iterator[Finding]:
    """The port that was asked for, or the first free one that launch would take."""
    if case.port is not None:
        try:
            check_port(case.host, case.port)
        except InputError as error:
            yield fail("port", str(error), "choose another --port")
        else:
            yield ok("port", f"{case.port} is free")
        return
    ours = {m.port for m in chain.from_iterable(d.members for d in case.running)}
    free = next((port for port in free_from(case.host) if port not in ours), None)
    if free is None:
        seen = f"none from {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1} is free"
        yield fail("port", seen, "launch with --port")
    else:
        yield ok("port", f"{free} is free")
