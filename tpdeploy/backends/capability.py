"""Holding a plan against what an engine can run: the checks that all adapters share."""

from collections.abc import Iterable, Iterator

from tpdeploy.backends.base import Backend, Capability, Problem
from tpdeploy.planner.plan import DeploymentPlan


def problems(engine: Backend, plan: DeploymentPlan) -> Iterator[Problem]:
    """What of `plan` is beyond the engine's capability on the plan's platform."""
    can = engine.capability(plan.cluster.platform)
    if can is None:
        yield Problem(f"no {engine.name} on {plan.cluster.platform}", "choose another --backend")
        return
    yield from _dropped(engine, can, plan)
    yield from _model_problems(can, plan)
    yield from _device_problems(can, plan)
    yield from _split_problems(can, plan)


def unbuilt(engine: Backend, plan: DeploymentPlan) -> str:
    """Why published builds of the engine do not run on the plan's devices; "" where they do."""
    can, has = engine.capability(plan.cluster.platform), plan.cluster.compute_capability
    if can is None or has is None or has >= can.built_for:
        return ""
    return (
        f"builds of {engine.name} run on compute capability {can.built_for:g} or more, "
        f"{plan.cluster.gpu} has {has:g}"
    )


def _dropped(engine: Backend, can: Capability, plan: DeploymentPlan) -> Iterator[Problem]:
    architecture = plan.model.architecture
    if last := can.dropped.get(architecture):
        yield Problem(
            f"{engine.name} has run no {architecture} since {last}", "choose another --backend"
        )


def _model_problems(can: Capability, plan: DeploymentPlan) -> Iterator[Problem]:
    model = plan.model
    if can.architectures is not None and model.architecture not in can.architectures:
        yield Problem(f"no {model.architecture}", f"it runs {_listed(can.architectures)}")
    if model.dtype not in can.dtypes:
        yield Problem(f"no {model.dtype} activations", f"use --dtype {_listed(can.dtypes)}")
    if not can.casts and model.native_dtype not in {None, model.dtype}:
        yield Problem(
            f"no {model.dtype} of a {model.native_dtype} checkpoint", "plan without --dtype"
        )
    caches = can.kv_cache_dtypes | {model.dtype}
    if model.kv_cache_dtype not in caches:
        yield Problem(
            f"no {model.kv_cache_dtype} KV cache", f"use --kv-cache-dtype {_listed(caches)}"
        )
    if model.quantization and model.quantization not in can.quantizes:
        other = f"with --quantization {_listed(can.quantizes)}" if can.quantizes else "without it"
        yield Problem(
            f"no {model.quantization} quantization while loading on {plan.cluster.platform}",
            f"plan {other}, or a checkpoint that is quantized already",
        )
    stored = model.stored_as
    if stored and can.checkpoints is not None and stored not in can.checkpoints:
        able = f"quantized as {_listed(can.checkpoints)}" if can.checkpoints else "not quantized"
        yield Problem(f"no {stored} checkpoints", f"use a checkpoint that is {able}")


def _device_problems(can: Capability, plan: DeploymentPlan) -> Iterator[Problem]:
    has, least = plan.cluster.compute_capability, can.least_compute_capability
    if has is not None and has < least:
        yield Problem(
            f"{plan.cluster.gpu} has compute capability {has:g}", f"it needs {least:g} or more"
        )
    method = plan.model.quantization or plan.model.stored_as or ""
    least = can.least_to_quantize.get(method, 0.0)
    if has is not None and has < least:
        yield Problem(
            f"no {method} on {plan.cluster.gpu}, of compute capability {has:g}",
            f"it needs {least:g} or more; plan without {method}",
        )


def _split_problems(can: Capability, plan: DeploymentPlan) -> Iterator[Problem]:
    platform = plan.cluster.platform
    if plan.parallelism.pipelined and not can.pipeline:
        yield Problem(f"no pipeline parallelism on {platform}", "plan again with --pp 1")
    if plan.parallelism.expert_parallel and not can.expert_parallel:
        yield Problem(f"no expert parallelism on {platform}", "plan again with --no-ep")
    if plan.parallelism.data_parallel:
        yield from _data_problems(can, plan)
    if plan.limits.enforce_eager and not can.eager:
        yield Problem("it cannot be told to leave out CUDA graphs", "plan without --enforce-eager")
    if any(place.nodes for place in plan.placement) and not can.multi_node:
        yield Problem("a replica spans several machines", "plan for one machine with larger GPUs")


def _data_problems(can: Capability, plan: DeploymentPlan) -> Iterator[Problem]:
    if not can.data_parallel:
        platform = plan.cluster.platform
        yield Problem(f"no data-parallel attention on {platform}", "plan again with --dp 1")
    elif can.data_or_tensor and plan.parallelism.tensor > 1:
        yield Problem(
            "attention is either data-parallel or tensor-parallel", "plan again with --tp 1"
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(map(str, names)))
