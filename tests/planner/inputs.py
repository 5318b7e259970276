"""Questions to a planner, in few words."""

from tpdeploy.backends.vllm import VllmBackend
from tpdeploy.planner.engine_rules import EngineRules
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.model.precision import served_shape
from tpdeploy.planner.request import Objective
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.record import Dtype

LOAD = Workload(concurrency=32)
VLLM = EngineRules(
    "vllm", 0.92, own_kernels=VllmBackend.own_kernels, overheads=VllmBackend.overheads
)


def ask(
    model: str,
    gpus: str,
    *,
    workload: Workload = LOAD,
    quantization: str | None = None,
    interconnect: str | None = None,
    max_model_len: int | None = None,
    tensor: int | None = None,
    pipeline: int | None = None,
    data: int | None = None,
    expert_parallel: bool | None = None,
    replicas: int | None = None,
    optimize: Objective = "throughput",
    gpu_price_per_hour: float | None = None,
    engine: EngineRules = VLLM,
) -> PlanInputs:
    """A question about `model` on `gpus`, the rest as the command line leaves it."""
    cluster = parse_gpus(gpus, interconnect)
    return PlanInputs(
        shape=served_shape(load_model(model), cluster.accelerator, None, quantization),
        cluster=cluster,
        workload=workload,
        engine=engine,
        kv_cache_dtype=Dtype.BF16,
        quantization=quantization,
        max_model_len=max_model_len,
        tensor=tensor,
        pipeline=pipeline,
        data=data,
        expert_parallel=expert_parallel,
        replicas=replicas,
        optimize=optimize,
        gpu_price_per_hour=gpu_price_per_hour,
    )
