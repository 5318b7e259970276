"""A plan to validate against, as `tpdeploy plan` would write it."""

from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import (
    DeploymentPlan,
    Distribution,
    Estimate,
    Limits,
    MemoryPerGpu,
    Placement,
    PlannedCluster,
    PlannedModel,
    Prediction,
)
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.record import Dtype

MODEL = "SmolLM2-135M-Instruct"


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value / 2, high=value * 2, source="model")


def prediction(ttft_ms: float = 50, tpot_ms: float = 10) -> Prediction:
    flat = Distribution(mean=1, p50=1, p90=1, p95=1, p99=1)
    return Prediction(
        ttft_ms=estimate(ttft_ms),
        tpot_ms=estimate(tpot_ms),
        output_tokens_per_s=estimate(100),
        requests_per_s=estimate(12.5),
        ttft_distribution=flat,
        tpot_distribution=flat,
    )


def small_plan(workload: Workload) -> DeploymentPlan:
    return DeploymentPlan(
        model=PlannedModel(
            id=MODEL,
            architecture="LlamaForCausalLM",
            parameters=134_515_008,
            vocab=49_152,
            dtype=Dtype.BF16,
            kv_cache_dtype=Dtype.BF16,
        ),
        cluster=PlannedCluster(
            gpu="CPU",
            platform="cpu",
            count=1,
            nodes=1,
            fabric="memory",
            domain=1,
            memory_bytes=8 << 30,
        ),
        workload=workload,
        backend="vllm",
        parallelism=Parallelism(tensor=1, replicas=1),
        placement=(Placement(replica=0, devices=(0,)),),
        limits=Limits(
            max_model_len=2048,
            max_num_seqs=16,
            max_num_batched_tokens=2048,
            memory_fraction=0.9,
            kv_cache_bytes=1 << 30,
        ),
        memory_per_gpu=MemoryPerGpu(
            total_bytes=8 << 30,
            weights_bytes=269 << 20,
            kv_cache_bytes=1 << 30,
            activation_bytes=0,
            graph_bytes=0,
            communicator_bytes=0,
            context_bytes=0,
            reserved_bytes=0,
            kv_cache_tokens=40_000,
        ),
        prediction=prediction(),
        reasons=("one CPU",),
    )
