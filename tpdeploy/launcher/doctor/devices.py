"""The driver, the devices against the plan's, and who else uses them."""

from collections.abc import Iterator

from tpdeploy.errors import InputError
from tpdeploy.launcher import state
from tpdeploy.launcher.doctor.case import Case
from tpdeploy.launcher.doctor.finding import Finding, fail, ok, warning
from tpdeploy.launcher.runtimes.machine import check_machine
from tpdeploy.launcher.runtimes.processes import members
from tpdeploy.launcher.runtimes.registry import by_runtime
from tpdeploy.launcher.state import Deployment
from tpdeploy.numbers import in_gib
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.profiles.machine.cores import cores_in, processor, usable_cores
from tpdeploy.records import read_record

PLAN_AGAIN = "tpdeploy plan MODEL --gpus auto"


def driver(case: Case) -> Iterator[Finding]:
    """The NVIDIA driver and the CUDA it runs; of a CPU, its cores."""
    if case.engine.platform == "cpu":
        yield ok("driver", f"none needed: {processor()}, {len(usable_cores())} cores usable")
    elif not case.on_gpus:
        yield warning("driver", f"{case.engine.platform} devices are not examined", "see its tools")
    elif case.driver is None:
        yield fail("driver", "no NVIDIA driver answers", "nvidia-smi says why")
    else:
        found = case.driver
        yield ok("driver", f"NVIDIA {found.version}, for CUDA up to {found.cuda}")


def present(case: Case) -> Iterator[Finding]:
    """Whether the devices of the plan are there, and are of the kind it is for."""
    if case.plan is None:
        here = case.here
        yield ok("devices", f"{here.count} x {here.accelerator.name}, joined by {here.fabric.name}")
        return
    try:
        check_machine(case.plan)
    except InputError as error:
        yield fail("devices", str(error), PLAN_AGAIN)
        return
    planned, name = case.plan.cluster.gpu, case.here.accelerator.name if case.on_gpus else "CPU"
    if name == planned:
        yield ok("devices", f"{len(case.devices)} x {planned} planned, and here")
    else:
        seen = f"the plan is for {planned}, this machine has {name}: it will be as fast as that"
        yield warning("devices", seen, PLAN_AGAIN)


def taken(case: Case) -> Iterator[Finding]:
    """Devices of the plan that a running deployment uses; of the machine, those used at all."""
    here = [other for other in case.running if _replicas_here(other)]
    found = [finding for other in here for finding in _shared(case, other)]
    yield from found or [ok("deployments", "no other deployment uses these devices")]


def _shared(case: Case, other: Deployment) -> Iterator[Finding]:
    theirs = read_record(state.folder_of(other.name) / "plan.yaml", DeploymentPlan)
    if theirs.cluster.platform != case.engine.platform:
        return
    end = f"tpdeploy stop --name {other.name}"
    if theirs.cluster.platform == "cpu":
        both = sorted(_cores(theirs) & (_cores(case.plan) if case.plan else set(usable_cores())))
        if both:
            seen = f"{other.name} computes on core(s) {_listed(both)} too: both will be slow"
            yield warning("deployments", seen, end)
        return
    used = {device for member in other.members for device in member.devices}
    both = sorted(used & set(case.devices) if case.plan else used)
    if both:
        seen = f"GPU(s) {_listed(both)} belong to the running deployment {other.name}"
        yield fail("deployments", seen, end)


def _replicas_here(other: Deployment) -> bool:
    """Whether its replicas use what this machine has; its front always does."""
    return all(runtime.here for runtime, _ in by_runtime(other.members))


def _cores(plan: DeploymentPlan) -> set[int]:
    return {core for place in plan.placement for cpus in place.cpus for core in cores_in(cpus)}


def processes(case: Case) -> Iterator[Finding]:
    """Processes on the GPUs that belong to no deployment of ours."""
    if not case.gpus:
        return
    leaders = [m.leader for d in case.running for m in d.members if m.leader]
    ours = {process.pid for process in members(*leaders)}
    found = [(gpu.index, one) for gpu in case.gpus for one in gpu.processes if one.pid not in ours]
    for gpu, one in found:
        size = f" with {in_gib(one.bytes)}" if one.bytes else ""
        seen = f"{one.name} ({one.pid}) computes on GPU {gpu}{size}"
        yield warning("processes", seen, f"end it if it is yours: kill {one.pid}")
    if not found:
        yield ok("processes", "nobody else computes on the GPUs")


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
