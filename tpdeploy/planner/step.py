"""Time of one engine step: a roofline per operator, plus all-reduces, plus the engine itself."""

from collections import defaultdict
from dataclasses import dataclass
from math import log, sqrt

from tpdeploy.planner.collectives import AllReduce, all_reduce
from tpdeploy.planner.kernels import Roofline, Workshop, cache_format, weight_format
from tpdeploy.planner.kv_cache import layer_token_bytes
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.sharding import Tensor, rank_bytes, rank_elements, tensors
from tpdeploy.planner.stages import width
from tpdeploy.profiles.accelerator import Serving
from tpdeploy.profiles.cluster import Cluster
from tpdeploy.profiles.model import Attention, LatentAttention, ModelShape
from tpdeploy.profiles.record import Dtype

# A layer ends its attention block and its MLP block with one all-reduce each.
ALL_REDUCES_PER_LAYER = 2
# Engines run these projections of one input as one product.
MERGED = {
    "q": "qkv",
    "k": "qkv",
    "v": "qkv",
    "gate": "gate and up",
    "up": "gate and up",
    "q down": "down",
    "kv down": "down",
    "shared expert gate": "shared gate and up",
    "shared expert up": "shared gate and up",
}
# Values read or written per value of the residual stream around one layer's products: two norms,
# each reading and writing it and the residual.
NORM_PASSES = 8


@dataclass(frozen=True)
class Step:
    """What one engine step processes on one replica."""

    decode_sequences: int = 0
    decode_context: float = 0.0  # mean tokens of context of the decoding sequences
    prefill_tokens: int = 0
    prefill_context: float = 0.0  # mean tokens each prefill token attends to
    prefills_done: int = 0  # prefills that end in this step and are sampled
    verified: int = 1  # tokens of each decoding sequence: one, and what was drafted

    @property
    def tokens(self) -> int:
        """Tokens that go through every linear layer; prefill and decode share one product."""
        return self.decode_sequences * self.verified + self.prefill_tokens

    @property
    def sampled(self) -> int:
        """Tokens that need logits."""
        return self.decode_sequences * self.verified + self.prefills_done


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
    """Equal matrix products on one rank."""

    count: int
    weight_bytes: float
    flops_per_token: float
    moved_per_token: float  # bytes of inputs and outputs
    kernel: Roofline

    def seconds(self, tokens: float) -> float:
        """Seconds of all of them for `tokens` tokens."""
        if tokens <= 0:
            return 0.0
        moved = self.weight_bytes + self.moved_per_token * tokens
        return self.count * self.kernel.seconds(self.flops_per_token * tokens, moved)


@dataclass(frozen=True)
class RoutedExperts:
    """The routed experts of all layers on one rank, one kernel a layer."""

    layers: int
    ranks: int  # that hold whole experts; 1 where every rank holds a part of each
    per_token: int
    share: float  # experts a token takes / experts there are
    weight_bytes: float  # of a layer's experts on a rank
    flops_per_token: float
    moved_per_token: float
    kernel: Roofline

    def seconds(self, tokens: float) -> float:
        """Seconds of all layers for `tokens` tokens, reading the experts that they touch."""
        if tokens <= 0:
            return 0.0
        busiest = imbalance(tokens * self.per_token, self.ranks)
        read = min(1.0, touched(self.share, tokens) * busiest) * self.weight_bytes
        moved = read + self.moved_per_token * tokens * busiest
        return self.layers * self.kernel.seconds(self.flops_per_token * tokens * busiest, moved)


def touched(share: float, tokens: float) -> float:
    """Share of the experts that `tokens` tokens touch, each taking `share` of them at random."""
    return float(1.0 - (1.0 - share) ** tokens)


def imbalance(choices: float, ranks: int) -> float:
    """Load of the busiest rank over the mean, when `choices` fall on `ranks` at random.

    The largest of n nearly normal counts lies about sqrt(2 ln n) deviations above their mean.
    """
    if ranks == 1:
        return 1.0
    return min(float(ranks), 1.0 + sqrt(2.0 * log(ranks) * ranks / choices))


@dataclass(frozen=True)
class AttentionLayers:
    """Equal attention layers on one rank."""

    layers: int
    window: int | None
    prefill_flops: float  # per (token, context token)
    prefill_moved: float  # bytes of Q, K, V and output of one prompt token
    decode_flops: float
    token_bytes: float  # KV of one token of context
    prefill: Roofline
    decode: Roofline

    def seconds(self, step: Step) -> float:
        """Seconds of all of them in `step`."""
        pairs = step.prefill_tokens * self._seen(step.prefill_context)
        contexts = step.decode_sequences * self._seen(step.decode_context)
        return self.layers * (
            self.prefill.seconds(
                pairs * self.prefill_flops, step.prefill_tokens * self.prefill_moved
            )
            + self.decode.seconds(
                contexts * step.verified * self.decode_flops, contexts * self.token_bytes
            )
        )

    def _seen(self, context: float) -> float:
        return context if self.window is None else min(context, self.window)


@dataclass(frozen=True)
class StepModel:
    """Everything about one model on one tensor-parallel group that a step's time depends on."""

    layers: int
    hidden_bytes: float  # one token's residual stream
    products: tuple[Linear, ...]
    experts: RoutedExperts | None
    head: tuple[Linear, ...]
    attention: tuple[AttentionLayers, ...]
    small_kernels: float  # seconds per token outside the products, all layers
    serving: Serving
    reduce: AllReduce

    def time(self, step: Step) -> StepTime:
        """Seconds of `step`, by cause."""
        return StepTime(
            linear=self._linear_seconds(step),
            attention=sum(layers.seconds(step) for layers in self.attention),
            communication=self._communication_seconds(step),
            overhead=self._overhead_seconds(step),
        )

    def _linear_seconds(self, step: Step) -> float:
        routed = self.experts.seconds(step.tokens) if self.experts else 0.0
        return (
            sum(product.seconds(step.tokens) for product in self.products)
            + routed
            + sum(product.seconds(step.sampled) for product in self.head)
            + step.tokens * self.small_kernels
        )

    def _communication_seconds(self, step: Step) -> float:
        once = self.reduce.seconds(step.tokens * self.hidden_bytes)
        return ALL_REDUCES_PER_LAYER * self.layers * once

    def _overhead_seconds(self, step: Step) -> float:
        engine = self.serving
        return engine.step_s + self.layers * engine.layer_s + step.sampled * engine.sequence_s


def step_model(
    shape: ModelShape, cluster: Cluster, parallelism: Parallelism, kv_dtype: Dtype
) -> StepModel:
    """The step model of `shape` on one replica of `parallelism` on `cluster`."""
    kernels = Workshop(cluster.accelerator, cluster.efficiency)
    build = _Builder(shape, parallelism, kernels)
    linear = [t for t in tensors(shape) if t.matmul]
    return StepModel(
        layers=shape.layers,
        hidden_bytes=shape.hidden * shape.dtype.bits / 8,
        products=build.products([t for t in linear if not t.routed and not t.head]),
        experts=build.experts([t for t in linear if t.routed]),
        head=build.products([t for t in linear if t.head]),
        attention=build.attention(kv_dtype),
        small_kernels=build.small_kernels(),
        serving=cluster.efficiency.serving,
        reduce=all_reduce(cluster, parallelism.tensor),
    )


@dataclass(frozen=True)
class _Builder:
    """Turns a shape on one rank into rooflines."""

    shape: ModelShape
    parallelism: Parallelism
    kernels: Workshop

    @property
    def tp(self) -> int:
        return self.parallelism.tensor

    @property
    def activation_bytes(self) -> float:
        return self.shape.dtype.bits / 8

    def products(self, chosen: list[Tensor]) -> tuple[Linear, ...]:
        """One product for each group of tensors that engines merge."""
        groups: dict[tuple[str, int], list[Tensor]] = defaultdict(list)
        for tensor in chosen:
            groups[MERGED.get(tensor.name, tensor.name), tensor.count].append(tensor)
        return tuple(self._product(count, group) for (_, count), group in groups.items())

    def _product(self, count: int, group: list[Tensor]) -> Linear:
        elements = sum(rank_elements(t, self.tp) for t in group)
        inputs = max(t.inputs for t in group)
        return Linear(
            count=count,
            weight_bytes=sum(rank_bytes(t, self.tp) for t in group),
            flops_per_token=2 * elements,
            moved_per_token=(inputs + elements / inputs) * self.activation_bytes,
            kernel=self._kernel(group[0]),
        )

    def _kernel(self, tensor: Tensor) -> Roofline:
        kind = weight_format(tensor.dtype, self.shape.quantization)
        return self.kernels.experts(kind) if tensor.routed else self.kernels.matmul(kind)

    def experts(self, chosen: list[Tensor]) -> RoutedExperts | None:
        experts, ranks = self.shape.experts, self.parallelism.expert
        if experts is None:
            return None
        share = experts.per_token / experts.count
        held = [(t, width(t, self.parallelism), t.count / experts.layers / ranks) for t in chosen]
        elements = sum(each * rank_elements(t, over) for t, over, each in held)
        wide = experts.intermediate / (1 if ranks > 1 else self.tp)
        values = experts.per_token / ranks * (2 * self.shape.hidden + 2 * wide)
        return RoutedExperts(
            layers=experts.layers,
            ranks=ranks,
            per_token=experts.per_token,
            share=share,
            weight_bytes=sum(each * rank_bytes(t, over) for t, over, each in held),
            flops_per_token=2 * elements * share,
            moved_per_token=values * self.activation_bytes,
            kernel=self._kernel(chosen[0]),
        )

    def attention(self, kv_dtype: Dtype) -> tuple[AttentionLayers, ...]:
        attention = self.shape.attention
        if isinstance(attention, LatentAttention):
            return (self._attention_layers(self.shape.layers, None, kv_dtype),)
        sliding = attention.sliding_layers if attention.sliding_window else 0
        kinds = ((self.shape.layers - sliding, None), (sliding, attention.sliding_window))
        return tuple(self._attention_layers(n, window, kv_dtype) for n, window in kinds if n)

    def _attention_layers(
        self, layers: int, window: int | None, kv_dtype: Dtype
    ) -> AttentionLayers:
        attention, kind = self.shape.attention, cache_format(kv_dtype)
        latent = isinstance(attention, LatentAttention)
        prefill_flops, decode_flops = pair_flops(attention)
        return AttentionLayers(
            layers=layers,
            window=window,
            prefill_flops=prefill_flops / self.tp,
            prefill_moved=prompt_values(attention) / self.tp * self.activation_bytes,
            decode_flops=decode_flops / self.tp,
            token_bytes=layer_token_bytes(attention, self.tp, kv_dtype),
            prefill=self.kernels.prefill_attention(kind, latent=latent),
            decode=self.kernels.decode_attention(kind, latent=latent),
        )

    def small_kernels(self) -> float:
        """Seconds a token spends in norms and activations, all layers, bound by memory."""
        shape = self.shape
        wide = shape.mlp.intermediate if shape.mlp else 0
        values = NORM_PASSES * shape.hidden + 3 * wide / self.tp
        rate = self.kernels.decode_attention("bf16", latent=False).bytes_per_s
        return shape.layers * values * self.activation_bytes / rate


def pair_flops(attention: Attention | LatentAttention) -> tuple[float, float]:
    """FLOPs of one query token on one context token in prefill and in decode, all heads.

    Score and weighted value. MLA expands the latent for a prompt, and decodes on it as it is.
    """
    if isinstance(attention, LatentAttention):
        expanded = attention.qk_nope_size + attention.qk_rope_size + attention.v_size
        absorbed = 2 * attention.kv_lora_rank + attention.qk_rope_size
        return 2.0 * attention.heads * expanded, 2.0 * attention.heads * absorbed
    both = 4.0 * attention.heads * attention.head_size
    return both, both


def prompt_values(attention: Attention | LatentAttention) -> float:
    """Values of Q, K, V and output of one prompt token, all heads."""
    if isinstance(attention, LatentAttention):
        keys = attention.qk_nope_size + attention.qk_rope_size
        return 2.0 * attention.heads * (keys + attention.v_size)
    return 2.0 * (attention.heads + attention.kv_heads) * attention.head_size
