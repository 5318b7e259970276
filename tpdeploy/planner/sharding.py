"""Sharding: every parameter tensor of a model, and what tensor parallelism does to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import ceil

from tpdeploy.planner.kv_cache import kv_heads_per_rank
from tpdeploy.profiles.model import Attention, DenseMlp, Experts, LatentAttention, ModelShape
from tpdeploy.profiles.record import Dtype

# Engines pad the vocabulary to this multiple before splitting it (vLLM, TensorRT-LLM).
VOCABULARY_MULTIPLE = 64


class Split(StrEnum):
    """What each rank holds of a tensor."""

    COLUMN = "column"  # a share of the outputs
    ROW = "row"  # a share of the inputs; the outputs are summed by an all-reduce
    KV = "kv"  # a share of the KV heads, at least one
    VOCAB = "vocab"  # a share of the padded vocabulary
    REPLICATED = "replicated"


@dataclass(frozen=True)
class Tensor:
    """`count` equal parameter tensors of `outputs` x `inputs` (a vector has one input)."""

    name: str
    count: int
    outputs: int
    inputs: int
    split: Split
    dtype: Dtype
    bits: float  # stored bits per value, scales included
    matmul: bool = True  # a matrix product with every token (or every sampled one: `head`)
    routed: bool = False  # belongs to one of the routed experts
    head: bool = False  # the output head
    stored: bool = True  # False: tied to another tensor
    kv_heads: int = 0

    @property
    def elements(self) -> int:
        """Values in one of them, over all ranks, padding and replicas not counted."""
        return self.outputs * self.inputs


def tensors(shape: ModelShape) -> tuple[Tensor, ...]:
    """Every parameter tensor of `shape`, equal ones of different layers together."""
    return tuple(_Builder(shape).all())


def parameter_count(shape: ModelShape) -> int:
    """Parameters of the whole model, tied ones once."""
    return sum(t.count * t.elements for t in tensors(shape) if t.stored)


def rank_elements(tensor: Tensor, tp: int) -> int:
    """Values of one such tensor on each of `tp` ranks, padding and replicas included."""
    match tensor.split:
        case Split.COLUMN:
            return columns_per_rank(tensor.outputs, tp) * tensor.inputs
        case Split.ROW:
            return tensor.outputs * columns_per_rank(tensor.inputs, tp)
        case Split.KV:
            head = tensor.outputs // tensor.kv_heads
            return kv_heads_per_rank(tensor.kv_heads, tp) * head * tensor.inputs
        case Split.VOCAB:
            return columns_per_rank(padded_vocabulary(tensor.outputs), tp) * tensor.inputs
        case Split.REPLICATED:
            return tensor.elements


def rank_bytes(tensor: Tensor, tp: int) -> float:
    """Bytes of one such tensor on each of `tp` ranks, as stored."""
    return rank_elements(tensor, tp) * tensor.bits / 8


def rank_weight_bytes(shape: ModelShape, tp: int) -> float:
    """Bytes of all weights on each of `tp` ranks, as stored."""
    return sum(t.count * rank_bytes(t, tp) for t in tensors(shape) if t.stored)


def columns_per_rank(columns: int, tp: int) -> int:
    """Columns (or rows) each of `tp` ranks holds; the last may hold padding."""
    return ceil(columns / tp)


def padded_vocabulary(vocab: int) -> int:
    """The vocabulary as engines store it."""
    return ceil(vocab / VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE


def head_problem(shape: ModelShape, tp: int) -> str | None:
    """Why `shape` cannot be split over `tp` ranks, in words; None if it can."""
    attention = shape.attention
    if attention.heads % tp:
        return f"{attention.heads} attention heads cannot be divided by {tp}"
    if isinstance(attention, Attention):
        kv = attention.kv_heads
        if kv % tp and tp % kv:
            return f"{kv} KV heads can be neither divided by {tp} nor replicated to it evenly"
    for name, width in _widths(shape):
        if width % tp:
            return f"{name} of {width:,} cannot be divided by {tp}"
        block = shape.quantization.block if shape.quantization else None
        if block and (width // tp) % block:
            return (
                f"{name} of {width:,} over {tp} is {width // tp:,} a rank, not a multiple of "
                f"the quantization block of {block}"
            )
    if padded_vocabulary(shape.vocab) % tp:
        return f"vocabulary of {padded_vocabulary(shape.vocab):,} (padded) cannot be divided by {tp}"
    return None


def legal_widths(shape: ModelShape, up_to: int) -> tuple[int, ...]:
    """Widths from 1 to `up_to` that `shape` can be split over."""
    return tuple(tp for tp in range(1, up_to + 1) if head_problem(shape, tp) is None)


def _widths(shape: ModelShape) -> Iterator[tuple[str, int]]:
    if shape.mlp:
        yield "MLP width", shape.mlp.intermediate
    if shape.experts:
        yield "expert width", shape.experts.intermediate
        if shape.experts.shared_intermediate:
            yield "shared expert width", shape.experts.shared_intermediate


class _Builder:
    """Lists the tensors of one model, part by part."""

    def __init__(self, shape: ModelShape) -> None:
        self.shape = shape
        self.hidden = shape.hidden
        quantization = shape.quantization
        self.plain = (shape.dtype, float(shape.dtype.bits))
        self.packed = self.plain
        if quantization:
            scale = quantization.scale_bits / (quantization.group_size or 1)
            self.packed = (quantization.weights, quantization.weights.bits + scale)
        self.experts_only = quantization is not None and quantization.scope == "experts"

    def all(self) -> Iterator[Tensor]:
        yield from self._embeddings()
        if isinstance(self.shape.attention, LatentAttention):
            yield from self._latent_attention(self.shape.attention)
        else:
            yield from self._attention(self.shape.attention)
        yield from self._norms()
        sparse = self.shape.experts.layers if self.shape.experts else 0
        if self.shape.mlp:
            yield from self._mlp(self.shape.mlp, self.shape.layers - sparse)
        if self.shape.experts:
            yield from self._experts(self.shape.experts)
        yield from self._head()

    def _linear(
        self, name: str, outputs: int, inputs: int, split: Split, *, count: int = 0,
        routed: bool = False, kv_heads: int = 0,
    ) -> Tensor:
        dtype, bits = self.packed if routed or not self.experts_only else self.plain
        return Tensor(
            name, count or self.shape.layers, outputs, inputs, split, dtype, bits,
            routed=routed, kv_heads=kv_heads,
        )

    def _vector(
        self, name: str, size: int, split: Split = Split.REPLICATED, *, count: int = 0,
        kv_heads: int = 0,
    ) -> Tensor:
        dtype, bits = self.plain
        return Tensor(
            name, count or self.shape.layers, size, 1, split, dtype, bits,
            matmul=False, kv_heads=kv_heads,
        )

    def _matrix(
        self, name: str, outputs: int, inputs: int, split: Split, *, count: int = 1,
        matmul: bool = False, head: bool = False, stored: bool = True,
    ) -> Tensor:
        """A matrix that quantization leaves alone."""
        dtype, bits = self.plain
        return Tensor(
            name, count, outputs, inputs, split, dtype, bits, matmul=matmul, head=head,
            stored=stored,
        )

    def _embeddings(self) -> Iterator[Tensor]:
        shape = self.shape
        yield self._matrix("embedding", shape.vocab, self.hidden, Split.VOCAB)
        if shape.learned_positions:
            rows = shape.learned_positions
            yield self._matrix("positions", rows, self.hidden, Split.REPLICATED)

    def _attention(self, attention: Attention) -> Iterator[Tensor]:
        wide, kv = attention.heads * attention.head_size, attention.kv_heads
        narrow = kv * attention.head_size
        yield self._linear("q", wide, self.hidden, Split.COLUMN)
        for name in ("k", "v"):
            yield self._linear(name, narrow, self.hidden, Split.KV, kv_heads=kv)
            if attention.qkv_bias:
                yield self._vector(f"{name} bias", narrow, Split.KV, kv_heads=kv)
        yield self._linear("output", self.hidden, wide, Split.ROW)
        if attention.qkv_bias:
            yield self._vector("q bias", wide, Split.COLUMN)
        if attention.output_bias:
            yield self._vector("output bias", self.hidden)
        if attention.qk_norm:
            yield self._vector("qk norms", 2 * attention.head_size)
        if attention.sinks:
            yield self._vector("sinks", attention.heads, Split.COLUMN)

    def _latent_attention(self, mla: LatentAttention) -> Iterator[Tensor]:
        query = mla.heads * (mla.qk_nope_size + mla.qk_rope_size)
        if mla.q_lora_rank is None:
            yield self._linear("q", query, self.hidden, Split.COLUMN)
        else:
            yield self._linear("q down", mla.q_lora_rank, self.hidden, Split.REPLICATED)
            yield self._vector("q norm", mla.q_lora_rank)
            yield self._linear("q up", query, mla.q_lora_rank, Split.COLUMN)
        latent = mla.kv_lora_rank + mla.qk_rope_size
        yield self._linear("kv down", latent, self.hidden, Split.REPLICATED)
        yield self._vector("kv norm", mla.kv_lora_rank)
        up = mla.heads * (mla.qk_nope_size + mla.v_size)
        yield self._linear("kv up", up, mla.kv_lora_rank, Split.COLUMN)
        yield self._linear("output", self.hidden, mla.heads * mla.v_size, Split.ROW)

    def _norms(self) -> Iterator[Tensor]:
        per_norm = self.hidden * (2 if self.shape.norm_bias else 1)
        yield self._vector("norms", self.shape.norms_per_layer * per_norm)
        yield self._vector("final norm", per_norm, count=1)

    def _mlp(
        self, mlp: DenseMlp, layers: int, name: str = ""
    ) -> Iterator[Tensor]:
        for part in ("gate", "up") if mlp.gated else ("up",):
            yield self._linear(
                name + part, mlp.intermediate, self.hidden, Split.COLUMN, count=layers
            )
            if mlp.bias:
                yield self._vector(
                    f"{name}{part} bias", mlp.intermediate, Split.COLUMN, count=layers
                )
        yield self._linear(name + "down", self.hidden, mlp.intermediate, Split.ROW, count=layers)
        if mlp.bias:
            yield self._vector(f"{name}down bias", self.hidden, count=layers)

    def _experts(self, experts: Experts) -> Iterator[Tensor]:
        layers, width = experts.layers, experts.intermediate
        yield self._matrix(
            "router", experts.count, self.hidden, Split.REPLICATED, count=layers, matmul=True
        )
        if experts.router_bias:
            yield self._vector("router bias", experts.count, count=layers)
        each = layers * experts.count
        for part in ("gate", "up"):
            yield self._linear(
                f"expert {part}", width, self.hidden, Split.COLUMN, count=each, routed=True
            )
        yield self._linear("expert down", self.hidden, width, Split.ROW, count=each, routed=True)
        if experts.bias:
            yield self._vector("expert gate and up bias", 2 * width, Split.COLUMN, count=each)
            yield self._vector("expert down bias", self.hidden, count=each)
        if experts.shared_intermediate:
            shared = DenseMlp(intermediate=experts.shared_intermediate)
            yield from self._mlp(shared, layers, "shared expert ")
        if experts.shared_gate:
            yield self._vector("shared expert gate", self.hidden, count=layers)

    def _head(self) -> Iterator[Tensor]:
        shape = self.shape
        yield self._matrix(
            "head", shape.vocab, self.hidden, Split.VOCAB,
            matmul=True, head=True, stored=not shape.tied_embeddings,
        )
        if shape.head_bias:
            yield self._vector("head bias", shape.vocab, count=1)
