"""Remedies: changes that make an infeasible request feasible. Each is tried before it is named."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import ceil, floor, log10

from tpdeploy.errors import InputError
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.memory.footprint import GIB
from tpdeploy.planner.model.precision import ONLINE_FP8, kv_cache_dtype, served_shape
from tpdeploy.planner.model.stages import stage_weight_bytes, stages
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.request import Request
from tpdeploy.planner.search.evaluation import Candidate
from tpdeploy.planner.search.fleet import fewest_devices
from tpdeploy.planner.search.machines import MOST_MACHINES, assembled, per_machine
from tpdeploy.planner.search.replay import at_load, load_of
from tpdeploy.planner.search.search import Outcome, Solved, is_met
from tpdeploy.planner.search.squeeze import Change, fits, fitting, squeeze
from tpdeploy.planner.workload import Target
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.models.library import bundled_ids, load_model
from tpdeploy.profiles.models.shape import ModelShape

# Words that tell a conversion of a checkpoint from the checkpoint itself.
CONVERTED = re.compile(
    r"(-(fp8|fp4|nvfp4|mxfp4|int4|int8|awq|gptq|w4a16|w8a8|static|pertensor|dynamic|bf16))+$"
)
# Doublings of a machine's memory before it is given up.
MEMORY_DOUBLINGS = 7
# Halvings of a load before it is given up.
HALVINGS = 6
# Options that bind the search, in the order in which a user would rather give them up.
BINDING = {
    "max_num_batched_tokens": "--max-num-batched-tokens",
    "max_num_seqs": "--max-num-seqs",
    "memory_fraction": "--memory-fraction",
    "expert_parallel": "--ep",
    "data": "--dp",
    "replicas": "--replicas",
    "pipeline": "--pp",
    "tensor": "--tp",
}
LAYOUT = ("expert_parallel", "data", "replicas", "pipeline", "tensor")


def remedies(
    inputs: PlanInputs, outcome: Outcome, solve: Callable[[PlanInputs], Solved]
) -> tuple[str, ...]:
    """The changes that work, in words; `outcome` is the infeasible outcome of `inputs`.

    `solve` is what found that outcome.
    """
    asked = as_asked(inputs)
    if outcome.ranked:
        found = tuple(_for_targets(asked, solve))
        return found or tuple(_looser_targets(inputs, outcome.ranked[0]))
    if any(refusal.does_not_fit for refusal in outcome.refused):
        return tuple(_for_memory(asked))
    return ()


def as_asked(inputs: PlanInputs) -> PlanInputs:
    """`inputs` without what the planner filled, but for an open count, which is its own kind."""
    filled = [name for name in inputs.settled if name != "optimize"]
    usual: Change = {name: Request.model_fields[name].default for name in filled}
    return replace(inputs, settled=(), **usual)


def _for_memory(inputs: PlanInputs) -> Iterator[str]:
    """More devices, a smaller checkpoint, narrower weights, shorter requests, fewer constraints."""
    yield from _shorter(inputs)
    freer = tuple(_freer(inputs))
    yield from freer
    if inputs.on_cpu:
        yield from _more_memory(inputs)
    elif inputs.optimize != "fewest":  # else there is no number of them
        yield from _more_devices(inputs, free=not freer)
    yield from _narrower_checkpoint(inputs)
    if inputs.shape.quantization is None and ONLINE_FP8.method in inputs.engine.quantizes:
        asked = replace(inputs, quantization=ONLINE_FP8.method)
        if _runs(_with_model(asked, inputs.shape.path or inputs.shape.id)):
            yield f"--quantization {ONLINE_FP8.method}"


def _for_targets(inputs: PlanInputs, solve: Callable[[PlanInputs], Solved]) -> Iterator[str]:
    """The largest part of the load that is carried, and the devices that carry all of it."""
    if inputs.optimize != "goodput":  # else the load was as light as can be
        yield from _lighter_load(inputs)
    if inputs.optimize in {"goodput", "fewest"} or inputs.on_cpu:
        return
    try:
        found = fewest_devices(inputs)
    except InputError:
        return
    cluster = found.inputs.cluster
    if found.outcome.best is None or cluster.count <= inputs.cluster.count:
        return
    enough = replace(inputs, cluster=cluster)
    if is_met(enough) or solve(enough)[1].best:
        yield _in_gpus(cluster)


def _looser_targets(inputs: PlanInputs, closest: Candidate) -> Iterator[str]:
    """Targets that the closest split meets, if it misses nothing else."""
    load, told = inputs.workload, closest.prediction
    looser: dict[str, Target] = {}
    for name, target, estimate in (
        ("ttft", load.ttft, told.ttft_ms),
        ("tpot", load.tpot, told.tpot_ms),
    ):
        if target is not None and estimate.value > target.ms:
            looser[name] = target.changed(ms=_rounded_up(estimate.value))
    if looser and is_met(replace(inputs, workload=load.changed(**looser))):
        yield " ".join(f"--{name} {_stated(target)}" for name, target in looser.items())


def _stated(target: Target) -> str:
    """A target as an option takes it."""
    return f"{target.ms:g}" + ("" if target.at == "p50" else f"@{target.at}")


def _rounded_up(ms: float) -> float:
    """The next number of two digits."""
    unit = 10.0 ** (floor(log10(ms)) - 1)
    return ceil(ms / unit) * unit


def _runs(inputs: PlanInputs) -> bool:
    """Whether it fits, unchanged or with the changes that the planner may make."""
    return fits(inputs) or squeeze(inputs) is not None


def _shorter(inputs: PlanInputs) -> Iterator[str]:
    """The longest request that fits, where a longer one was stated."""
    if inputs.max_model_len is None:
        return
    open_ = replace(inputs, max_model_len=None)
    longest = [sized.limits.max_model_len for _, sized in fitting(open_)]
    if longest and _runs(replace(inputs, max_model_len=max(longest))):
        yield f"--max-model-len {max(longest)}"


def _freer(inputs: PlanInputs) -> Iterator[str]:
    """The request without one of its stated options."""
    for name in BINDING:
        if getattr(inputs, name) is not None and _runs(_without(inputs, [name])):
            yield f"leaving {_option(inputs, name)} out"
            return


def _more_devices(inputs: PlanInputs, *, free: bool) -> Iterator[str]:
    """The next count of the same devices that is enough for the split as stated, else for any."""
    stated = [name for name in LAYOUT if getattr(inputs, name) is not None]
    options = " and ".join(_option(inputs, name) for name in stated)
    tries = [(inputs, "")]
    if free and stated:
        tries.append((_without(inputs, stated), f" without {options}"))
    for asked, without in tries:
        for cluster in _larger(inputs):
            if _runs(replace(asked, cluster=cluster)):
                yield _in_gpus(cluster) + without
                return


def _without(inputs: PlanInputs, names: Sequence[str]) -> PlanInputs:
    open_: Change = dict.fromkeys(names)
    return replace(inputs, **open_)


def _option(inputs: PlanInputs, name: str) -> str:
    return "--no-ep" if getattr(inputs, name) is False else BINDING[name]


def _more_memory(inputs: PlanInputs) -> Iterator[str]:
    """The memory of a machine that is enough, twice this one's and so on: CPUs are of this one."""
    cluster = inputs.cluster
    if inputs.quantization not in {None, *inputs.engine.quantizes}:
        return
    device, held = cluster.accelerator, cluster.accelerator.peaks.memory_bytes
    for times in (2**n for n in range(1, MEMORY_DOUBLINGS + 1)):
        larger = device.changed(peaks=device.peaks.changed(memory_bytes=times * held))
        if _runs(replace(inputs, cluster=cluster.changed(accelerator=larger))):
            yield f"a machine with {times * held * cluster.count / GIB:.0f} GiB of memory"
            return


def _larger(inputs: PlanInputs) -> Iterator[Cluster]:
    """Twice the devices of a machine, and so on, then twice the machines."""
    cluster = inputs.cluster
    most = per_machine(cluster)
    each, machines = cluster.per_machine, cluster.machines
    while machines <= MOST_MACHINES:
        if (each, machines) != (cluster.per_machine, cluster.machines):
            yield assembled(inputs, machines, each)
        if each < most and machines == 1:
            each = min(most, 2 * each)
        else:
            machines *= 2


def _in_gpus(cluster: Cluster) -> str:
    machines = f"{cluster.machines}x" if cluster.machines > 1 else ""
    return f"--gpus {machines}{cluster.per_machine}x{cluster.accelerator.name}"


def _narrower_checkpoint(inputs: PlanInputs) -> Iterator[str]:
    """The widest bundled conversion of the same model that fits."""
    mine = inputs.shape.id
    same = [id for id in bundled_ids() if id != mine and _base(id) == _base(mine)]
    found = {id: load_model(id) for id in same}
    by_size = sorted(same, key=lambda id: _weight_bytes(found[id]), reverse=True)
    for id in by_size:
        stored, able = found[id].quantization, inputs.engine.checkpoints
        if stored is None or (able is not None and stored.method not in able):
            continue
        if _runs(_with_model(replace(inputs, quantization=None), id)):
            yield f"the checkpoint {id}" + (
                " without --quantization" if inputs.quantization else ""
            )
            return


def _weight_bytes(shape: ModelShape) -> float:
    (whole,) = stages(shape, 1)
    return stage_weight_bytes(shape, Parallelism(tensor=1), whole)


def _base(id: str) -> str:
    """The name of a checkpoint without its owner and without what it was converted to."""
    name = id.rpartition("/")[2].lower()
    return CONVERTED.sub("", name).removeprefix("meta-")


def _with_model(inputs: PlanInputs, name: str) -> PlanInputs:
    """The same question about another checkpoint, or about the same one quantized."""
    device = inputs.cluster.accelerator
    shape = served_shape(load_model(name), device, inputs.dtype, inputs.quantization)
    return replace(inputs, shape=shape, kv_cache_dtype=kv_cache_dtype(inputs.kv_cache, shape))


def _lighter_load(inputs: PlanInputs) -> Iterator[str]:
    """Half of the load, and half of that, until the targets are met; none if the least does not."""
    load, rate = load_of(inputs.workload), inputs.workload.rate

    def met(load: float) -> bool:
        asked = replace(inputs, workload=at_load(inputs.workload, load))
        if inputs.optimize == "fewest":
            return fewest_devices(asked).outcome.best is not None
        return is_met(asked)

    halves = [load / 2**n for n in range(1, HALVINGS + 1)]
    loads = [float(f"{h:.3g}") if rate else float(h // 1) for h in halves if rate or h >= 1]
    if not loads or not met(loads[-1]):
        return
    option = "--concurrency" if rate is None else "--rate"
    yield f"{option} {next((each for each in loads[:-1] if met(each)), loads[-1]):g}"
