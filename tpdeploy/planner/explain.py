"""Explain: how tensor parallelism splits one layer, and what its two all-reduces carry."""

from tpdeploy.errors import InputError
from tpdeploy.planner.kv_cache import kv_heads_per_rank
from tpdeploy.planner.sharding import columns_per_rank, head_problem, legal_widths
from tpdeploy.profiles.model import Attention, ModelShape
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
    blocks: tuple[Block, ...]


def explain(shape: ModelShape, tp: int, tokens: int) -> LayerSplit:
    """The split of one layer of `shape` at width `tp`.

    `local_output_bytes` is a GPU's share of an output as wide as the hidden size; each
    all-reduce sums `tokens` x hidden partial results over all GPUs.

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
        all_reduces_per_step=2 * shape.layers if tp > 1 else 0,
        blocks=(_attention_block(shape, tp), _mlp_block(shape, tp)),
    )


def _attention_block(shape: ModelShape, tp: int) -> Block:
    attention = shape.attention
    heads = f"{attention.heads // tp} of {attention.heads} heads"
    if isinstance(attention, Attention):
        outputs = attention.heads * attention.head_size
        kv = kv_heads_per_rank(attention.kv_heads, tp)
        replicated = " (replicated)" if tp > attention.kv_heads else ""
        middle = f"{heads}, {kv} of {attention.kv_heads} KV heads{replicated}"
        projection = "Q of QKV"
    else:
        outputs = attention.heads * attention.v_size
        middle = f"{heads}, the {attention.kv_lora_rank}-wide KV latent whole on every GPU"
        projection = "per-head V of MLA"
    share = columns_per_rank(outputs, tp)
    return Block(
        name="attention",
        column_parallel=projection,
        column_outputs=outputs,
        columns_per_gpu=share,
        middle=middle,
        row_parallel="output",
        row_inputs=outputs,
        rows_per_gpu=share,
    )


def _mlp_block(shape: ModelShape, tp: int) -> Block:
    experts, dense = shape.experts, shape.mlp
    if experts is not None:
        width = experts.intermediate
        middle = f"{experts.per_token} of {experts.count} experts a token, each split"
        column, row = "gate and up of each expert", "down of each expert"
    else:
        assert dense is not None  # noqa: S101 - a model without experts has a dense MLP
        width, row = dense.intermediate, "down"
        column = "gate and up" if dense.gated else "up"
        middle = "activation, each GPU its own columns"
    share = columns_per_rank(width, tp)
    return Block(
        name="MLP" if experts is None else "experts",
        column_parallel=column,
        column_outputs=width,
        columns_per_gpu=share,
        middle=middle,
        row_parallel=row,
        row_inputs=width,
        rows_per_gpu=share,
    )
