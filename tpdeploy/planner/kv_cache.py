"""KV cache: what one token and one request cost on each rank."""

from math import ceil

from tpdeploy.profiles.model import Attention, LatentAttention, ModelShape
from tpdeploy.profiles.record import Dtype


def kv_heads_per_rank(kv_heads: int, tp: int) -> int:
    """KV heads on each rank; beyond one a rank they are replicated."""
    return max(1, ceil(kv_heads / tp))


def layer_token_bytes(attention: Attention | LatentAttention, tp: int, dtype: Dtype) -> float:
    """Bytes of one token's KV in one layer on one rank; MLA's latent is whole on every rank."""
    if isinstance(attention, LatentAttention):
        values = attention.kv_lora_rank + attention.qk_rope_size
    else:
        values = 2 * kv_heads_per_rank(attention.kv_heads, tp) * attention.head_size
    return values * dtype.bits / 8


def token_bytes(shape: ModelShape, tp: int, dtype: Dtype) -> float:
    """Bytes one more token of context costs on one rank while no window is full."""
    return shape.layers * layer_token_bytes(shape.attention, tp, dtype)


def windowed_tokens(shape: ModelShape, tokens: float) -> float:
    """Tokens of KV a request of `tokens` holds, averaged over layers (windows hold fewer)."""
    attention = shape.attention
    if isinstance(attention, LatentAttention) or attention.sliding_window is None:
        return tokens
    sliding = attention.sliding_layers
    inside = min(tokens, attention.sliding_window)
    return (sliding * inside + (shape.layers - sliding) * tokens) / shape.layers


def request_bytes(shape: ModelShape, tokens: float, tp: int, dtype: Dtype) -> float:
    """Bytes one request of `tokens` of context holds on one rank."""
    return windowed_tokens(shape, tokens) * token_bytes(shape, tp, dtype)
