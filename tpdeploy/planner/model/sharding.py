"""Sharding: what tensor parallelism does to every parameter tensor of a model."""

from collections.abc import Iterator
from math import ceil, gcd

from tpdeploy.planner.model.attention.kinds import attentions
from tpdeploy.planner.model.recurrent.kinds import RECURRENT
from tpdeploy.planner.model.tensor import Split, Tensor, kv_heads_per_rank
from tpdeploy.planner.model.tensors import parameter_count, tensors
from tpdeploy.profiles.models.shape import ModelShape, Quantization

__all__ = [
    "Split",
    "Tensor",
    "columns_per_rank",
    "cuts_expert_blocks",
    "head_problem",
    "legal_widths",
    "padded_vocabulary",
    "parameter_count",
    "rank_bytes",
    "rank_elements",
    "tensors",
]

# Engines pad the vocabulary to this multiple before splitting it (vLLM, TensorRT-LLM).
VOCABULARY_MULTIPLE = 64
# vLLM 0.32 cuts the scales of an FP8 expert's 128 x 128 blocks finer where a shard needs it, down
# to this (refine_fp8_moe_block_shape in its fused_moe/oracle/fp8.py).
FINEST_EXPERT_BLOCK = 32


def rank_elements(tensor: Tensor, tp: int) -> int:
    """Values of one such tensor on each of `tp` ranks, padding and replicas included."""
    match tensor.split:
        case Split.ROW:
            return tensor.outputs * _rank_inputs(tensor, tp)
        case _:
            return _rank_outputs(tensor, tp) * tensor.inputs


def rank_bytes(tensor: Tensor, tp: int) -> float:
    """Bytes of one such tensor on each of `tp` ranks, as stored."""
    return rank_elements(tensor, tp) * tensor.bits / 8


def columns_per_rank(columns: int, tp: int) -> int:
    """Columns (or rows) each of `tp` ranks holds; the last may hold padding."""
    return ceil(columns / tp)


def padded_vocabulary(vocab: int) -> int:
    """The vocabulary as engines store it."""
    return ceil(vocab / VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE


def head_problem(shape: ModelShape, tp: int, *, expert_shards: int | None = None) -> str | None:
    """Why `shape` cannot be split over `tp` ranks by any engine, in words; None if it can.

    A routed expert is divided over `expert_shards` ranks, 1 with expert parallelism; None: `tp`.
    """
    return next(_problems(shape, tp, expert_shards or tp), None)


def legal_widths(
    shape: ModelShape, up_to: int, *, expert_parallel: bool = False
) -> tuple[int, ...]:
    """Widths from 1 to `up_to` that `shape` can be split over."""
    return tuple(
        tp
        for tp in range(1, up_to + 1)
        if head_problem(shape, tp, expert_shards=1 if expert_parallel else tp) is None
    )


def cuts_expert_blocks(shape: ModelShape, tp: int) -> bool:
    """Whether `tp` ranks each hold a part of an expert that cuts through a block with one scale."""
    stored = shape.quantization
    if stored is None or not stored.input_block or not stored.output_block:
        return False
    cut = [t for t in tensors(shape) if t.routed and t.dtype is stored.weights]
    return any(share % block for _, share, block in (_shard(t, tp, stored) for t in cut))


def _rank_outputs(tensor: Tensor, tp: int) -> int:
    match tensor.split:
        case Split.COLUMN:
            return columns_per_rank(tensor.outputs, tp)
        case Split.KV:
            head_size = tensor.outputs // tensor.kv_heads
            return kv_heads_per_rank(tensor.kv_heads, tp) * head_size
        case Split.VOCAB:
            return columns_per_rank(padded_vocabulary(tensor.outputs), tp)
        case Split.ROW | Split.REPLICATED:
            return tensor.outputs


def _rank_inputs(tensor: Tensor, tp: int) -> int:
    return columns_per_rank(tensor.inputs, tp) if tensor.split is Split.ROW else tensor.inputs


def _shard(tensor: Tensor, tp: int, stored: Quantization) -> tuple[str, int, int]:
    """The side that `tp` ranks divide, what each holds, and its block with one scale (or 0)."""
    if tensor.split is Split.ROW:
        return "inputs", _rank_inputs(tensor, tp), stored.input_block or 0
    return "outputs", _rank_outputs(tensor, tp), stored.output_block or 0


def _problems(shape: ModelShape, tp: int, expert_shards: int) -> Iterator[str]:
    for attention in attentions(shape):
        if attention.layers:
            yield from attention.problems(tp)
    if shape.linear:
        yield from RECURRENT[shape.linear.kind].problems(shape.linear, tp)
    for name, width, over in _widths(shape, tp, expert_shards):
        if width % over:
            yield f"{name} of {width:,} cannot be divided by {over}"
    yield from _block_problems(shape, tp, expert_shards)
    vocabulary = padded_vocabulary(shape.vocab)
    if vocabulary % tp:
        yield f"vocabulary of {vocabulary:,} (padded) cannot be divided by {tp}"


def _widths(shape: ModelShape, tp: int, expert_shards: int) -> Iterator[tuple[str, int, int]]:
    """Each width that is divided, and by what."""
    for mlp, _ in shape.mlps:
        yield "MLP width", mlp.intermediate, tp
    if shape.layer_inputs and shape.layer_inputs.bypass_rank:
        yield "rank of the bypass", shape.layer_inputs.bypass_rank, tp
    if shape.experts:
        yield "expert width", shape.experts.intermediate, expert_shards
        if shape.experts.shared_intermediate:
            yield "shared expert width", shape.experts.shared_intermediate, tp


def _block_problems(shape: ModelShape, tp: int, expert_shards: int) -> Iterator[str]:
    """Shards of quantized weights that would cut through a block that shares a scale."""
    stored = shape.quantization
    if stored is None:
        return
    for tensor in tensors(shape):
        if tensor.dtype is not stored.weights or tensor.split is Split.REPLICATED:
            continue
        over = expert_shards if tensor.routed else tp
        if over == 1:
            continue
        side, share, block = _shard(tensor, over, stored)
        finer = gcd(block or 1, share, shape.hidden) if tensor.routed and stored.output_block else 1
        if block and share % block and finer < FINEST_EXPERT_BLOCK:
            yield (
                f"{side} of {tensor.name!r} would be {share:,} a GPU, not a multiple of the "
                f"{stored.method} block of {block}"
            )
