"""Attention cost: FLOPs and bytes of what mixes tokens, for each kind of layer, on one rank."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Literal

from tpdeploy.planner.model.kv_cache import (
    attention_token_bytes,
    entry_bytes,
    index_token_bytes,
    kv_heads_per_rank,
    layer_token_bytes,
    state_bytes,
)
from tpdeploy.planner.model.recurrent.kinds import RECURRENT
from tpdeploy.profiles.models.shape import (
    Attention,
    CompressedAttention,
    Indexer,
    LatentAttention,
    ModelShape,
)
from tpdeploy.profiles.record import Dtype

GroupedKind = Literal["full", "windowed", "sparse"]


@dataclass(frozen=True)
class ContextLayers:
    """Equal layers whose queries look at the tokens of their context, on one rank.

    A pair is one query token and one token of context that it attends to. DeepSeek-V4's layers are
    listed twice: for their window, and for the compressed entries, which stand for several tokens
    each and are what a query attends to and reads. An indexer looks at all of the context to pick
    what attention looks at.
    """

    kind: Literal["full", "windowed", "latent", "sparse", "compressed", "index"]
    layers: int
    most_tokens: int | None  # a query attends to no more; None: to all of its context
    pair_flops: float  # in one layer, in a prefill
    decode_pair_flops: float  # in one layer, in a decode step
    token_bytes: float  # read for each token attended to, in one layer
    tokens_per_entry: int = 1

    def attended(self, context: float) -> float:
        """Tokens (or entries) that a query with `context` tokens before it attends to."""
        entries = context / self.tokens_per_entry
        return entries if self.most_tokens is None else min(entries, self.most_tokens)


@dataclass(frozen=True)
class StateLayers:
    """Layers of linear attention on one rank: a state of constant size for each sequence."""

    layers: int
    decode_flops: float  # a token, in one layer: the recurrence
    prefill_flops: float  # a token, in one layer: the chunked form
    state_bytes: float  # a sequence, in one layer; read and written once a step


def context_layers(shape: ModelShape, tp: int, kv_dtype: Dtype) -> tuple[ContextLayers, ...]:
    """The layers of `shape` that attend to KV, equal ones together."""
    attention, layers = shape.attention, shape.attention_layers
    if isinstance(attention, LatentAttention):
        return _latent_layers(shape, attention, tp, kv_dtype)
    if isinstance(attention, CompressedAttention):
        return tuple(_compressed_layers(shape, attention, tp, kv_dtype))
    sliding = attention.sliding_layers if attention.sliding_window else 0
    sparse = shape.indexer.sparse_layers if shape.indexer else 0
    picked = shape.indexer.most_tokens if shape.indexer else None
    kinds: list[tuple[GroupedKind, Attention, int, int | None]] = [
        ("full", attention, layers - sliding - sparse, None),
        ("windowed", attention, sliding, attention.sliding_window),
        ("sparse", attention, sparse, picked),
    ]
    if shape.windowed:
        other = shape.windowed
        kinds.append(("windowed", other, other.sliding_layers, other.sliding_window))
    return tuple(_grouped(*kind, tp=tp, kv_dtype=kv_dtype) for kind in kinds if kind[2])


def index_layers(shape: ModelShape, tp: int = 1) -> ContextLayers | None:
    """The indexers of `shape`; every rank runs them whole, but for MiniMax-M3's heads."""
    indexer = shape.indexer
    if indexer is None:
        return None
    flops = index_pair_flops(indexer, tp)
    return ContextLayers("index", indexer.layers, None, flops, flops, index_token_bytes(indexer))


def state_layers(shape: ModelShape, tp: int) -> StateLayers | None:
    """The layers of linear attention of `shape`."""
    linear = shape.linear
    if linear is None:
        return None
    mixer = RECURRENT[linear.kind]
    return StateLayers(
        layers=linear.layers,
        decode_flops=mixer.decode_flops(linear, tp),
        prefill_flops=mixer.prefill_flops(linear, tp),
        state_bytes=state_bytes(linear, tp, shape.dtype),
    )


def grouped_pair_flops(attention: Attention, tp: int) -> float:
    """FLOPs of one pair in one layer on one rank: the score and the weighted value, all heads."""
    return 2 * ceil(attention.heads / tp) * (attention.head_size + attention.value_size)


def latent_pair_flops(attention: LatentAttention, tp: int) -> float:
    """FLOPs of one pair where K and V were made from the latent (prefill)."""
    sizes = attention.qk_nope_size + attention.qk_rope_size + attention.v_size
    return 2 * ceil(attention.heads / tp) * sizes


def absorbed_pair_flops(attention: LatentAttention, tp: int) -> float:
    """FLOPs of one pair on the latent itself (decode): scores over latent and rotary part.

    The values are the latent; the up-projections of K and V are applied to Q and to the output.
    """
    sizes = 2 * attention.kv_lora_rank + attention.qk_rope_size
    return 2 * ceil(attention.heads / tp) * sizes


def index_pair_flops(indexer: Indexer, tp: int = 1) -> float:
    """FLOPs of one query token and one token of context: each head's score, and their sum."""
    heads = indexer.heads
    if indexer.kind == "hidden":
        heads = kv_heads_per_rank(heads, tp)
    return 2 * heads * (indexer.head_size + 1) / indexer.tokens_per_key


def _latent_layers(
    shape: ModelShape, attention: LatentAttention, tp: int, kv_dtype: Dtype
) -> tuple[ContextLayers, ...]:
    """MLA; where an indexer picks tokens, kernels work on the latent in a prefill too."""
    absorbed = absorbed_pair_flops(attention, tp)
    read = attention_token_bytes(shape, tp, kv_dtype)
    if shape.indexer:
        most = shape.indexer.most_tokens
        return (ContextLayers("sparse", shape.attention_layers, most, absorbed, absorbed, read),)
    return (
        ContextLayers(
            kind="latent",
            layers=shape.attention_layers,
            most_tokens=None,
            pair_flops=latent_pair_flops(attention, tp),
            decode_pair_flops=absorbed,
            token_bytes=read,
        ),
    )


def _compressed_layers(
    shape: ModelShape, attention: CompressedAttention, tp: int, kv_dtype: Dtype
) -> Iterator[ContextLayers]:
    flops = 2 * ceil(attention.heads / tp) * 2 * attention.head_size
    read = entry_bytes(attention, kv_dtype)
    window = attention.sliding_window
    yield ContextLayers("windowed", shape.attention_layers, window, flops, flops, read)
    if attention.sparse_layers:
        yield ContextLayers(
            kind="sparse",
            layers=attention.sparse_layers,
            most_tokens=shape.indexer.most_tokens if shape.indexer else None,
            pair_flops=flops,
            decode_pair_flops=flops,
            token_bytes=read,
            tokens_per_entry=attention.sparse_ratio,
        )
    if attention.dense_layers:
        yield ContextLayers(
            kind="compressed",
            layers=attention.dense_layers,
            most_tokens=None,
            pair_flops=flops,
            decode_pair_flops=flops,
            token_bytes=read,
            tokens_per_entry=attention.dense_ratio,
        )


def _grouped(
    kind: GroupedKind,
    attention: Attention,
    layers: int,
    most_tokens: int | None,
    *,
    tp: int,
    kv_dtype: Dtype,
) -> ContextLayers:
    flops = grouped_pair_flops(attention, tp)
    read = layer_token_bytes(attention, tp, kv_dtype)
    return ContextLayers(kind, layers, most_tokens, flops, flops, read)
