"""How the devices are joined, against what the plan assumes."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from tpdeploy.launcher.doctor.case import Case
from tpdeploy.launcher.doctor.finding import Finding, ok, warning
from tpdeploy.launcher.doctor.groups import core_groups, device_groups, nodes_of
from tpdeploy.profiles.machine.cores import numa_nodes

COMMAND_LINE = Path("/proc/cmdline")
IOMMUS = Path("/sys/class/iommu")
PLAN_AGAIN = "tpdeploy plan MODEL --gpus auto counts what is there"
# Access control services send traffic between GPUs through the root, as an IOMMU does.
ACS = "ACS of the PCIe bridges may be the cause: sudo lspci -vvv | grep ACSCtl"


def fabric(case: Case) -> Iterator[Finding]:
    """Whether the devices are joined by what the plan counts on."""
    if case.plan is None or not case.gpus or len(case.devices) == 1:
        return
    planned, here = case.plan.cluster.fabric, case.here
    told = " ".join(here.assumptions[1:])
    if here.fabric.name == planned:
        yield ok("topology", f"{planned}, as planned")
    else:
        seen = f"the plan counts on {planned}, the driver shows {here.fabric.name}. {told}".strip()
        yield warning("topology", seen, PLAN_AGAIN)


def peers(case: Case) -> Iterator[Finding]:
    """Whether the GPUs of a group read each other's memory directly."""
    groups = _groups(case)
    if case.driver is None or not groups:
        return
    pairs = [pair for group in groups for pair in combinations(sorted(group), 2)]
    barred = {pair: case.driver.barriers[pair] for pair in pairs if pair in case.driver.barriers}
    if not barred:
        yield ok("peer access", "the GPUs of each group read each other's memory")
        return
    (one, other), why = next(iter(barred.items()))
    more = f" and {len(barred) - 1} more pairs" if len(barred) > 1 else ""
    seen = f"GPUs {one} and {other}{more} do not read each other's memory ({why})"
    yield warning("peer access", f"{seen}: all-reduces go through the CPU", iommu_hint(case))


def iommu_hint(case: Case) -> str:
    """What may stand between GPUs, as far as the kernel tells, and what helps."""
    translated = any(gpu.translated for gpu in case.gpus)
    unknown = all(gpu.translated is None for gpu in case.gpus)
    if translated or (unknown and _iommu_translates()):
        return f"the IOMMU translates: boot with iommu=pt, or turn it off in the BIOS; or {ACS}"
    return ACS


def _iommu_translates() -> bool:
    """Where the kernel names no groups: an IOMMU is there, and nothing lets addresses through."""
    try:
        options = COMMAND_LINE.read_text(encoding="utf-8").split()
    except OSError:
        return False
    on = IOMMUS.is_dir() and any(IOMMUS.iterdir())
    passes = {"iommu=pt", "iommu.passthrough=1", "iommu=off", "intel_iommu=off", "amd_iommu=off"}
    return on and not passes & set(options)


def sockets(case: Case) -> Iterator[Finding]:
    """Whether a group, or a rank's cores, lie on several NUMA nodes, which are CPU sockets."""
    found = list(_split_cores(case) if case.engine.platform == "cpu" else _split_gpus(case))
    yield from found
    nodes = len(numa_nodes())
    if not found and (case.gpus or case.engine.platform == "cpu"):
        yield ok("sockets", f"{nodes} NUMA node{'s' if nodes > 1 else ''}; no group is torn apart")


def _split_cores(case: Case) -> Iterator[Finding]:
    nodes = numa_nodes()
    places = case.plan.placement if case.plan else ()
    torn = [cpus for place in places for cpus in place.cpus if len(nodes_of(cpus, nodes)) > 1]
    if torn:
        seen = f"the cores {torn[0]} of one rank lie on several NUMA nodes: memory is read slower"
        yield warning("sockets", seen, f"tpdeploy plan MODEL --gpus {len(nodes)}xCPU")


def _split_gpus(case: Case) -> Iterator[Finding]:
    if case.plan is None or not case.plan.cluster.fabric.startswith("pcie"):
        return  # on NVLink it does not matter
    on = {gpu.index: gpu.numa_node for gpu in case.gpus}
    for group in device_groups(case.plan):
        nodes = {on.get(device) for device in group} - {None}
        if len(nodes) > 1:
            listed = ", ".join(map(str, group))
            seen = f"GPUs {listed} of one group are on PCIe of {len(nodes)} CPU sockets"
            remedy = "tpdeploy calibrate measures what that costs; narrower groups avoid it"
            yield warning("sockets", seen, remedy)


def _groups(case: Case) -> list[list[int]]:
    """Those of the plan, or all GPUs together."""
    if case.plan is not None:
        return device_groups(case.plan)
    return [[gpu.index for gpu in case.gpus]] if len(case.gpus) > 1 else []


def groups_to_try(case: Case) -> list[list[str]]:
    """The devices or cores of each rank of each group, as the all-reduce is told them."""
    if case.engine.platform != "cpu":
        return [list(map(str, group)) for group in _groups(case)]
    if case.plan is not None:
        return core_groups(case.plan)
    cpus = case.here.cpus
    return [list(cpus)] if len(cpus) > 1 else []
