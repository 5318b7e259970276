"""TensorRT-LLM on NVIDIA GPUs: `trtllm-serve` with its PyTorch backend, releases 1.1 to 1.3.

Only flags and options of `contracts/tensorrt-llm.yaml` are given. The limits go as flags, which
every release takes: in the file of options they moved from one release to the next. All about the
KV cache goes into the file: its `kv_cache_config` may replace that of the flags as a whole.

Architectures: those that the PyTorch backend registers itself (TensorRT-LLM's documentation,
models/supported-models, of 1.0.0, of the release and of 1.3.0rc13), without what only its
AutoDeploy backend runs, what came after 1.2, and models of images except Llama 4, for which it
has no chunked prefill. Checkpoints: ModelOpt's, FP8 in blocks and MXFP4 (model_config.py of its
PyTorch backend; compressed-tensors came to 1.3 with pull request 10796). Progress: log lines of
its issue 8961.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import yaml

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
    last_exception,
)
from tpdeploy.backends.memory import memory_fraction
from tpdeploy.backends.metrics import MetricNames
from tpdeploy.errors import InputError
from tpdeploy.planner.engine_rules import KvAllocation, OwnKernels
from tpdeploy.planner.plan import DeploymentPlan, Placement
from tpdeploy.profiles.record import Dtype

OPTIONS = "options.yaml"
VERSION = "1.2.1"
IMAGE = f"nvcr.io/nvidia/tensorrt-llm/release:{VERSION}"

ENVIRONMENT = EnvironmentSpec(
    name="tensorrt-llm",
    version=VERSION,
    requirements=(f"tensorrt-llm=={VERSION}",),  # a stub that fetches the wheel from NVIDIA's index
    executable="trtllm-serve",
    distribution="tensorrt-llm",
    system_needs={"mpi": "an MPI library (Debian and Ubuntu: apt install libopenmpi-dev)"},
    download_bytes=6 * 10**9,
    disk_bytes=15 * 10**9,
)

ARCHITECTURES = frozenset(
    {
        *("DeciLMForCausalLM", "DeepseekV3ForCausalLM", "DeepseekV32ForCausalLM"),
        *("Exaone4ForCausalLM", "Gemma3ForCausalLM", "Glm4MoeForCausalLM", "GptOssForCausalLM"),
        *("LlamaForCausalLM", "Llama4ForConditionalGeneration", "MiniMaxM2ForCausalLM"),
        *("MistralForCausalLM", "MixtralForCausalLM", "NemotronForCausalLM"),
        *("NemotronHForCausalLM", "NemotronNASForCausalLM", "Phi3ForCausalLM"),
        *("Qwen2ForCausalLM", "Qwen3ForCausalLM", "Qwen3MoeForCausalLM", "Qwen3NextForCausalLM"),
    }
)
ON_CUDA = Capability(
    dtypes=frozenset({Dtype.BF16, Dtype.FP16}),
    kv_cache_dtypes=frozenset({Dtype.FP8}),
    checkpoints=frozenset({"fp8", "mxfp4", "modelopt"}),
    architectures=ARCHITECTURES,
    casts=False,
    least_compute_capability=8.0,
    pipeline=True,
    expert_parallel=True,
    data_parallel=True,
    data_or_tensor=True,  # enable_attention_dp makes every rank of --tp_size a data rank
    multi_node=True,
    eager=True,
    async_scheduling=True,  # its overlap scheduler
    # GUARANTEED_NO_EVICT and tokens_per_block of its defaults, which the options file leaves.
    kv_allocation=KvAllocation(block_tokens=32, whole_requests=True),
)

METRICS = MetricNames(
    path="/prometheus/metrics",
    prefix="trtllm_",
    histograms={
        "ttft": "time_to_first_token_seconds",
        "tpot": "time_per_output_token_seconds",
        "e2e": "e2e_request_latency_seconds",
        "queue": "request_queue_time_seconds",
        "prefill": "request_prefill_time_seconds",  # from 1.3 on, as the next
        "decode": "request_decode_time_seconds",
    },
    values={
        "running": "num_requests_running",
        "waiting": "num_requests_waiting",
        "kv_use": "kv_cache_utilization",
        "generated_tokens": "generation_tokens_total",
    },
)

STAGES = (
    (re.compile(r"TensorRT.LLM version"), "starting workers"),
    (re.compile(r"(?i)loading weights|prefetching"), "loading weights"),
    (re.compile(r"Running autotuner warmup"), "tuning kernels"),
    (re.compile(r"for max tokens in paged KV cache"), "KV cache allocated"),
    (re.compile(r"Creating CUDA graph instances|CUDA graph warmup"), "capturing graphs"),
    (re.compile(r"Application startup complete"), "ready"),
)
# click's words for a refused argument, and the engine's own errors.
REASONS = (re.compile(r"^Error: (.+)$"), re.compile(r"\[TRT-LLM\] \[E\] (.+)$"))
# pydantic's words for a refused option, in the line after the option's name.
REFUSED_OPTION = re.compile(r"^  (.+) \[type=\w+, ")

RESERVED = frozenset(
    {
        *("--tensor_parallel_size", "--pipeline_parallel_size", "--moe_expert_parallel_size"),
        *("--context_parallel_size", "--cp_size", "--moe_cluster_parallel_size", "--cluster_size"),
        *("--ep_size", "--free_gpu_memory_fraction", "--kv_cache_free_gpu_memory_fraction"),
        *("--config", "--backend", "--max_beam_width", "--enable_chunked_prefill", "--grpc"),
        *("--enable_attention_dp", "--kv_cache_dtype", "--served_model_name", "--server_role"),
        *("--disagg_cluster_uri", "--num_serve_frontends"),
    }
)


class TensorRtLlmBackend(Backend):
    """Adapter for `trtllm-serve`; limits as flags, the rest as a file of options."""

    name: ClassVar[str] = "tensorrt-llm"
    reserved_arguments: ClassVar[frozenset[str]] = RESERVED
    own_kernels: ClassVar[OwnKernels] = OwnKernels(
        graphs=("tensorrt-llm",), eager=("tensorrt-llm",), experts=("tensorrt-llm",)
    )
    stop_grace_s: ClassVar[float] = 20.0  # it waits 10 s for its child, and kills it
    metrics: ClassVar[MetricNames | None] = METRICS
    stages: ClassVar[tuple[tuple[re.Pattern[str], str], ...]] = STAGES
    verified: ClassVar[str] = "flags and options against its sources; the engine itself never"
    order: ClassVar[int] = 20
    accepts: ClassVar[str] = ">=1.1,<1.4"
    images: ClassVar[Mapping[Platform, str]] = {"cuda": IMAGE}
    joined_by_mpi: ClassVar[bool] = True

    def capability(self, platform: Platform) -> Capability | None:
        """NVIDIA GPUs from Ampere on."""
        return ON_CUDA if platform == "cuda" else None

    def environment(self, platform: Platform) -> EnvironmentSpec:
        """The release to install."""
        if platform != "cuda":
            raise InputError(f"tensorrt-llm runs on NVIDIA GPUs only, not on {platform}")
        return ENVIRONMENT

    def memory_rule(self, platform: Platform) -> MemoryRule:
        """A fraction of what is free once weights and buffers are loaded, 0.9 by default."""
        return MemoryRule(0.9, "free after weights")

    def check(self, plan: DeploymentPlan) -> list[Problem]:
        """Problems of running `plan` with this adapter."""
        return list(capability.problems(self, plan))

    def render(self, plan: DeploymentPlan, place: Placement, site: Site) -> Command:
        """`trtllm-serve` for one replica; on several machines, of each rank of its MPI job."""
        model, limits, split = plan.model, plan.limits, plan.parallelism
        here = len(place.devices) // len(place.machines)
        argv = [
            *("trtllm-serve", model.path or model.id),
            *("--host", site.host, "--port", site.port),
            *("--tp_size", str(split.stage_ranks), "--pp_size", str(split.pipeline)),
            *("--gpus_per_node", str(here)),
            *("--max_batch_size", str(limits.max_num_seqs)),
            *("--max_num_tokens", str(limits.max_num_batched_tokens)),
            *("--max_seq_len", str(limits.max_model_len)),
            *("--extra_llm_api_options", str(site.folder / OPTIONS)),
        ]
        if split.expert_parallel:
            argv += ["--ep_size", str(split.expert)]
        if len(place.machines) > 1:
            argv = ["trtllm-llmapi-launch", *argv]
        env = {"HF_HUB_OFFLINE": "1"} if model.path else {}
        written = options(plan, memory_fraction(self, plan))
        return Command(tuple(argv), env, {OPTIONS: yaml.safe_dump(written, sort_keys=False)})

    def failure(self, lines: Sequence[str]) -> str | None:
        """What click or pydantic refused, else the last exception, else its own last error."""
        refused, told = (
            next((match[1] for line in reversed(lines) if (match := reason.search(line))), None)
            for reason in REASONS
        )
        return refused or _refused_option(lines) or last_exception(lines) or told


def _refused_option(lines: Sequence[str]) -> str | None:
    for name, line in pairwise(lines):
        if match := REFUSED_OPTION.match(line):
            return f"{name}: {match[1]}"
    return None


def options(plan: DeploymentPlan, fraction: float) -> dict[str, Any]:
    """What has no flag in every release; the KV cache gets `fraction` of what is free.

    Not `max_tokens` too: the engine takes the smaller of the two, so that it could only take
    away from what a plan for this engine means, the whole share of what is free.
    """
    model, limits = plan.model, plan.limits
    # The model's own dtype is `auto`: others than FP8 have no name there.
    dtype = "fp8" if model.kv_cache_dtype is Dtype.FP8 else "auto"
    # Left out it would mean graphs all the same.
    graphs = {"enable_padding": True, "max_batch_size": limits.max_num_seqs}
    attention = {"enable_attention_dp": True} if plan.parallelism.data_parallel else {}
    return {
        "kv_cache_config": {"free_gpu_memory_fraction": fraction, "dtype": dtype},
        "enable_chunked_prefill": True,
        "cuda_graph_config": None if limits.enforce_eager else graphs,
        "enable_iter_perf_stats": True,
        "return_perf_metrics": True,
        **attention,
    }
