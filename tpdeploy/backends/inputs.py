"""The question behind a plan: put together from what was asked, and again from the plan alone."""

from dataclasses import replace

from tpdeploy.backends.base import Backend
from tpdeploy.backends.registry import load_backend
from tpdeploy.backends.rules import engine_rules
from tpdeploy.learning.applied import with_engine_here, with_engine_measured
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.model.precision import kv_cache_dtype, served_shape
from tpdeploy.planner.plan import DeploymentPlan, PlannedCluster
from tpdeploy.planner.request import Request
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.devices.catalog import assemble, find_accelerator
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.machine.detect import cpu_cluster
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.models.shape import ModelShape


def pose(
    request: Request,
    stored: ModelShape,
    cluster: Cluster,
    load: Workload,
    engine: Backend,
    *,
    corrected: bool = True,
) -> PlanInputs:
    """The question whether and how `engine` serves the checkpoint `stored` on `cluster`.

    `corrected`: with what validations on this machine taught.

    Raises:
        InputError: the model cannot be served as asked, or the engine does not run there.
    """
    shape = served_shape(stored, cluster.accelerator, request.dtype, request.quantization)
    if stored.quantization:  # asked for by its name: the engine finds that out by itself
        request = request.changed(quantization=None)
    here = with_engine_measured(cluster, engine.name)
    if corrected:
        here = with_engine_here(cluster, engine.name, shape)
    return PlanInputs(
        shape=shape,
        cluster=here,
        workload=load,
        engine=engine_rules(engine, shape, cluster),
        kv_cache_dtype=kv_cache_dtype(request.kv_cache, shape),
        native_dtype=stored.dtype,
        **dict(request),
    )


def inputs_of(plan: DeploymentPlan, *, corrected: bool = True) -> PlanInputs:
    """The question that `plan` answers: its prediction under other loads follows.

    `corrected`: with what validations on this machine taught.

    Raises:
        InputError: its model or device is not known here, or its engine does not run there.
    """
    request, model = plan.request or request_behind(plan), plan.model
    stored = load_model(model.path or model.id)
    cluster = _cluster(plan.cluster, request)
    engine = load_backend(plan.backend)
    # What was left open is as the plan says, even where the same words would mean another today.
    meant = request.changed(dtype=model.dtype, quantization=model.quantization)
    inputs = pose(meant, stored, cluster, plan.workload, engine, corrected=corrected)
    return replace(inputs, dtype=request.dtype, kv_cache_dtype=model.kv_cache_dtype)


def request_behind(plan: DeploymentPlan) -> Request:
    """A request with the answer of `plan`, which was written before requests were kept."""
    split, model = plan.parallelism, plan.model
    return Request(
        tensor=split.tensor,
        pipeline=split.pipeline,
        data=split.data,
        expert_parallel=split.expert_parallel,
        replicas=split.replicas,
        dtype=model.dtype,
        quantization=model.quantization,
        max_num_batched_tokens=plan.limits.max_num_batched_tokens,
        max_num_seqs=plan.limits.max_num_seqs,
        memory_fraction=plan.limits.memory_fraction,
        network=plan.cluster.network,
    )


def _cluster(planned: PlannedCluster, request: Request) -> Cluster:
    """The plan's devices."""
    if planned.platform == "cpu":
        cluster = cpu_cluster(planned.count, request.interconnect)
    else:
        cluster = assemble(
            find_accelerator(planned.gpu),
            planned.fabric,
            planned.nodes,
            planned.count // planned.nodes,
            network=request.network,
            usual=planned.network,  # another one may be by now
        )
    peaks = cluster.accelerator.peaks.changed(memory_bytes=planned.memory_bytes)
    device = cluster.accelerator.changed(peaks=peaks)
    return cluster.changed(
        accelerator=device, assumptions=planned.assumptions, origin=planned.origin
    )
