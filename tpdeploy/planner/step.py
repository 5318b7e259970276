"""Time of one engine step: a roofline per operator, plus communication, plus the engine itself."""

from collections import defaultdict
from dataclasses import dataclass, field
from math import log, sqrt

from tpdeploy.planner.attention_cost import (
    ContextLayers,
    IndexLayers,
    StateLayers,
    context_layers,
    index_layers,
    state_layers,
)
from tpdeploy.planner.collectives import (
    Collective,
    PointToPoint,
    all_gather,
    all_reduce,
    point_to_point,
)
from tpdeploy.planner.kernels import Roofline, Workshop, cache_format, weight_format
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.sharding import Split, Tensor, rank_bytes, rank_elements, tensors
from tpdeploy.planner.stages import width
from tpdeploy.planner.tensors import QK_NORM_BYTES, all_reduces, norm_all_reduces
from tpdeploy.profiles.accelerator import Serving
from tpdeploy.profiles.cluster import Cluster
from tpdeploy.profiles.model import Attention as GroupedAttention
from tpdeploy.profiles.model import CompressedAttention, LatentAttention, ModelShape
from tpdeploy.profiles.record import Dtype

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
    moved_per_token: float  # sorted inputs, gate and up, their product, outputs: written and read
    kernel: Roofline

    def seconds(self, tokens: float) -> float:
        """Seconds of all layers for `tokens` tokens, reading the experts that they touch."""
        if tokens <= 0:
            return 0.0
        busiest = imbalance(tokens * self.per_token, self.ranks)
        read = min(1.0, touched(self.share, tokens) * busiest) * self.weight_bytes
        flops, handed_on = self.flops_per_token * tokens, self.moved_per_token * tokens
        return self.layers * self.kernel.seconds(flops * busiest, read, handed_on * busiest)


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
class Attention:
    """Equal layers that attend to their context, on one rank."""

    cost: ContextLayers
    prompt_bytes: float  # Q, K, V and output of one prompt token, in one layer
    prefill: Roofline
    decode: Roofline

    def seconds(self, step: Step) -> float:
        """Seconds of all of them in `step`."""
        cost = self.cost
        pairs = step.prefill_tokens * cost.attended(step.prefill_context)
        contexts = step.decode_sequences * cost.attended(step.decode_context)
        return cost.layers * (
            self.prefill.seconds(pairs * cost.pair_flops, step.prefill_tokens * self.prompt_bytes)
            + self.decode.seconds(
                contexts * step.verified * cost.decode_pair_flops, contexts * cost.token_bytes
            )
        )


@dataclass(frozen=True)
class Index:
    """The indexers of sparse attention: every query looks at the keys of all its context."""

    cost: IndexLayers
    prefill: Roofline
    decode: Roofline

    def seconds(self, step: Step) -> float:
        """Seconds of all of them in `step`."""
        cost = self.cost
        pairs = step.prefill_tokens * step.prefill_context
        contexts = step.decode_sequences * step.decode_context
        return cost.layers * (
            self.prefill.seconds(pairs * cost.pair_flops, 0.0)
            + self.decode.seconds(
                contexts * step.verified * cost.pair_flops, contexts * cost.token_bytes
            )
        )


@dataclass(frozen=True)
class State:
    """Layers of linear attention: a step reads and writes the state of each sequence."""

    cost: StateLayers
    prefill: Roofline
    decode: Roofline

    def seconds(self, step: Step) -> float:
        """Seconds of all of them in `step`."""
        cost = self.cost
        decoded = step.decode_sequences * step.verified
        return cost.layers * (
            self.prefill.seconds(step.prefill_tokens * cost.prefill_flops, 0.0)
            + self.decode.seconds(
                decoded * cost.decode_flops, 2 * step.decode_sequences * cost.state_bytes
            )
        )


@dataclass(frozen=True)
class Exchange:
    """Equal collectives of the tensor-parallel group in one step."""

    count: int
    collective: Collective
    token_bytes: float  # of one message
    sampled: bool = False  # of the tokens that need logits alone

    def seconds(self, step: Step) -> float:
        """Seconds of all of them in `step`."""
        tokens = step.sampled if self.sampled else step.tokens
        return self.count * self.collective.seconds(tokens * self.token_bytes)


@dataclass(frozen=True)
class StepModel:
    """Everything about one model on one tensor-parallel group that a step's time depends on."""

    layers: int
    hidden_bytes: float  # one token's residual stream
    products: tuple[Linear, ...]
    experts: RoutedExperts | None
    head: tuple[Linear, ...]
    mixing: tuple[Attention | Index | State, ...]
    small_kernels: float  # seconds per token outside the products, all layers
    serving: Serving
    exchanges: tuple[Exchange, ...]  # first the all-reduces that end each block
    stages: int
    hand_on: PointToPoint  # from one pipeline stage to the next
    # All but attention depends on a few counts only, and a simulation meets the same ones often.
    known: dict[tuple[int, int, bool], tuple[float, float, float]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def reduce(self) -> Collective:
        """The all-reduce that ends each block."""
        return self.exchanges[0].collective

    def time(self, step: Step) -> StepTime:
        """Seconds of `step`, by cause."""
        counts = step.tokens, step.sampled, step.prefill_tokens > 0
        if counts not in self.known:
            self.known[counts] = (
                self._linear_seconds(step),
                self._communication_seconds(step),
                self._overhead_seconds(step),
            )
        linear, communication, overhead = self.known[counts]
        attention = sum(layers.seconds(step) for layers in self.mixing)
        return StepTime(linear, attention, communication, overhead)

    def _linear_seconds(self, step: Step) -> float:
        routed = self.experts.seconds(step.tokens) if self.experts else 0.0
        return (
            sum(product.seconds(step.tokens) for product in self.products)
            + routed
            + sum(product.seconds(step.sampled) for product in self.head)
            + step.tokens * self.small_kernels
        )

    def _communication_seconds(self, step: Step) -> float:
        moved = step.tokens * self.hidden_bytes
        handed_on = (self.stages - 1) * self.hand_on.seconds(moved) if self.stages > 1 else 0.0
        exchanged = sum(exchange.seconds(step) for exchange in self.exchanges)
        return self.serving.communication * exchanged + self._waited() + handed_on

    def _waited(self) -> float:
        """Seconds that ranks wait for the last of them before collectives begin."""
        if self.reduce.group == 1:
            return 0.0
        return self.serving.arrival_s * sum(exchange.count for exchange in self.exchanges)

    def _overhead_seconds(self, step: Step) -> float:
        engine = self.serving
        prompts = engine.prompt_step_s if step.prefill_tokens else 0.0
        group = engine.group_step_s if self.reduce.group > 1 else 0.0
        each = self.layers * engine.layer_s + step.sampled * engine.sequence_s
        # Every stage of a pipeline is given its part of the step by itself.
        return self.stages * (engine.step_s + prompts + group) + each


def step_model(
    shape: ModelShape, cluster: Cluster, parallelism: Parallelism, kv_dtype: Dtype
) -> StepModel:
    """The step model of `shape` on one replica of `parallelism` on `cluster`."""
    kernels = Workshop(cluster.accelerator, cluster.efficiency)
    build = _Builder(shape, parallelism, kernels)
    linear = [t for t in tensors(shape) if t.matmul]
    return StepModel(
        layers=shape.layers,
        hidden_bytes=build.hidden_bytes,
        products=build.products([t for t in linear if not t.routed and not t.head]),
        experts=build.experts([t for t in linear if t.routed]),
        head=build.products([t for t in linear if t.head]),
        mixing=build.mixing(kv_dtype),
        small_kernels=build.small_kernels(),
        serving=cluster.efficiency.serving,
        exchanges=build.exchanges(cluster),
        stages=parallelism.pipeline,
        hand_on=point_to_point(cluster, parallelism.ranks),
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

    @property
    def hidden_bytes(self) -> float:
        return self.shape.hidden * self.activation_bytes

    def exchanges(self, cluster: Cluster) -> tuple[Exchange, ...]:
        """The end of each block, norms of Q and K over the heads of all ranks, and the logits."""
        shape, engine = self.shape, cluster.efficiency.engine
        reduce, gather = all_reduce(cluster, self.tp, engine), all_gather(cluster, self.tp, engine)
        logits = shape.vocab * self.activation_bytes
        return (
            Exchange(all_reduces(shape), reduce, self.hidden_bytes),
            Exchange(norm_all_reduces(shape), reduce, QK_NORM_BYTES),
            Exchange(1, gather, logits, sampled=True),
        )

    def products(self, chosen: list[Tensor]) -> tuple[Linear, ...]:
        """One product for each group of tensors that engines merge."""
        groups: dict[tuple[str, int], list[Tensor]] = defaultdict(list)
        for tensor in chosen:
            groups[MERGED.get(tensor.name, tensor.name), tensor.count].append(tensor)
        return tuple(self._product(count, group) for (_, count), group in groups.items())

    def _product(self, count: int, group: list[Tensor]) -> Linear:
        elements = sum(rank_elements(t, self.tp) for t in group)
        inputs = group[0].inputs / (self.tp if group[0].split is Split.ROW else 1)
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
        inner = 3 * wide if experts.gated else 2 * wide
        values = experts.per_token / ranks * 2 * (2 * self.shape.hidden + inner)
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

    def mixing(self, kv_dtype: Dtype) -> tuple[Attention | Index | State, ...]:
        """Everything that mixes tokens: attention of each kind, indexers, linear attention."""
        shape, kernels = self.shape, self.kernels
        latent, kind = isinstance(shape.attention, LatentAttention), cache_format(kv_dtype)
        prefill = kernels.prefill_attention(kind, latent=latent)
        decode = kernels.decode_attention(kind, latent=latent)
        prompt = prompt_values(shape.attention) / self.tp * self.activation_bytes
        found: list[Attention | Index | State] = [
            Attention(layers, prompt, prefill, decode)
            for layers in context_layers(shape, self.tp, kv_dtype)
        ]
        if index := index_layers(shape, self.tp):
            found.append(Index(index, prefill, decode))
        if state := state_layers(shape, self.tp):
            plain = kernels.prefill_attention("bf16", latent=False)
            found.append(State(state, plain, kernels.decode_attention("bf16", latent=False)))
        return tuple(found)

    def small_kernels(self) -> float:
        """Seconds a token spends in norms and activations, all layers, bound by memory."""
        shape = self.shape
        wide = shape.mlp.intermediate if shape.mlp else 0
        values = small_values(shape.hidden, wide / self.tp)
        return shape.layers * values * self.activation_bytes / self.kernels.small_bytes_per_s


def small_values(hidden: float, wide: float) -> float:
    """Values that a token's norms and activations read and write in one layer."""
    return NORM_PASSES * hidden + 3 * wide


def prompt_values(attention: GroupedAttention | LatentAttention | CompressedAttention) -> float:
    """Values of Q, K, V and output of one prompt token, all heads."""
    if isinstance(attention, LatentAttention):
        keys = attention.qk_nope_size + attention.qk_rope_size
        return 2.0 * attention.heads * (keys + attention.v_size)
    kv_heads = 1 if isinstance(attention, CompressedAttention) else attention.kv_heads
    return 2.0 * (attention.heads + kv_heads) * attention.head_size
