"""DeepSpeed-MII 0.3.3 on NVIDIA GPUs, through a small server of ours that runs in its environment.

MII's own server has fixed ports, no name for the model, a /health that is always well, and no way
to size its KV cache; `programs/mii_server.py` adds these. Architectures: the model types of
deepspeed 0.19.8, deepspeed/inference/v2/engine_factory.py.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

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
from tpdeploy.errors import InputError
from tpdeploy.planner.engine_rules import KvAllocation
from tpdeploy.planner.memory.footprint import DRIVER_BYTES
from tpdeploy.planner.plan import DeploymentPlan, Placement
from tpdeploy.profiles.record import Dtype

PROGRAM = Path(__file__).parent / "programs" / "mii_server.py"
CONFIG = "mii.json"
# Sequences that it keeps track of, waiting ones included: its own default.
TRACKED_SEQUENCES = 2048

ENVIRONMENT = EnvironmentSpec(
    name="deepspeed-mii",
    version="0.3.3",
    # The three of the second line it needs and does not declare.
    requirements=(
        *("deepspeed-mii==0.3.3", "deepspeed==0.19.8", "torch==2.13.0", "transformers==5.23.0"),
        *("requests", "uvicorn", "pydantic-settings"),
    ),
    distribution="deepspeed-mii",
    build_env={"DS_BUILD_OPS": "0"},  # its kernels are compiled when they are first used
    system_needs={"cudart": "the CUDA toolkit with nvcc, which compiles its kernels"},
    download_bytes=int(2.9 * 10**9),
    disk_bytes=int(5.7 * 10**9),
)

ON_CUDA = Capability(
    dtypes=frozenset({Dtype.BF16, Dtype.FP16}),
    checkpoints=frozenset(),
    architectures=frozenset(
        {
            *("Exaone4ForCausalLM", "FalconForCausalLM", "LlamaForCausalLM"),
            *("MistralForCausalLM", "MixtralForCausalLM", "OPTForCausalLM", "PhiForCausalLM"),
            *("Phi3ForCausalLM", "QWenLMHeadModel", "Qwen2ForCausalLM", "Qwen2MoeForCausalLM"),
        }
    ),
    casts=False,
    least_compute_capability=8.0,
    # kv_block_size for heads of 128; it preempts only when nobody can go on (ragged_batching.py).
    kv_allocation=KvAllocation(block_tokens=64, reuses=False),
)

STAGES = (
    (re.compile(r"Hostfile .* not found|msg_server launch"), "starting workers"),
    (re.compile(r"(?i)loading checkpoint|building model"), "loading weights"),
    (re.compile(r"Allocating KV-cache"), "KV cache allocated"),
    (re.compile(r"server has started on ports"), "starting the server"),
    (re.compile(r"Application startup complete"), "ready"),
)
# What our server says of its end; the ranks' own exceptions above it tell more.
SUMMARIES = ("DeepSpeed-MII did not start", "backend of DeepSpeed-MII has ended")


class DeepSpeedMiiBackend(Backend):
    """Adapter for DeepSpeed-MII; everything it is told stands in one file."""

    name: ClassVar[str] = "deepspeed-mii"
    api_key_variable: ClassVar[str | None] = "MII_API_KEY"
    fixes_output_length: ClassVar[bool] = False
    device_variables: ClassVar[Mapping[Platform, str]] = {}  # MII ignores CUDA_VISIBLE_DEVICES
    legacy: ClassVar[str] = "last release March 2025"
    stages: ClassVar[tuple[tuple[re.Pattern[str], str], ...]] = STAGES
    verified: ClassVar[str] = "its front and its refusals on a CPU; the engine itself never"
    order: ClassVar[int] = 90
    accepts: ClassVar[str] = ">=0.3.3,<0.4"

    def capability(self, platform: Platform) -> Capability | None:
        """NVIDIA GPUs from Ampere on, 16 bits."""
        return ON_CUDA if platform == "cuda" else None

    def environment(self, platform: Platform) -> EnvironmentSpec:
        """The release to install."""
        if platform != "cuda":
            raise InputError(f"deepspeed-mii runs on NVIDIA GPUs only, not on {platform}")
        return ENVIRONMENT

    def memory_rule(self, platform: Platform) -> MemoryRule:
        """All that is free once weights are loaded, but a number of bytes: here a tenth of it."""
        return MemoryRule(0.9, "free after weights")

    def check(self, plan: DeploymentPlan) -> list[Problem]:
        """Problems of running `plan` with this adapter."""
        return list(capability.problems(self, plan))

    def render(self, plan: DeploymentPlan, place: Placement, site: Site) -> Command:
        """Our server with its file, and GPUs by number."""
        config = {
            "model": plan.model.path or plan.model.id,
            "served_name": plan.model.id,
            "devices": list(site.devices or range(len(place.devices))),
            "serve": serve_options(self, plan),
        }
        env = {"MII_CACHE_PATH": str(site.folder / "cache"), "DS_BUILD_OPS": "0"}
        if plan.model.path:
            env["HF_HUB_OFFLINE"] = "1"
        files = {CONFIG: json.dumps(config) + "\n", PROGRAM.name: PROGRAM.read_text("utf-8")}
        program, options = (str(site.folder / name) for name in (PROGRAM.name, CONFIG))
        return Command(("python", program, options, site.host, site.port), env, files)

    def failure(self, lines: Sequence[str]) -> str | None:
        """The last exception of a rank, else what our server says."""
        ranks = [line for line in lines if not any(words in line for words in SUMMARIES)]
        return last_exception(ranks) or last_exception(lines)


def serve_options(engine: Backend, plan: DeploymentPlan) -> dict[str, Any]:
    """What mii.serve is told of the plan's limits."""
    limits = plan.limits
    manager = {
        "max_context": limits.max_model_len,
        "max_ragged_batch_size": limits.max_num_batched_tokens,
        "max_ragged_sequence_count": limits.max_num_seqs,
        "max_tracked_sequences": max(TRACKED_SEQUENCES, limits.max_num_seqs),
        "memory_config": {"mode": "reserve", "size": reserved_bytes(engine, plan)},
    }
    return {
        "tensor_parallel": plan.parallelism.tensor,
        "max_length": limits.max_model_len,
        "inference_engine_config": {"state_manager": manager},
    }


def reserved_bytes(engine: Backend, plan: DeploymentPlan) -> int:
    """Bytes of a GPU that are to be left when the KV cache is made.

    Activations and buffers come after it, and what the memory fraction leaves to others.
    """
    memory = plan.memory_per_gpu
    later = memory.activation_bytes + memory.graph_bytes + memory.communicator_bytes
    free = max(0, memory.kv_cache_bytes + memory.reserved_bytes - DRIVER_BYTES)
    return later + round((1 - memory_fraction(engine, plan)) * free)
