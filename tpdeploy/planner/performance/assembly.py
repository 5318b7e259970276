"""A step model assembled: a shape on one rank, as rooflines and collectives."""

from collections import defaultdict
from dataclasses import dataclass
from math import ceil

from tpdeploy.planner.engine_rules import NCCL_ALONE, OwnKernels
from tpdeploy.planner.model.attention.kinds import main_attention
from tpdeploy.planner.model.sharding import Split, Tensor, rank_bytes, rank_elements, tensors
from tpdeploy.planner.model.stages import stages
from tpdeploy.planner.model.tensors import QK_NORM_BYTES, all_reduces, norm_all_reduces
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.performance.attention import (
    context_layers,
    index_layers,
    state_layers,
)
from tpdeploy.planner.performance.collectives import (
    all_gather,
    all_reduce,
    expert_combine,
    expert_dispatch,
    point_to_point,
    reduce_scatter,
)
from tpdeploy.planner.performance.kernels import Roofline, Workshop, cache_format, weight_format
from tpdeploy.planner.performance.operators import Attention, Exchange, Linear, RoutedExperts, State
from tpdeploy.planner.performance.step_model import StepModel
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.devices.fabric import Algorithm
from tpdeploy.profiles.models.shape import Attention as GroupedHeads
from tpdeploy.profiles.models.shape import ModelShape
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
# Without CUDA graphs a GPU waits for its kernels to be launched: in each layer for so long, unless
# they take longer. An estimate, between what two decode steps leave for a layer: 7B on A800, 22 ms
# eager and 13 with graphs (vllm-project/vllm-omni issue 7960), 0.8 ms; 8B on H100, 8.4 and 5.1 ms
# (cloudai.pt, "CUDA Graphs + torch.compile"), 0.26 ms.
EAGER_LAYER_S = 4.5e-4


def step_model(
    shape: ModelShape,
    cluster: Cluster,
    parallelism: Parallelism,
    kv_dtype: Dtype,
    *,
    eager: bool = False,
    own: OwnKernels = NCCL_ALONE,
) -> StepModel:
    """The step model of `shape` on one replica of `parallelism` on `cluster`.

    `eager`: the engine runs without CUDA graphs, on GPUs that otherwise have them. `own`: its
    collectives.
    """
    kernels = Workshop(cluster.accelerator, cluster.efficiency)
    collectives = own.eager if eager else own.graphs
    build = _Builder(shape, parallelism, kernels, collectives)
    linear = [t for t in tensors(shape) if t.matmul]
    *before, last = stages(shape, parallelism.pipeline)
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
        expert_exchanges=build.expert_exchanges(cluster, own.experts),
        stages=parallelism.pipeline,
        stage_layers=(max((s.layers for s in before), default=0), last.layers),
        hand_on=point_to_point(cluster, parallelism.ranks),
        latent_s=build.latent_seconds(),
        launch_s=shape.layers * (EAGER_LAYER_S if eager else kernels.launch_layer_s),
    )


@dataclass(frozen=True)
class _Builder:
    """Turns a shape on one rank into rooflines."""

    shape: ModelShape
    parallelism: Parallelism
    kernels: Workshop
    own: tuple[Algorithm, ...]  # collectives of the engine

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
        """The end of each block, norms of Q and K over the heads of all ranks, and the logits.

        With data-parallel attention the tensor ranks of a group gather their parts of what comes
        back from the experts.
        """
        shape = self.shape
        reduce = all_reduce(cluster, self.tp, self.own)
        gather = all_gather(cluster, self.tp, self.own)
        logits = shape.vocab * self.activation_bytes
        apart = shape.experts.layers if self.parallelism.data_parallel and shape.experts else 0
        return (
            Exchange(all_reduces(shape) - apart, reduce, self.hidden_bytes),
            Exchange(norm_all_reduces(shape), reduce, QK_NORM_BYTES),
            Exchange(1, gather, logits, sampled=True),
            *([Exchange(apart, gather, self.hidden_bytes)] if apart else []),
        )

    def expert_exchanges(
        self, cluster: Cluster, kernels: tuple[Algorithm, ...]
    ) -> tuple[Exchange, ...]:
        """With data-parallel attention: every layer's tokens to its experts, and back.

        By `kernels` of the engine where they were measured, for groups of more ranks than a token
        has experts: in a smaller one nearly every rank gets every token. Else every rank gathers
        the tokens of all, and the sums are scattered.
        """
        experts, ranks = self.shape.experts, self.parallelism.stage_ranks
        if experts is None or not self.parallelism.data_parallel:
            return ()
        if kernels and ranks > experts.per_token:
            there = expert_dispatch(cluster, ranks, kernels)
            back = expert_combine(cluster, ranks, kernels)
            if there.operation == "expert-dispatch":
                # Of each token of all ranks.
                sent = experts.computed_per_token * self.hidden_bytes / ranks
                return tuple(Exchange(experts.layers, each, sent) for each in (there, back))
        both = all_gather(cluster, ranks, self.own), reduce_scatter(cluster, ranks, self.own)
        return tuple(Exchange(experts.layers, each, self.hidden_bytes) for each in both)

    def products(self, chosen: list[Tensor]) -> tuple[Linear, ...]:
        """One product for each group of tensors that engines merge."""
        groups: dict[tuple[str, int], list[Tensor]] = defaultdict(list)
        for tensor in chosen:
            prefix, wide, name = tensor.name.rpartition("-wide ")
            uses = tensor.count + tensor.reused
            groups[prefix + wide + MERGED.get(name, name), uses].append(tensor)
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
        share, taken = experts.share, experts.computed_per_token
        over = self.parallelism.expert_shards
        held = [(t, t.count / experts.layers / ranks) for t in chosen]
        elements = sum(each * rank_elements(t, over) for t, each in held)
        wide = experts.intermediate / over
        inner = 3 * wide if experts.gated else 2 * wide
        values = taken / ranks * 2 * (2 * self.shape.hidden + inner)
        return RoutedExperts(
            layers=experts.layers,
            ranks=ranks,
            per_token=taken,
            share=share,
            weight_bytes=sum(each * rank_bytes(t, over) for t, each in held),
            flops_per_token=2 * elements * share,
            moved_per_token=values * self.activation_bytes,
            kernel=self._kernel(chosen[0]),
        )

    def mixing(self, kv_dtype: Dtype) -> tuple[Attention | State, ...]:
        """Everything that mixes tokens: attention of each kind, indexers, linear attention."""
        shape, kernels = self.shape, self.kernels
        main, kind = main_attention(shape), cache_format(kv_dtype)
        latent = main.on_latent
        prefill = kernels.prefill_attention(kind, latent=latent)
        decode = kernels.decode_attention(kind, latent=latent)
        prompt = main.prompt_values / self.tp * self.activation_bytes
        heads = ceil(shape.attention.heads / self.tp)
        alone = kernels.alone_above(kind, latent=latent) / heads
        beside = kernels.alone_beside_prompts(kind, latent=latent) and _is_plain(shape)
        found: list[Attention | State] = [
            Attention(layers, prompt, prefill, decode, alone, beside)
            for layers in context_layers(shape, self.tp, kv_dtype)
        ]
        if index := index_layers(shape, self.tp):
            found.append(Attention(index, 0.0, prefill, decode))
        if state := state_layers(shape, self.tp):
            plain = kernels.prefill_attention("bf16", latent=False)
            found.append(State(state, plain, kernels.decode_attention("bf16", latent=False)))
        return tuple(found)

    def latent_seconds(self) -> float:
        """Seconds that all layers with attention on a latent take longer."""
        main = main_attention(self.shape)
        return main.layers * self.kernels.latent_layer_s if main.on_latent else 0.0

    def small_kernels(self) -> float:
        """Seconds a token spends in norms and activations, all layers, bound by memory."""
        shape = self.shape
        wide = shape.mlp.intermediate if shape.mlp else 0
        values = small_values(shape.hidden, wide / self.tp)
        return shape.layers * values * self.activation_bytes / self.kernels.small_bytes_per_s


def _is_plain(shape: ModelShape) -> bool:
    """Whether every token attends to all before it, and to nothing else."""
    heads = shape.attention
    if not isinstance(heads, GroupedHeads) or shape.windowed:
        return False
    return not heads.sinks and heads.sliding_layers == 0


def small_values(hidden: float, wide: float) -> float:
    """Values that a token's norms and activations read and write in one layer."""
    return NORM_PASSES * hidden + 3 * wide
