"""The question that a plan answers, put together again from the plan alone."""

from tpdeploy.backends.registry import load_backend
from tpdeploy.backends.rules import engine_rules
from tpdeploy.planner.plan import DeploymentPlan, PlannedCluster
from tpdeploy.planner.precision import served_shape
from tpdeploy.planner.question import Question
from tpdeploy.profiles.catalog import assemble, find_accelerator
from tpdeploy.profiles.cluster import Cluster
from tpdeploy.profiles.here import with_engine_here, with_engine_measured
from tpdeploy.profiles.machine import cpu_cluster
from tpdeploy.profiles.models import load_model


def question_of(plan: DeploymentPlan, *, corrected: bool = True) -> Question:
    """What `plan` was asked, with the split it chose: its prediction under other loads follows.

    `corrected`: with what validations on this machine taught.

    Raises:
        InputError: its model or device is not known here, or its engine does not run there.
    """
    devices, model, split = _cluster(plan.cluster), plan.model, plan.parallelism
    shape = served_shape(
        load_model(model.path or model.id), devices.accelerator, model.dtype, model.quantization
    )
    if corrected:
        cluster = with_engine_here(devices, plan.backend, shape)
    else:
        cluster = with_engine_measured(devices, plan.backend)
    return Question(
        shape=shape,
        cluster=cluster,
        workload=plan.workload,
        engine=engine_rules(load_backend(plan.backend), shape, cluster),
        kv_cache_dtype=model.kv_cache_dtype,
        quantization=model.quantization,
        tensor=split.tensor,
        pipeline=split.pipeline,
        whole_experts=split.expert > 1,
        replicas=split.replicas,
    )


def _cluster(planned: PlannedCluster) -> Cluster:
    """The plan's devices."""
    if planned.platform == "cpu":
        cluster = cpu_cluster(planned.count)
    else:
        device = find_accelerator(planned.gpu)
        each = planned.count // planned.nodes
        cluster = assemble(device, planned.fabric, planned.nodes, each, planned.network)
    peaks = cluster.accelerator.peaks.model_copy(update={"memory_bytes": planned.memory_bytes})
    device = cluster.accelerator.model_copy(update={"peaks": peaks})
    return cluster.model_copy(update={"accelerator": device})
