"""Free memory of the devices against what the plan needs."""

from collections.abc import Iterator

from tpdeploy.launcher.doctor.case import Case
from tpdeploy.launcher.doctor.finding import Finding, fail, ok, warning
from tpdeploy.numbers import in_gib
from tpdeploy.planner.plan import DeploymentPlan, MemoryPerGpu
from tpdeploy.profiles.machine.cores import free_memory_bytes

# On CPUs the load sets the size of the KV cache, on GPUs the share of memory that is taken.
SMALLER = {"cpu": "--concurrency", "cuda": "--memory-fraction"}


def needed_bytes(memory: MemoryPerGpu) -> int:
    """`total - reserved`: what the engine will have taken of one device, as planned."""
    return memory.total_bytes - memory.reserved_bytes


def least_bytes(plan: DeploymentPlan, *, share_of_total: bool) -> int:
    """Without so much free memory on a device the engine does not start.

    An engine whose share is one of all memory (vLLM) refuses to start when less than that is free.
    On CPUs it is given the size of its KV cache. Others make their KV cache smaller.
    """
    memory = plan.memory_per_gpu
    if plan.cluster.platform == "cpu":
        return memory.weights_bytes + memory.kv_cache_bytes
    needed = needed_bytes(memory)
    return needed if share_of_total else needed - memory.kv_cache_bytes


def free_memory(case: Case) -> Iterator[Finding]:
    """Of each GPU, or of the machine whose CPU it is."""
    if case.engine.platform == "cpu":
        yield _of_machine(case)
        return
    lacking = list(_lacking(case))
    yield from lacking
    if case.gpus and not lacking:
        least = min(gpu.free_bytes for gpu in case.gpus)
        need = f", {in_gib(needed_bytes(case.plan.memory_per_gpu))} needed" if case.plan else ""
        yield ok("memory", f"{in_gib(least)} or more free on each GPU{need}")


def _lacking(case: Case) -> Iterator[Finding]:
    if case.plan is None:
        return
    rule = case.engine.backend.memory_rule(case.engine.platform)
    least = least_bytes(case.plan, share_of_total=rule.of == "total")
    for gpu in case.gpus:
        yield from _verdict(case.plan, f"GPU {gpu.index}", gpu.free_bytes, least, ranks=1)


def _of_machine(case: Case) -> Finding:
    free = free_memory_bytes()
    if case.plan is None:
        return ok("memory", f"{in_gib(free)} free")
    ranks, least = len(case.devices), least_bytes(case.plan, share_of_total=False)
    lacking = list(_verdict(case.plan, "this machine", free, least, ranks=ranks))
    need = in_gib(ranks * needed_bytes(case.plan.memory_per_gpu))
    return lacking[0] if lacking else ok("memory", f"{in_gib(free)} free, {need} needed")


def _verdict(
    plan: DeploymentPlan, where: str, free: int, least: int, *, ranks: int
) -> Iterator[Finding]:
    """A finding if `free` is not enough for the `ranks` there."""
    needed = ranks * needed_bytes(plan.memory_per_gpu)
    option = SMALLER.get(plan.cluster.platform, "--memory-fraction")
    remedy = f"end what uses it, or plan with a smaller {option}"
    seen = f"{where} has {in_gib(free)} free, the plan needs {in_gib(needed)}"
    if free < ranks * least:
        yield fail("memory", seen, remedy)
    elif free < needed:
        yield warning("memory", f"{seen}: it may start, with less KV cache", remedy)
