"""SGLang behind tpdeploy. Flags: docs.sglang.io, "Server Arguments" (November 2026)."""

import re
from math import floor
from typing import ClassVar

from tpdeploy.backends import capability
from tpdeploy.backends.base import (
    Backend,
    Capability,
    Command,
    EnvironmentSpec,
    MemoryRule,
    Platform,
    Problem,
    Site,
)
from tpdeploy.backends.metrics import MetricNames
from tpdeploy.errors import InputError
from tpdeploy.planner.memory.footprint import CUDA_CONTEXT_BYTES, DRIVER_BYTES
from tpdeploy.planner.plan import DeploymentPlan, MemoryPerGpu, Placement
from tpdeploy.profiles.record import Dtype

DTYPES = {Dtype.BF16: "bfloat16", Dtype.FP16: "float16"}
STAGES = (
    (re.compile(r"Load weight begin"), "loading weights"),
    (re.compile(r"KV Cache is allocated"), "KV cache allocated"),
    (re.compile(r"Capture cuda graph begin"), "capturing graphs"),
    (re.compile(r"The server is fired up"), "ready"),
)


class SglangBackend(Backend):
    """Adapter for `python -m sglang.launch_server`."""

    name: ClassVar[str] = "sglang"
    reserved_arguments: ClassVar[frozenset[str]] = frozenset(
        {"--tp", "--dp", "--ep", "--config", "--disable-cuda-graph"}
    )
    spare_ports: ClassVar[int] = 1  # where its ranks meet
    metrics: ClassVar[MetricNames | None] = MetricNames(
        path="/metrics",
        histograms={
            "ttft": "sglang:time_to_first_token_seconds",
            "itl": "sglang:inter_token_latency_seconds",
            "e2e": "sglang:e2e_request_latency_seconds",
        },
        values={
            "running": "sglang:num_running_reqs",
            "waiting": "sglang:num_queue_reqs",
            "kv_use": "sglang:token_usage",
            "generated_tokens": "sglang:generation_tokens_total",
        },
    )
    stages: ClassVar[tuple[tuple[re.Pattern[str], str], ...]] = STAGES
    verified: ClassVar[str] = "an example: its flags against the documentation; never run"
    order: ClassVar[int] = 30

    def capability(self, platform: Platform) -> Capability | None:
        """NVIDIA GPUs; prompts run in steps of their own, before decoding goes on."""
        if platform != "cuda":
            return None
        return Capability(
            dtypes=frozenset(DTYPES),
            kv_cache_dtypes=frozenset({Dtype.FP8}),
            quantizes=frozenset({"fp8"}),
            least_compute_capability=7.5,
            pipeline=True,
            expert_parallel=True,
            prefill_priority=True,
            async_scheduling=True,
            eager=True,
        )

    def environment(self, platform: Platform) -> EnvironmentSpec:
        """The release to install."""
        if platform != "cuda":
            raise InputError(f"sglang runs on NVIDIA GPUs here, not on {platform}")
        return EnvironmentSpec(
            name="sglang",
            version="0.5.6",
            requirements=("sglang==0.5.6",),
            distribution="sglang",
            download_bytes=5 * 10**9,
            disk_bytes=12 * 10**9,
        )

    def memory_rule(self, platform: Platform) -> MemoryRule:
        """Weights and KV cache take a fraction of the whole; activations come out of the rest."""
        return MemoryRule(0.88, "total")

    def check(self, plan: DeploymentPlan) -> list[Problem]:
        """Problems of running `plan` with this adapter."""
        return list(capability.problems(self, plan))

    def render(self, plan: DeploymentPlan, place: Placement, site: Site) -> Command:
        """The server for one replica, with every limit of the plan."""
        model, limits, split = plan.model, plan.limits, plan.parallelism
        argv = [
            *("python", "-m", "sglang.launch_server"),
            *("--model-path", model.path or model.id, "--served-model-name", model.id),
            *("--host", site.host, "--port", site.port),
            *("--nccl-port", site.spare_ports[0]),
            *("--tp-size", str(split.tensor), "--pp-size", str(split.pipeline)),
            *("--dtype", DTYPES[model.dtype]),
            *("--context-length", str(limits.max_model_len)),
            *("--max-running-requests", str(limits.max_num_seqs)),
            *("--chunked-prefill-size", str(limits.max_num_batched_tokens)),
            *("--max-prefill-tokens", str(limits.max_num_batched_tokens)),
            *("--mem-fraction-static", f"{static_fraction(plan):g}"),
            "--enable-metrics",
        ]
        if limits.enforce_eager:
            argv.append("--disable-cuda-graph")
        if split.expert > 1:
            argv += ["--ep-size", str(split.expert)]
        if model.quantization:
            argv += ["--quantization", model.quantization]
        if model.kv_cache_dtype is Dtype.FP8:
            argv += ["--kv-cache-dtype", "fp8_e4m3"]
        return Command(tuple(argv), {"HF_HUB_OFFLINE": "1"} if model.path else {})


def static_fraction(plan: DeploymentPlan) -> float:
    """Weights and KV cache over what is free before it loads, so that the KV cache is the plan's.

    SGLang measures that once its ranks have met, with their contexts (model_runner.py,
    `_profile_available_bytes`). A plan of its own that somebody has edited keeps its number of
    what the planner counts.
    """
    memory = plan.memory_per_gpu
    whole = memory.total_bytes - DRIVER_BYTES
    fraction = (memory.weights_bytes + memory.kv_cache_bytes) / (whole - CUDA_CONTEXT_BYTES)
    if plan.backend == SglangBackend.name:
        fraction += plan.limits.memory_fraction - _counted(memory) / whole
    return floor(fraction * 1000) / 1000


def _counted(memory: MemoryPerGpu) -> float:
    """What the planner has set against the fraction: all but the context and what is left."""
    return memory.total_bytes - memory.reserved_bytes - CUDA_CONTEXT_BYTES
