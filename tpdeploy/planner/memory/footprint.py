"""Memory per device: weights, the engine's own use, and what is left for KV cache.

What the engine itself takes comes with its rules, from its adapter. The two constants below are
CUDA's, from the logs that `backends/overheads.py` names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Literal

from tpdeploy.planner.engine_rules import EngineOverheads
from tpdeploy.planner.model.stages import Stage, stage_weight_bytes
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import MemoryPerGpu
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.models.shape import ModelShape

MIB = 1 << 20
GIB = 1 << 30

# Of the memory nvidia-smi reports, CUDA hands out so much less: 0.42 GiB on A10G, 0.44 on T4, 0.46
# on H100 (81,559 MiB against 79.19 GiB), 0.48 on RTX PRO 4500, 0.71 on B200.
DRIVER_BYTES = 512 * MIB
# CUDA context of a worker: `cuda_memory` in its first snapshot.
CUDA_CONTEXT_BYTES = 520 * MIB


@dataclass(frozen=True)
class StepSize:
    """The largest step that the engine is configured for."""

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
        """Bytes that count towards the engine's share of memory."""
        return self.weights + self.activations + self.graphs + self.communicators + self.libraries

    @property
    def total(self) -> float:
        """Bytes of all parts together."""
        return self.counted + self.context


def memory_needs(
    shape: ModelShape,
    parallelism: Parallelism,
    stage: Stage,
    step: StepSize,
    device: Accelerator,
    *,
    overheads: EngineOverheads,
    eager: bool = False,
) -> MemoryNeeds:
    """What one rank of `stage` needs on a GPU, or as a process on a CPU; no graphs if `eager`."""
    weights = stage_weight_bytes(shape, parallelism, stage)
    logit = overheads.sampler_bytes_per_logit
    activations = activation_bytes(shape, parallelism, stage, step, logit)
    if device.platform == "cpu":
        return MemoryNeeds(weights, activations, 0, 0, overheads.cpu_process_bytes, 0)
    return MemoryNeeds(
        weights=weights,
        activations=activations,
        graphs=0 if eager else graph_bytes(stage.layers, step.sequences, overheads),
        communicators=communicator_bytes(parallelism, device, overheads),
        libraries=overheads.library_bytes,
        context=CUDA_CONTEXT_BYTES,
    )


def activation_bytes(
    shape: ModelShape,
    parallelism: Parallelism,
    stage: Stage,
    step: StepSize,
    sampler_bytes_per_logit: int,
) -> float:
    """Peak activations of one step on one rank of `stage`.

    Three copies of the hidden state live through a step, five where stages hand it on, and the
    experts' buffers; beside them the dense MLP's gate, up and product, or, on the last stage, what
    sampling makes of the logits of every sequence, which every rank gathers whole. With
    data-parallel attention the experts get the tokens of all data ranks, and hold them and what
    they make of them (an estimate: nobody has published logs of it).
    """
    value = shape.dtype.bits / 8
    copies = 3 if stage.first and stage.last else 5
    hidden = step.batched_tokens * copies * shape.hidden * value
    together = step.batched_tokens * parallelism.data
    gathered = 2 * together * shape.hidden * value if parallelism.data_parallel else 0
    experts = together * _expert_values(shape, parallelism) * value + gathered
    logits = step.sequences * shape.vocab * sampler_bytes_per_logit if stage.last else 0
    return (
        hidden
        + experts
        + max(step.batched_tokens * _mlp_values(shape, parallelism) * value, logits)
    )


def communicator_bytes(
    parallelism: Parallelism, device: Accelerator, overheads: EngineOverheads
) -> float:
    """Buffers of the fused all-reduce, where there is one."""
    least, below = overheads.fused_all_reduce_from, overheads.fused_all_reduce_below
    fused = device.compute_capability and least <= device.compute_capability < below
    return overheads.fused_all_reduce_bytes if fused and parallelism.tensor > 1 else 0


def graph_bytes(layers: int, sequences: int, overheads: EngineOverheads) -> float:
    """CUDA graphs of vLLM: in pieces for mixed batches, whole for decode batches."""
    graphs = captured_sizes(2 * sequences) + captured_sizes(sequences)
    return overheads.first_graph_bytes + graphs * layers * overheads.graph_bytes_per_layer


def captured_sizes(up_to: int) -> int:
    """Batch sizes that vLLM captures: 1, 2, 4, each 8th to 256, each 16th to 512.

    >>> captured_sizes(512), captured_sizes(256)
    (51, 35)
    """
    small = sum(size <= up_to for size in (1, 2, 4))
    return small + min(up_to, 256) // 8 + max(0, min(up_to, 512) - 256) // 16


def longest_context(most: int, needed: Callable[[int], float], kv_bytes: float) -> int:
    """The longest request, up to `most` tokens, for which `kv_bytes` are as many as `needed`."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if needed(middle) <= kv_bytes:
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

    Engines size these buffers for every token on every rank, with expert parallelism or without.
    """
    experts = shape.experts
    if experts is None:
        return 0
    wide = experts.intermediate / parallelism.expert_shards
    return experts.per_token * (3 * wide + shape.hidden)
