"""KV cache and state: what one token and one request cost on each rank."""

from collections.abc import Mapping
from math import ceil

from tpdeploy.planner.model.parts import Part
from tpdeploy.planner.model.recurrent.kinds import RECURRENT
from tpdeploy.profiles.models.shape import (
    Attention,
    CompressedAttention,
    Indexer,
    LatentAttention,
    LinearAttention,
    ModelShape,
)
from tpdeploy.profiles.record import Dtype

# One FP32 scale stands for so many FP8 values, in an indexer's keys and in the latent that sparse
# attention reads (vLLM 0.32: deepseek_v2.py and flashmla_sparse.py).
SCALED_VALUES = 128
SCALE_BYTES = 4
# The rotary part of that latent stays in 16 bits.
ROPE_BYTES = 2
# An FP8 entry of DeepSeek-V4 has a one-byte scale for so many values, and a byte of padding.
ENTRY_VALUES = 64


def kv_heads_per_rank(kv_heads: int, tp: int) -> int:
    """KV heads on each rank; beyond one a rank they are replicated."""
    return max(1, ceil(kv_heads / tp))


def layer_token_bytes(attention: Attention | LatentAttention, tp: int, dtype: Dtype) -> float:
    """Bytes of one token's KV in one layer on one rank; MLA's latent is whole on every rank."""
    if isinstance(attention, LatentAttention):
        values = attention.kv_lora_rank + attention.qk_rope_size
    else:
        both = attention.head_size + attention.value_size
        values = kv_heads_per_rank(attention.kv_heads, tp) * both
    return values * dtype.bits / 8


def sparse_latent_bytes(attention: LatentAttention, dtype: Dtype) -> float:
    """Bytes of one token's latent in one layer where sparse attention reads it.

    An FP8 cache holds a scale for every 128 values, and the rotary part in 16 bits.
    """
    if dtype is not Dtype.FP8:
        return layer_token_bytes(attention, 1, dtype)
    scales = ceil(attention.kv_lora_rank / SCALED_VALUES) * SCALE_BYTES
    return attention.kv_lora_rank + scales + attention.qk_rope_size * ROPE_BYTES


def index_token_bytes(indexer: Indexer) -> float:
    """Bytes of one token's key in one layer's indexer, in FP8 with its scales, on every rank."""
    key = indexer.head_size + ceil(indexer.head_size / SCALED_VALUES) * SCALE_BYTES
    return key / indexer.tokens_per_key


def entry_bytes(attention: CompressedAttention, dtype: Dtype) -> float:
    """Bytes of one token, or of one compressed entry, in one layer of DeepSeek-V4, on every rank.

    An FP8 cache keeps the rotary part in 16 bits and a scale for every 64 of the others.
    """
    if dtype is not Dtype.FP8:
        return attention.head_size * dtype.bits / 8
    plain = attention.head_size - attention.rope_size
    return plain + attention.rope_size * ROPE_BYTES + ceil(plain / ENTRY_VALUES) + 1


def compressed_bytes(
    attention: CompressedAttention, layers: int, tokens: float, dtype: Dtype
) -> float:
    """Bytes of `tokens` of context in all `layers` of DeepSeek-V4: windows and entries."""
    windows = layers * min(tokens, attention.sliding_window)
    sparse = attention.sparse_layers * tokens / attention.sparse_ratio
    dense = attention.dense_layers * tokens / attention.dense_ratio
    return (windows + sparse + dense) * entry_bytes(attention, dtype)


def attention_token_bytes(shape: ModelShape, tp: int, dtype: Dtype) -> float:
    """Bytes of one token in one layer with the model's (unwindowed) attention, on one rank."""
    attention = shape.attention
    if isinstance(attention, CompressedAttention):
        return compressed_bytes(attention, shape.layers, 1, dtype) / shape.layers
    if shape.indexer and isinstance(attention, LatentAttention):
        return sparse_latent_bytes(attention, dtype)
    return layer_token_bytes(attention, tp, dtype)


def token_bytes(shape: ModelShape, tp: int, dtype: Dtype) -> float:
    """Bytes one more token of context costs on one rank while no window is full."""
    return kv_bytes(shape, 1, tp, dtype)


def kv_bytes(shape: ModelShape, tokens: float, tp: int, dtype: Dtype) -> float:
    """Bytes of KV that a request of `tokens` of context holds on one rank."""
    return sum(_kv_parts(shape, tokens, tp, dtype).values())


def request_parts(shape: ModelShape, tokens: float, tp: int, dtype: Dtype) -> Mapping[Part, float]:
    """Bytes that one request of `tokens` of context holds on one rank, by kind of layer."""
    return {**_kv_parts(shape, tokens, tp, dtype), "linear": sequence_bytes(shape, tp)}


def _kv_parts(shape: ModelShape, tokens: float, tp: int, dtype: Dtype) -> dict[Part, float]:
    """Bytes of KV of `tokens` of context in layers that see all of it, and in those that slide."""
    attention, windowed, layers = shape.attention, shape.windowed, shape.attention_layers
    full, sliding = 0.0, 0.0
    if isinstance(attention, CompressedAttention):
        full = compressed_bytes(attention, layers, tokens, dtype)
    else:
        token, slides = attention_token_bytes(shape, tp, dtype), 0
        if isinstance(attention, Attention) and attention.sliding_window is not None:
            slides = attention.sliding_layers
            sliding = slides * min(tokens, attention.sliding_window) * token
        full = (layers - slides) * tokens * token
    if windowed:
        inside = min(tokens, windowed.sliding_window or tokens)
        sliding += windowed.sliding_layers * inside * layer_token_bytes(windowed, tp, dtype)
    if shape.indexer:
        full += shape.indexer.layers * tokens * index_token_bytes(shape.indexer)
    return {"full": full, "sliding": sliding}


def state_bytes(linear: LinearAttention, tp: int, dtype: Dtype) -> float:
    """Bytes of one layer's state for one sequence on one rank, however long its context.

    The recurrent state in its own dtype, and the convolution's last tokens in the model's.
    """
    state = RECURRENT[linear.kind].state(linear, tp)
    recurrent = state.recurrent * (linear.state_dtype or dtype).bits
    return (recurrent + state.convolution * dtype.bits) / 8


def sequence_bytes(shape: ModelShape, tp: int) -> float:
    """Bytes that every sequence holds on one rank besides its KV: the states of linear layers."""
    if shape.linear is None:
        return 0.0
    return shape.linear.layers * state_bytes(shape.linear, tp, shape.dtype)


def request_bytes(shape: ModelShape, tokens: float, tp: int, dtype: Dtype) -> float:
    """Bytes one request of `tokens` of context holds on one rank, states included."""
    return kv_bytes(shape, tokens, tp, dtype) + sequence_bytes(shape, tp)
