"""Time of one engine step: a roofline per operator, plus all-reduces, plus the engine itself."""

from dataclasses import dataclass

from tpdeploy.planner.collectives import AllReduce, all_reduce
from tpdeploy.planner.kv_cache import token_bytes, windowed_tokens
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.sharding import Tensor, rank_bytes, rank_elements, tensors
from tpdeploy.profiles.accelerator import Accelerator, Efficiency
from tpdeploy.profiles.cluster import Cluster
from tpdeploy.profiles.model import LatentAttention, ModelShape
from tpdeploy.profiles.record import Dtype

# A layer ends its attention block and its MLP block with one all-reduce each.
ALL_REDUCES_PER_LAYER = 2


@dataclass(frozen=True)
class Step:
    """What one engine step processes on one replica."""

    decode_sequences: int = 0
    decode_context: float = 0.0  # mean tokens of context of the decoding sequences
    prefill_tokens: int = 0
    prefill_context: float = 0.0  # mean tokens each prefill token attends to
    prefills_done: int = 0  # prefills that end in this step and are sampled

    @property
    def tokens(self) -> int:
        """Tokens that go through every linear layer; prefill and decode share one product."""
        return self.decode_sequences + self.prefill_tokens

    @property
    def sampled(self) -> int:
        """Sequences that get a new token, and so need logits."""
        return self.decode_sequences + self.prefills_done


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step, by cause."""

    linear: float
    attention: float
    communication: float
    overhead: float

    @property
    def total(self) -> float:
        """Sum of the parts."""
        return self.linear + self.attention + self.communication + self.overhead


@dataclass(frozen=True)
class Linear:
    """Equal matrix products on one rank, summed over the layers."""

    weight_bytes: float
    flops_per_token: float
    flops_per_s: float


@dataclass(frozen=True)
class StepModel:
    """Everything about one model on one tensor-parallel group that a step's time depends on."""

    layers: int
    hidden_bytes: float  # one token's residual stream
    dense: tuple[Linear, ...]
    routed: tuple[Linear, ...]
    head: tuple[Linear, ...]
    routed_share: float  # experts a token takes / experts there are
    attention_flops: float  # per (token, context token) pair on a rank, all layers
    attention_flops_per_s: float
    kv_token_bytes: float
    bytes_per_s: float
    overhead_s: float
    shape: ModelShape
    reduce: AllReduce

    def time(self, step: Step) -> StepTime:
        """Seconds of `step`, by cause."""
        return StepTime(
            linear=self._linear_seconds(step),
            attention=self._attention_seconds(step),
            communication=self._communication_seconds(step),
            overhead=self.overhead_s,
        )

    def _linear_seconds(self, step: Step) -> float:
        touched = 1 - (1 - self.routed_share) ** step.tokens
        return (
            sum(self._roofline(op, step.tokens, 1.0) for op in self.dense)
            + sum(
                self._roofline(op, step.tokens * self.routed_share, touched) for op in self.routed
            )
            + sum(self._roofline(op, step.sampled, 1.0) for op in self.head)
        )

    def _roofline(self, op: Linear, tokens: float, share_read: float) -> float:
        compute = op.flops_per_token * tokens / op.flops_per_s
        return max(compute, op.weight_bytes * share_read / self.bytes_per_s)

    def _attention_seconds(self, step: Step) -> float:
        decode_kv = step.decode_sequences * windowed_tokens(self.shape, step.decode_context)
        read = decode_kv * self.kv_token_bytes / self.bytes_per_s
        pairs = step.prefill_tokens * windowed_tokens(self.shape, step.prefill_context)
        return read + pairs * self.attention_flops / self.attention_flops_per_s

    def _communication_seconds(self, step: Step) -> float:
        once = self.reduce.seconds(step.tokens * self.hidden_bytes)
        return ALL_REDUCES_PER_LAYER * self.layers * once


def step_model(
    shape: ModelShape, cluster: Cluster, parallelism: Parallelism, kv_dtype: Dtype
) -> StepModel:
    """The step model of `shape` on one replica of `parallelism` on `cluster`."""
    tp = parallelism.tensor
    device, efficiency = cluster.accelerator, cluster.efficiency
    linear = [t for t in tensors(shape) if t.matmul]
    head = [t for t in linear if t.head]
    routed = [t for t in linear if t.routed]
    dense = [t for t in linear if not t.routed and not t.head]

    def group(chosen: list[Tensor]) -> tuple[Linear, ...]:
        return tuple(_linear(t, shape, tp, device, efficiency) for t in chosen)

    native = _flops_per_s(device, shape.dtype) * efficiency.matmul
    experts = shape.experts
    return StepModel(
        layers=shape.layers,
        hidden_bytes=shape.hidden * shape.dtype.bits / 8,
        dense=group(dense),
        routed=group(routed),
        head=group(head),
        routed_share=experts.per_token / experts.count if experts else 0.0,
        attention_flops=_attention_flops(shape, tp),
        attention_flops_per_s=native,
        kv_token_bytes=token_bytes(shape, tp, kv_dtype),
        bytes_per_s=device.peaks.memory_bytes_per_s * efficiency.memory,
        overhead_s=efficiency.step_overhead_s + shape.layers * efficiency.layer_overhead_s,
        shape=shape,
        reduce=all_reduce(cluster, tp),
    )


def _linear(
    tensor: Tensor, shape: ModelShape, tp: int, device: Accelerator, efficiency: Efficiency
) -> Linear:
    return Linear(
        weight_bytes=tensor.count * rank_bytes(tensor, tp),
        flops_per_token=2 * tensor.count * rank_elements(tensor, tp),
        flops_per_s=_weight_flops_per_s(device, tensor, shape.dtype) * efficiency.matmul,
    )


def _weight_flops_per_s(device: Accelerator, tensor: Tensor, native: Dtype) -> float:
    """Peak for a product with these weights.

    FP8 and FP4 weights are multiplied as such where the device can; other formats are widened
    to the activations' dtype first (weight-only quantization).
    """
    for dtype in (Dtype.FP4, Dtype.FP8):
        narrow = tensor.dtype is dtype and dtype in device.peaks.flops_per_s
        if narrow:
            return device.peaks.flops_per_s[dtype]
    return _flops_per_s(device, native)


def _flops_per_s(device: Accelerator, dtype: Dtype) -> float:
    """Peak for activations of `dtype`; a device without it computes in the widest it has."""
    peaks = device.peaks.flops_per_s
    return peaks.get(dtype) or peaks.get(Dtype.FP16) or min(peaks.values())


def _attention_flops(shape: ModelShape, tp: int) -> float:
    """FLOPs for one query token and one context token: score and weighted value, all heads."""
    attention = shape.attention
    if isinstance(attention, LatentAttention):
        sizes = attention.qk_nope_size + attention.qk_rope_size + attention.v_size
    else:
        sizes = 2 * attention.head_size
    return 2 * attention.heads / tp * sizes * shape.layers
