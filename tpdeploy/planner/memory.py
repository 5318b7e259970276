"""Memory per device: what the weights take, what the engine takes, what is left for KV."""

from dataclasses import dataclass

from tpdeploy.planner.kv_cache import request_bytes
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.stages import Stage, stage_weight_bytes
from tpdeploy.profiles.model import DenseMlp, ModelShape
from tpdeploy.profiles.record import Dtype

MIB = 1 << 20
GIB = 1 << 30

# The four below are estimates: no figure of a source was fitted, and no GPU was at hand to measure.
# CUDA context, cuBLAS and kernel images.
CUDA_CONTEXT_BYTES = 600 * MIB
# Graphs captured for decode batches up to 512 of dense models of 8B to 70B.
CUDA_GRAPH_BYTES = 768 * MIB
# NCCL channels and the custom all-reduce's registered buffers.
COMMUNICATOR_BYTES_PER_PEER = 64 * MIB
# A vLLM server on a CPU, without weights and KV: 2.5 to 4 GiB resident were observed.
CPU_PROCESS_BYTES = 3 * GIB


@dataclass(frozen=True)
class StepSize:
    """The largest step an engine is told to expect."""

    batched_tokens: int
    sequences: int


@dataclass(frozen=True)
class MemoryNeeds:
    """Bytes one rank needs before any KV cache."""

    weights: float
    activations: float
    graphs: float
    communicators: float
    context: float

    @property
    def total(self) -> float:
        """Sum of the parts."""
        return self.weights + self.activations + self.graphs + self.communicators + self.context


def activation_bytes(shape: ModelShape, tp: int, stage: Stage, step: StepSize) -> float:
    """Peak activations of one step on one rank of `stage`.

    At the widest point of a layer the residual stream, its normed copy and the MLP's gate and
    up outputs with their product are alive; at the end of the last stage's step the logits, in
    fp32, of every sequence over the whole vocabulary, and their sorted copy for sampling.
    """
    wide = _mlp_width(shape) / tp
    layer = step.batched_tokens * (3 * shape.hidden + 3 * wide) * shape.dtype.bits / 8
    logits = step.sequences * shape.vocab * 4 * 2 if stage.last else 0
    return max(layer, logits)


def memory_needs(
    shape: ModelShape, parallelism: Parallelism, stage: Stage, step: StepSize, *, on_cpu: bool
) -> MemoryNeeds:
    """What one rank of `stage` needs on a GPU, or as a process on a CPU."""
    peers = parallelism.ranks - 1
    return MemoryNeeds(
        weights=stage_weight_bytes(shape, parallelism, stage),
        activations=activation_bytes(shape, parallelism.tensor, stage, step),
        graphs=0 if on_cpu else CUDA_GRAPH_BYTES * stage.layers / shape.layers,
        communicators=0 if on_cpu else peers * COMMUNICATOR_BYTES_PER_PEER,
        context=CPU_PROCESS_BYTES if on_cpu else CUDA_CONTEXT_BYTES,
    )


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


def _mlp_width(shape: ModelShape) -> int:
    """Columns of gate (or up) that one token activates in the widest layer."""
    dense = shape.mlp.intermediate if isinstance(shape.mlp, DenseMlp) else 0
    if shape.experts is None:
        return dense
    routed = shape.experts.per_token * shape.experts.intermediate
    return max(dense, routed + shape.experts.shared_intermediate)
