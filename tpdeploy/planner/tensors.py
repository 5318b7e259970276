"""Tensors: every parameter tensor of a model, what it is for and how it is split."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from tpdeploy.profiles.model import Attention, DenseMlp, Experts, LatentAttention, ModelShape
from tpdeploy.profiles.record import Dtype


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
    """Parameters of the whole model, tied ones once, as if nothing were quantized."""
    return sum(t.count * t.elements for t in tensors(shape) if t.stored)


class _Builder:
    """Lists the tensors of one model, part by part."""

    def __init__(self, shape: ModelShape) -> None:
        self.shape = shape
        self.hidden = shape.hidden
        self.plain = (shape.dtype, float(shape.dtype.bits))

    def all(self) -> Iterator[Tensor]:
        shape = self.shape
        yield from self._embeddings()
        if isinstance(shape.attention, LatentAttention):
            yield from self._latent_attention(shape.attention)
        else:
            yield from self._attention(shape.attention)
        yield from self._norms()
        sparse = shape.experts.layers if shape.experts else 0
        if shape.mlp:
            yield from self._mlp(shape.mlp, shape.layers - sparse)
        if shape.experts:
            yield from self._experts(shape.experts)
        yield from self._head()

    def _linear(
        self,
        name: str,
        outputs: int,
        inputs: int,
        split: Split,
        *,
        count: int = 0,
        routed: bool = False,
        kv_heads: int = 0,
    ) -> Tensor:
        """A linear layer's weight, in the quantized format unless that leaves it out."""
        dtype, bits = self._format(name)
        return Tensor(
            name,
            count or self.shape.layers,
            outputs,
            inputs,
            split,
            dtype,
            bits,
            routed=routed,
            kv_heads=kv_heads,
        )

    def _format(self, name: str) -> tuple[Dtype, float]:
        stored = self.shape.quantization
        if stored is None or name in stored.excluded:
            return self.plain
        scale = stored.scale_bits / stored.group_size if stored.group_size else 0.0
        return stored.weights, stored.weights.bits + scale

    def _vector(
        self,
        name: str,
        size: int,
        split: Split = Split.REPLICATED,
        *,
        count: int = 0,
        kv_heads: int = 0,
    ) -> Tensor:
        dtype, bits = self.plain
        return Tensor(
            name,
            count or self.shape.layers,
            size,
            1,
            split,
            dtype,
            bits,
            matmul=False,
            kv_heads=kv_heads,
        )

    def _matrix(
        self,
        name: str,
        outputs: int,
        split: Split,
        *,
        count: int = 1,
        matmul: bool = False,
        head: bool = False,
        stored: bool = True,
    ) -> Tensor:
        """A matrix on the hidden state that quantization leaves alone."""
        dtype, bits = self.plain
        return Tensor(
            name,
            count,
            outputs,
            self.hidden,
            split,
            dtype,
            bits,
            matmul=matmul,
            head=head,
            stored=stored,
        )

    def _embeddings(self) -> Iterator[Tensor]:
        yield self._matrix("embedding", self.shape.vocab, Split.VOCAB)
        if self.shape.learned_positions:
            yield self._matrix("positions", self.shape.learned_positions, Split.REPLICATED)

    def _attention(self, attention: Attention) -> Iterator[Tensor]:
        size, kv = attention.head_size, attention.kv_heads
        wide, narrow = attention.heads * size, kv * size
        yield self._linear("q", wide, self.hidden, Split.COLUMN)
        yield self._linear("k", narrow, self.hidden, Split.KV, kv_heads=kv)
        yield self._linear("v", narrow, self.hidden, Split.KV, kv_heads=kv)
        yield self._linear("output", self.hidden, wide, Split.ROW)
        if attention.qkv_bias:
            yield self._vector("q bias", wide, Split.COLUMN)
            yield self._vector("k bias", narrow, Split.KV, kv_heads=kv)
            yield self._vector("v bias", narrow, Split.KV, kv_heads=kv)
        if attention.output_bias:
            yield self._vector("output bias", self.hidden)
        if attention.qk_norm == "head":
            yield self._vector("q and k norms", 2 * size)
        if attention.qk_norm == "projection":
            yield self._vector("q norm", wide, Split.COLUMN)
            yield self._vector("k norm", narrow, Split.KV, kv_heads=kv)
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
        keys_and_values = mla.heads * (mla.qk_nope_size + mla.v_size)
        yield self._linear("kv up", keys_and_values, mla.kv_lora_rank, Split.COLUMN)
        yield self._linear("output", self.hidden, mla.heads * mla.v_size, Split.ROW)

    def _norms(self) -> Iterator[Tensor]:
        per_norm = self.hidden * (2 if self.shape.norm_bias else 1)
        yield self._vector("norms", self.shape.norms_per_layer * per_norm)
        yield self._vector("final norm", per_norm, count=1)

    def _mlp(self, mlp: DenseMlp, layers: int, prefix: str = "") -> Iterator[Tensor]:
        wide = mlp.intermediate
        for part in ("gate", "up") if mlp.gated else ("up",):
            name = prefix + part
            yield self._linear(name, wide, self.hidden, Split.COLUMN, count=layers)
            if mlp.bias:
                yield self._vector(f"{name} bias", wide, Split.COLUMN, count=layers)
        yield self._linear(f"{prefix}down", self.hidden, wide, Split.ROW, count=layers)
        if mlp.bias:
            yield self._vector(f"{prefix}down bias", self.hidden, count=layers)

    def _experts(self, experts: Experts) -> Iterator[Tensor]:
        layers, wide, hidden = experts.layers, experts.intermediate, self.hidden
        each = layers * experts.count
        router = ("router", experts.count, Split.REPLICATED)
        yield self._matrix(*router, count=layers, matmul=True)
        if experts.router_bias:
            yield self._vector("router bias", experts.count, count=layers)
        for name in ("expert gate", "expert up"):
            yield self._linear(name, wide, hidden, Split.COLUMN, count=each, routed=True)
        yield self._linear("expert down", hidden, wide, Split.ROW, count=each, routed=True)
        if experts.bias:
            yield self._vector("expert gate and up bias", 2 * wide, Split.COLUMN, count=each)
            yield self._vector("expert down bias", hidden, count=each)
        if experts.shared_intermediate:
            shared = DenseMlp(intermediate=experts.shared_intermediate)
            yield from self._mlp(shared, layers, "shared expert ")
        if experts.shared_gate:
            yield self._vector("gate of the shared expert", hidden, count=layers)

    def _head(self) -> Iterator[Tensor]:
        tied = self.shape.tied_embeddings
        vocabulary = ("head", self.shape.vocab, Split.VOCAB)
        yield self._matrix(*vocabulary, matmul=True, head=True, stored=not tied)
        if self.shape.head_bias:
            yield self._vector("head bias", self.shape.vocab, Split.VOCAB, count=1)
