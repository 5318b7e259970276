"""Memory per device: what the weights take, what the engine takes, what is left for KV.

The constants below come from vLLM 0.18 and 0.19 start-up logs of 28 models on H100-SXM-80GB
(llm-d-incubation/llm-d-planner@3fdf824d, accuracy/accuracy_report.md and accuracy/results/v0.19.0),
started with 8,192 tokens and 1,024 sequences a step; `tests/planner/test_memory.py` holds the
formulas against those logs. On other devices and engines they are estimates.
"""

from dataclasses import dataclass
from math import ceil
from typing import Literal

from tpdeploy.planner.model.kv_cache import request_bytes
from tpdeploy.planner.model.stages import Stage, stage_weight_bytes
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import MemoryPerGpu
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.models.shape import ModelShape
from tpdeploy.profiles.record import Dtype

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

# Of the memory nvidia-smi reports, CUDA hands out so much less: 0.42 GiB on A10G, 0.44 on T4, 0.46
# on H100 (81,559 MiB against 79.19 GiB), 0.48 on RTX PRO 4500, 0.71 on B200.
DRIVER_BYTES = 512 * MIB
# CUDA context of a worker: `cuda_memory` in its first snapshot.
CUDA_CONTEXT_BYTES = 520 * MIB
# Memory outside PyTorch that profiling adds on one GPU: 0.24 to 0.27 GiB.
LIBRARY_BYTES = 256 * MIB
# What it adds beyond that at TP 2 and 4: 1.81 to 1.96 GiB, for models of 7B to 72B alike. These
# are the fused all-reduce's buffers, which vLLM has on Hopper and data-center Blackwell; without
# them nothing is added (RTX 4090 and 3090: 0.25 and 0.20 GiB in all, vllm-project/vllm issue 13061
# and pull request 14447), and with pipeline stages alone neither.
FUSED_ALL_REDUCE_BYTES = 1920 * MIB
FUSED_ALL_REDUCE_CAPABILITY = (9.0, 12.0)  # from the first up to below the second
# Graph pools of 0.51 to 1.85 GiB: 260 MiB for the first graph, then 6 MiB each for 32 layers.
FIRST_GRAPH_BYTES = 260 * MIB
GRAPH_BYTES_PER_LAYER = 200 * KIB
# One sequence and word of the vocabulary: a logit in 16 and in 32 bits, sorted, and as probability.
SAMPLER_BYTES_PER_LOGIT = 2 + 4 + 4 + 4
# A vLLM server on a CPU, without weights and KV: 2.5 to 4 GiB resident were observed.
CPU_PROCESS_BYTES = 3 * GIB


@dataclass(frozen=True)
class StepSize:
    """The largest step an engine is told to expect."""

    batched_tokens: int
    sequences: int


@dataclass(frozen=True)
class MemoryNeeds:
    """Bytes one rank needs before any KV cache.

    `context` is taken before an engine starts to count what it uses; the rest is what it counts.
    """

    weights: float
    activations: float
    graphs: float
    communicators: float
    libraries: float
    context: float

    @property
    def counted(self) -> float:
        """What the engine's own share of memory has to hold."""
        return self.weights + self.activations + self.graphs + self.communicators + self.libraries

    @property
    def total(self) -> float:
        """Sum of all parts."""
        return self.counted + self.context


def memory_needs(
    shape: ModelShape,
    parallelism: Parallelism,
    stage: Stage,
    step: StepSize,
    device: Accelerator,
    *,
    eager: bool = False,
) -> MemoryNeeds:
    """What one rank of `stage` needs on a GPU, or as a process on a CPU; no graphs if `eager`."""
    weights = stage_weight_bytes(shape, parallelism, stage)
    activations = activation_bytes(shape, parallelism, stage, step)
    if device.platform == "cpu":
        return MemoryNeeds(weights, activations, 0, 0, CPU_PROCESS_BYTES, 0)
    return MemoryNeeds(
        weights=weights,
        activations=activations,
        graphs=0 if eager else graph_bytes(stage.layers, step.sequences),
        communicators=communicator_bytes(parallelism, device),
        libraries=LIBRARY_BYTES,
        context=CUDA_CONTEXT_BYTES,
    )


def activation_bytes(
    shape: ModelShape, parallelism: Parallelism, stage: Stage, step: StepSize
) -> float:
    """Peak activations of one step on one rank of `stage`.

    Three copies of the hidden state live through a step, five where stages hand it on, and the
    experts' buffers; beside them the dense MLP's gate, up and product, or, on the last stage, what
    sampling makes of the logits of every sequence, which every rank gathers whole.
    """
    value = shape.dtype.bits / 8
    copies = 3 if stage.first and stage.last else 5
    hidden = step.batched_tokens * copies * shape.hidden * value
    experts = step.batched_tokens * _expert_values(shape, parallelism) * value
    logits = step.sequences * shape.vocab * SAMPLER_BYTES_PER_LOGIT if stage.last else 0
    return (
        hidden
        + experts
        + max(step.batched_tokens * _mlp_values(shape, parallelism) * value, logits)
    )


def communicator_bytes(parallelism: Parallelism, device: Accelerator) -> float:
    """Buffers of the fused all-reduce, where there is one."""
    least, below = FUSED_ALL_REDUCE_CAPABILITY
    fused = device.compute_capability and least <= device.compute_capability < below
    return FUSED_ALL_REDUCE_BYTES if fused and parallelism.tensor > 1 else 0


def graph_bytes(layers: int, sequences: int) -> float:
    """CUDA graphs of vLLM: in pieces for mixed batches, whole for decode batches."""
    graphs = captured_sizes(2 * sequences) + captured_sizes(sequences)
    return FIRST_GRAPH_BYTES + graphs * layers * GRAPH_BYTES_PER_LAYER


def captured_sizes(up_to: int) -> int:
    """Batch sizes that vLLM captures: 1, 2, 4, each 8th to 256, each 16th to 512.

    >>> captured_sizes(512), captured_sizes(256)
    (51, 35)
    """
    small = sum(size <= up_to for size in (1, 2, 4))
    return small + min(up_to, 256) // 8 + max(0, min(up_to, 512) - 256) // 16


def longest_context(shape: ModelShape, tp: int, kv_dtype: Dtype, kv_bytes: float) -> int:
    """The longest request, in tokens, whose KV fits in `kv_bytes` on a rank; up to the model's."""
    low, high = 0, shape.max_context
    while low < high:
        middle = (low + high + 1) // 2
        if request_bytes(shape, middle, tp, kv_dtype) <= kv_bytes:
            low = middle
        else:
            high = middle - 1
    return low


def room_for_kv(
    needs: MemoryNeeds,
    memory_bytes: int,
    fraction: float,
    fraction_of: Literal["total", "free after weights"],
) -> float:
    """Bytes of a device that an engine's memory rule leaves for KV cache.

    vLLM's fraction is of the device's total memory, and what the engine counts comes out of it;
    TensorRT-LLM's is of what is free once weights and buffers are loaded. Negative: too little.
    """
    free = memory_bytes - needs.total
    if fraction_of == "total":
        return min(memory_bytes * fraction - needs.counted, free)
    return free * fraction if free > 0 else free


def fraction_for(
    memory: MemoryPerGpu, fraction_of: Literal["total", "free after weights"]
) -> float:
    """The fraction with which an engine of that memory rule gives `memory` its KV cache.

    The inverse of `room_for_kv` for a rank that has been sized; rounded up to whole thousandths.
    """
    if fraction_of == "total":
        used = memory.total_bytes - memory.reserved_bytes - CUDA_CONTEXT_BYTES
        fraction = used / (memory.total_bytes - DRIVER_BYTES)
    else:
        free = memory.kv_cache_bytes + memory.reserved_bytes - DRIVER_BYTES
        fraction = memory.kv_cache_bytes / max(free, memory.kv_cache_bytes, 1)
    return min(1.0, ceil(fraction * 1000) / 1000)


def _mlp_values(shape: ModelShape, parallelism: Parallelism) -> float:
    """Gate, up and their product of one token in a dense layer, on one rank."""
    dense = shape.mlp.intermediate if shape.mlp else 0
    shared = shape.experts.shared_intermediate if shape.experts else 0
    return 3 * max(dense, shared) / parallelism.shards(routed=False)


def _expert_values(shape: ModelShape, parallelism: Parallelism) -> float:
    """Gate, up, product and output of one token in each of its experts, on one rank.

    Engines size these buffers for every token on every rank, whole experts a rank or not.
    """
    experts = shape.experts
    if experts is None:
        return 0
    wide = experts.intermediate / parallelism.expert_shards
    return experts.per_token * (3 * wide + shape.hidden)
