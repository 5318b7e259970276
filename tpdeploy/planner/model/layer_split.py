"""Explain: how tensor parallelism splits one layer of each kind, and what all-reduces carry."""

from collections.abc import Iterator

from tpdeploy.errors import InputError
from tpdeploy.planner.model.attention.kinds import attentions
from tpdeploy.planner.model.attention.mixer import AttentionMixer
from tpdeploy.planner.model.recurrent.kinds import RECURRENT
from tpdeploy.planner.model.sharding import columns_per_rank, head_problem, legal_widths
from tpdeploy.planner.model.tensors import QK_NORM_BYTES, all_reduces, norm_all_reduces
from tpdeploy.profiles.models.shape import DenseMlp, Experts, LinearAttention, ModelShape
from tpdeploy.profiles.record import Dtype, Record

# Widths offered when the one asked for is illegal: those of the machines people have.
WIDEST_OFFERED = 16


class Block(Record):
    """One half of a layer: column-parallel, then row-parallel, then an all-reduce."""

    name: str
    column_parallel: str
    column_outputs: int
    columns_per_gpu: int
    middle: str
    row_parallel: str
    row_inputs: int
    rows_per_gpu: int


class LayerSplit(Record):
    """One layer of a model at a tensor-parallel width, for a step of `tokens` tokens."""

    model: str
    tensor: int
    tokens: int
    dtype: Dtype
    layers: int
    hidden: int
    hidden_columns_per_gpu: int
    local_output_bytes: int
    all_reduce_bytes: int
    all_reduces_per_step: int
    norm_all_reduces_per_step: int
    norm_all_reduce_bytes: int
    logits_bytes: int
    parallel_blocks: bool
    blocks: tuple[Block, ...]


def explain(shape: ModelShape, tp: int, tokens: int) -> LayerSplit:
    """The split of one layer of `shape` at width `tp`.

    `local_output_bytes` is a GPU's share of an output as wide as the hidden size; each
    all-reduce sums `tokens` x hidden partial results over all GPUs. `logits_bytes` are those of
    one sampled token, gathered once a step.

    Raises:
        InputError: the width is illegal for this model; the message lists legal ones.
    """
    problem = head_problem(shape, tp)
    if problem:
        legal = ", ".join(map(str, legal_widths(shape, WIDEST_OFFERED)))
        raise InputError(f"--tp {tp}: {problem}; legal widths for {shape.id}: {legal}")
    value = shape.dtype.bits // 8
    columns = columns_per_rank(shape.hidden, tp)
    return LayerSplit(
        model=shape.id,
        tensor=tp,
        tokens=tokens,
        dtype=shape.dtype,
        layers=shape.layers,
        hidden=shape.hidden,
        hidden_columns_per_gpu=columns,
        local_output_bytes=tokens * columns * value,
        all_reduce_bytes=tokens * shape.hidden * value,
        all_reduces_per_step=all_reduces(shape) if tp > 1 else 0,
        norm_all_reduces_per_step=norm_all_reduces(shape) if tp > 1 else 0,
        norm_all_reduce_bytes=tokens * QK_NORM_BYTES,
        logits_bytes=shape.vocab * value,
        parallel_blocks=shape.parallel_blocks,
        blocks=tuple(_blocks(shape, tp)),
    )


def _blocks(shape: ModelShape, tp: int) -> Iterator[Block]:
    """One of each kind that the model's layers are made of."""
    if shape.linear:
        yield _linear_block(shape.linear, shape.layers, tp)
    for attention in reversed(attentions(shape)):
        if attention.layers:
            name = _among(f"{attention.prefix}attention", attention.layers, shape.layers)
            yield _attention_block(attention, name, tp)
    for mlp, layers in shape.mlps:
        if shape.experts is None or mlp.layers:
            yield _mlp_block(mlp, _among("MLP", layers, shape.layers), tp)
    if shape.experts:
        yield _experts_block(shape.experts, shape.layers, tp)


def _among(name: str, layers: int, of: int) -> str:
    """`name`, and in how many layers it is if not in all."""
    return name if layers == of else f"{name} ({layers} of {of} layers)"


def _linear_block(linear: LinearAttention, layers: int, tp: int) -> Block:
    share = columns_per_rank(linear.values, tp)
    heads = f"{linear.value_heads // tp} of {linear.value_heads} heads"
    state = f"{linear.key_size} x {linear.value_size} of state each"
    mixer = RECURRENT[linear.kind]
    return Block(
        name=_among(mixer.name, linear.layers, layers),
        column_parallel=mixer.column_parallel,
        column_outputs=linear.values,
        columns_per_gpu=share,
        middle=f"{heads}, {state}",
        row_parallel="output",
        row_inputs=linear.values,
        rows_per_gpu=share,
    )


def _attention_block(attention: AttentionMixer, name: str, tp: int) -> Block:
    drawn = attention.projections(tp)
    return Block(
        name=name,
        column_parallel=drawn.name,
        column_outputs=drawn.outputs,
        columns_per_gpu=columns_per_rank(drawn.outputs, tp),
        middle=drawn.middle,
        row_parallel="output",
        row_inputs=drawn.inputs,
        rows_per_gpu=columns_per_rank(drawn.inputs, tp),
    )


def _mlp_block(dense: DenseMlp, name: str, tp: int) -> Block:
    share = columns_per_rank(dense.intermediate, tp)
    return Block(
        name=name,
        column_parallel="gate and up" if dense.gated else "up",
        column_outputs=dense.intermediate,
        columns_per_gpu=share,
        middle="activation, each GPU its own columns",
        row_parallel="down",
        row_inputs=dense.intermediate,
        rows_per_gpu=share,
    )


def _experts_block(experts: Experts, layers: int, tp: int) -> Block:
    share = columns_per_rank(experts.intermediate, tp)
    routed = experts.count + experts.weightless
    beside = f" ({experts.weightless} without weights)" if experts.weightless else ""
    wide = experts.shared_intermediate
    shared = f"; shared: {columns_per_rank(wide, tp):,} of {wide:,} columns" if wide else ""
    return Block(
        name=_among("experts", experts.layers, layers),
        column_parallel=f"{'gate and up' if experts.gated else 'up'} of each expert",
        column_outputs=experts.intermediate,
        columns_per_gpu=share,
        middle=f"{experts.per_token} of {routed} experts per token{beside}, each split{shared}",
        row_parallel="down of each expert",
        row_inputs=experts.intermediate,
        rows_per_gpu=share,
    )
