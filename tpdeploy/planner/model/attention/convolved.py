"""Short convolutions of K and V (Inkling), and what a sequence holds of all that a layer has."""

from collections.abc import Iterator

from tpdeploy.planner.model.tensor import Split, Tensor, TensorMaker, kv_heads_per_rank
from tpdeploy.profiles.models.shape import Attention, ModelShape

# A window of as many tokens as a block has may reach into two of them.
BLOCKS = 2


def convolution_tensors(
    attention: Attention, layers: int, prefix: str, make: TensorMaker
) -> Iterator[Tensor]:
    """One weight for each value of K and V, and each token that a convolution spans."""
    if taps := make.shape.short_convolution:
        heads = attention.kv_heads
        wide, name = 2 * heads * attention.head_size, f"{prefix}k and v convolutions"
        yield make.vector(name, wide, layers, Split.KV, inputs=taps, kv_heads=heads)


def convolution_bytes(attention: Attention, shape: ModelShape, tp: int) -> float:
    """Bytes that a sequence holds in one layer on one rank: what its convolutions saw last.

    vLLM 0.32 keeps it in blocks of as many tokens as they span, by KV head and padded to a power of
    two (InklingConvState in its models/inkling/nvidia/sconv_swa_attn.py).
    """
    if shape.short_convolution is None:
        return 0.0
    heads = attention.kv_heads
    each = 2 * attention.head_size + 2 * shape.hidden // heads
    values = kv_heads_per_rank(heads, tp) * (1 << (each - 1).bit_length())
    return BLOCKS * shape.short_convolution * values * shape.dtype.bits / 8
