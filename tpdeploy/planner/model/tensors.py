"""Tensors: every parameter tensor of a model, what it is for and how it is split."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from tpdeploy.planner.model.weight_formats import linear_format, stored_bits
from tpdeploy.profiles.models.config.linear_layers import HEAD
from tpdeploy.profiles.models.shape import (
    Attention,
    CompressedAttention,
    DenseMlp,
    Experts,
    Indexer,
    LatentAttention,
    LinearAttention,
    ModelShape,
)
from tpdeploy.profiles.record import Dtype

# One 32-bit sum of squares each of Q and of K, where their norms span the heads of all ranks.
QK_NORM_BYTES = 8


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


def all_reduces(shape: ModelShape) -> int:
    """All-reduces of one step over more than one rank: each mixer, MLP and set of experts ends so.

    What shared experts give is added before the routed experts' all-reduce, and what attention
    gives before the MLP's where both have the same input.
    """
    if shape.parallel_blocks:
        return shape.layers
    mixers = [shape.attention_layers]
    mixers += [kind.layers or 0 for kind in (shape.windowed, shape.linear) if kind]
    return sum(mixers) + shape.mlp_layers + (shape.experts.layers if shape.experts else 0)


def norm_all_reduces(shape: ModelShape) -> int:
    """All-reduces of one step for norms of Q and K that span the heads of all ranks."""
    spans = isinstance(shape.attention, Attention) and shape.attention.qk_norm == "projection"
    return shape.attention_layers if spans else 0


class _Builder:
    """Lists the tensors of one model, part by part."""

    def __init__(self, shape: ModelShape) -> None:
        self.shape = shape
        self.hidden = shape.hidden

    @property
    def _per_norm(self) -> int:
        return self.hidden * (2 if self.shape.norm_bias else 1)

    def all(self) -> Iterator[Tensor]:
        shape = self.shape
        yield from self._embeddings()
        if isinstance(shape.attention, CompressedAttention):
            yield from self._compressed_attention(shape.attention, shape.attention_layers)
        elif isinstance(shape.attention, LatentAttention):
            yield from self._latent_attention(shape.attention, shape.attention_layers)
        else:
            yield from self._attention(shape.attention, shape.attention_layers)
        if shape.windowed:
            yield from self._attention(shape.windowed, shape.windowed.sliding_layers, "windowed ")
        if shape.linear:
            yield from self._linear_attention(shape.linear)
        if shape.indexer:
            yield from self._indexer(shape.indexer)
        yield from self._norms()
        if shape.mlp:
            yield from self._mlp(shape.mlp, shape.mlp_layers)
        if shape.experts:
            yield from self._experts(shape.experts)
        yield from self._head()

    def _linear(
        self,
        name: str,
        outputs: int,
        inputs: int,
        split: Split,
        count: int,
        *,
        routed: bool = False,
        kv_heads: int = 0,
    ) -> Iterator[Tensor]:
        """A linear layer's weights, in the quantized format unless that leaves them out."""
        stored = self.shape.quantization
        kept = dict(stored.partly_excluded).get(name, 0) if stored else 0
        # Each layer has as many of them as there are experts, or one.
        kept *= self.shape.experts.count if routed and self.shape.experts else 1
        format_ = linear_format(stored, name)
        packed = Tensor(
            name,
            count - kept,
            outputs,
            inputs,
            split,
            format_.weights if format_ else self.shape.dtype,
            stored_bits(format_, outputs, inputs) if format_ else self.shape.dtype.bits,
            routed=routed,
            kv_heads=kv_heads,
        )
        if packed.count:
            yield packed
        if kept:
            dtype = self.shape.dtype
            yield replace(
                packed, name=f"{name} ({dtype})", count=kept, dtype=dtype, bits=dtype.bits
            )

    def _vector(
        self,
        name: str,
        size: int,
        count: int,
        split: Split = Split.REPLICATED,
        *,
        inputs: int = 1,
        kv_heads: int = 0,
    ) -> Tensor:
        """What is not a matrix product: biases, norms, scales, short convolutions."""
        dtype = self.shape.dtype
        return Tensor(
            name,
            count,
            size,
            inputs,
            split,
            dtype,
            dtype.bits,
            matmul=False,
            kv_heads=kv_heads,
        )

    def _matrix(
        self, name: str, outputs: int, split: Split, *, count: int = 1, matmul: bool = False
    ) -> Tensor:
        """A matrix on the hidden state that quantization leaves alone."""
        dtype = self.shape.dtype
        return Tensor(name, count, outputs, self.hidden, split, dtype, dtype.bits, matmul=matmul)

    def _embeddings(self) -> Iterator[Tensor]:
        yield self._matrix("embedding", self.shape.vocab, Split.VOCAB)
        if self.shape.learned_positions:
            yield self._matrix("positions", self.shape.learned_positions, Split.REPLICATED)
        if self.shape.embedding_norm:
            yield self._vector("embedding norm", self._per_norm, 1)

    def _attention(self, attention: Attention, n: int, prefix: str = "") -> Iterator[Tensor]:
        size, kv = attention.head_size, attention.kv_heads
        wide, narrow = attention.heads * size, kv * size
        values, kv_values = attention.heads * attention.value_size, kv * attention.value_size
        queries = 2 * wide if attention.output_gate else wide

        def kv_linear(name: str, outputs: int) -> Iterator[Tensor]:
            return self._linear(prefix + name, outputs, self.hidden, Split.KV, n, kv_heads=kv)

        yield from self._linear(f"{prefix}q", queries, self.hidden, Split.COLUMN, n)
        yield from kv_linear("k", narrow)
        if not attention.keys_are_values:
            yield from kv_linear("v", kv_values)
        yield from self._linear(f"{prefix}output", self.hidden, values, Split.ROW, n)
        if attention.qkv_bias:
            yield self._vector(f"{prefix}q bias", queries, n, Split.COLUMN)
            yield self._vector(f"{prefix}k bias", narrow, n, Split.KV, kv_heads=kv)
            if not attention.keys_are_values:
                yield self._vector(f"{prefix}v bias", kv_values, n, Split.KV, kv_heads=kv)
        if attention.output_bias:
            yield self._vector(f"{prefix}output bias", self.hidden, n)
        if attention.qk_norm == "head":
            yield self._vector(f"{prefix}q and k norms", 2 * size, n)
        if attention.qk_norm in ("heads", "projection"):
            yield self._vector(f"{prefix}q norm", wide, n, Split.COLUMN)
            yield self._vector(f"{prefix}k norm", narrow, n, Split.KV, kv_heads=kv)
        if attention.sinks:
            yield self._vector(f"{prefix}sinks", attention.heads, n, Split.COLUMN)

    def _latent_attention(self, mla: LatentAttention, n: int) -> Iterator[Tensor]:
        query = mla.heads * (mla.qk_nope_size + mla.qk_rope_size)
        if mla.q_lora_rank is None:
            yield from self._linear("q", query, self.hidden, Split.COLUMN, n)
        else:
            yield from self._linear("q down", mla.q_lora_rank, self.hidden, Split.REPLICATED, n)
            yield self._vector("q norm", mla.q_lora_rank, n)
            yield from self._linear("q up", query, mla.q_lora_rank, Split.COLUMN, n)
        latent = mla.kv_lora_rank + mla.qk_rope_size
        yield from self._linear("kv down", latent, self.hidden, Split.REPLICATED, n)
        yield self._vector("kv norm", mla.kv_lora_rank, n)
        keys_and_values = mla.heads * (mla.qk_nope_size + mla.v_size)
        yield from self._linear("kv up", keys_and_values, mla.kv_lora_rank, Split.COLUMN, n)
        yield from self._linear("output", self.hidden, mla.heads * mla.v_size, Split.ROW, n)

    def _compressed_attention(self, attention: CompressedAttention, n: int) -> Iterator[Tensor]:
        hidden, size, rank = self.hidden, attention.head_size, attention.q_lora_rank
        queries, groups = attention.heads * size, attention.output_groups
        given = groups * attention.output_rank
        yield from self._linear("q down", rank, hidden, Split.REPLICATED, n)
        yield self._vector("q norm", rank, n)
        yield from self._linear("q up", queries, rank, Split.COLUMN, n)
        yield from self._linear("kv down", size, hidden, Split.REPLICATED, n)
        yield self._vector("kv norm", size, n)
        yield self._vector("sinks", attention.heads, n, Split.COLUMN)
        yield from self._linear("output down", given, queries // groups, Split.COLUMN, n)
        yield from self._linear("output", hidden, given, Split.ROW, n)
        # Entries of sparse layers overlap: twice as wide.
        sparse = ("sparse entries", 2 * size, attention.sparse_ratio, attention.sparse_layers)
        yield from self._compressor(*sparse)
        dense = ("dense entries", size, attention.dense_ratio, attention.dense_layers)
        yield from self._compressor(*dense)
        layers = attention.sparse_layers + attention.dense_layers
        if layers:
            yield self._vector("entries norm", size, layers)

    def _compressor(self, name: str, wide: int, ratio: int, layers: int) -> Iterator[Tensor]:
        """What makes an entry of `ratio` tokens: values, their gate and their positions."""
        if layers:
            yield self._matrix(name, 2 * wide, Split.REPLICATED, count=layers, matmul=True)
            yield self._vector(f"{name} positions", wide, layers, inputs=ratio)

    def _linear_attention(self, linear: LinearAttention) -> Iterator[Tensor]:
        n, hidden, heads = linear.layers, self.hidden, linear.key_heads
        is_mamba = linear.kind == "mamba2"
        # Decay and write strength of each head, or Mamba's step size.
        decay = linear.value_heads * (1 if is_mamba else 2)
        q_and_k = ("linear q and k", 2 * linear.keys, hidden, Split.KV, n)
        yield from self._linear(*q_and_k, kv_heads=heads)
        yield from self._linear("linear v", linear.values, hidden, Split.COLUMN, n)
        yield from self._linear("linear gate", linear.values, hidden, Split.COLUMN, n)
        yield from self._linear("linear decay", decay, hidden, Split.COLUMN, n)
        yield from self._linear("linear output", hidden, linear.values, Split.ROW, n)
        taps = linear.convolution + linear.convolution_bias
        convolved = ("linear q and k convolution", 2 * linear.keys, n, Split.KV)
        yield self._vector(*convolved, inputs=taps, kv_heads=heads)
        yield self._vector("linear v convolution", linear.values, n, Split.COLUMN, inputs=taps)
        # Decay and its bias, and Mamba's skip connection, for each head.
        scalars = linear.value_heads * (3 if is_mamba else 2)
        yield self._vector("linear scalars", scalars, n, Split.COLUMN)
        norm = (linear.values, n, Split.COLUMN) if is_mamba else (linear.value_size, n)
        yield self._vector("linear norm", *norm)

    def _indexer(self, indexer: Indexer) -> Iterator[Tensor]:
        """Engines keep it whole on every rank, but for MiniMax-M3's heads of Q."""
        n, hidden, size = indexer.layers, self.hidden, indexer.head_size
        attention = self.shape.attention
        if isinstance(attention, Attention):
            q = ("index q", indexer.heads * size, hidden, Split.KV, n)
            yield from self._linear(*q, kv_heads=indexer.heads)
        else:
            rank = attention.q_lora_rank or hidden
            weights = ("index weights", indexer.heads, Split.REPLICATED)
            yield self._matrix(*weights, count=n, matmul=True)
            yield from self._linear("index q", indexer.heads * size, rank, Split.REPLICATED, n)
        if indexer.kind == "compressed":
            yield from self._compressor("index entries", 2 * size, indexer.tokens_per_key, n)
            yield self._vector("index norms", size, n)
        else:
            yield from self._linear("index k", size, hidden, Split.REPLICATED, n)
            yield self._vector("index norms", 2 * size, n)

    def _streams(self) -> Iterator[Tensor]:
        """Hyper-connections mix the residual streams before and after each mixer and MLP."""
        m = self.shape.residual_streams
        wide, mixed, ends = m * self.hidden, (2 + m) * m, 2 * self.shape.layers
        fp32 = Dtype.FP32
        plain = Tensor("streams", ends, mixed, wide, Split.REPLICATED, fp32, fp32.bits)
        last = replace(plain, name="last streams", count=1, outputs=m)
        yield from (plain, last)
        for each, scalars in ((plain, mixed + 3), (last, m + 1)):
            name = f"{each.name}: scalars"
            yield replace(each, name=name, outputs=scalars, inputs=1, matmul=False)

    def _norms(self) -> Iterator[Tensor]:
        if self.shape.residual_streams > 1:
            yield from self._streams()
        per_norm = self._per_norm
        if self.shape.norms_per_layer:
            yield self._vector("norms", self.shape.norms_per_layer * per_norm, self.shape.layers)
        if self.shape.final_norm:
            yield self._vector("final norm", per_norm, 1)

    def _mlp(self, mlp: DenseMlp, layers: int, prefix: str = "") -> Iterator[Tensor]:
        wide = mlp.intermediate
        for part in ("gate", "up") if mlp.gated else ("up",):
            name = prefix + part
            yield from self._linear(name, wide, self.hidden, Split.COLUMN, layers)
            if mlp.bias:
                yield self._vector(f"{name} bias", wide, layers, Split.COLUMN)
        yield from self._linear(f"{prefix}down", self.hidden, wide, Split.ROW, layers)
        if mlp.bias:
            yield self._vector(f"{prefix}down bias", self.hidden, layers)

    def _experts(self, experts: Experts) -> Iterator[Tensor]:
        layers, wide = experts.layers, experts.intermediate
        inner = experts.latent or self.hidden
        each = layers * experts.count
        yield self._matrix("router", experts.count, Split.REPLICATED, count=layers, matmul=True)
        if experts.router_bias:
            yield self._vector("router bias", experts.count, layers)
        if experts.router_scales:
            yield self._vector("router scales", self.hidden + experts.count, layers)
        if experts.latent:
            latent = experts.latent
            yield from self._linear("experts' input", latent, self.hidden, Split.REPLICATED, layers)
            yield from self._linear(
                "experts' output", self.hidden, latent, Split.REPLICATED, layers
            )
        gate_and_up = ("expert gate", "expert up") if experts.gated else ("expert up",)
        for name in gate_and_up:
            yield from self._linear(name, wide, inner, Split.COLUMN, each, routed=True)
        yield from self._linear("expert down", inner, wide, Split.ROW, each, routed=True)
        if experts.bias:
            yield self._vector("expert gate and up bias", 2 * wide, each, Split.COLUMN)
            yield self._vector("expert down bias", inner, each)
        if experts.shared_intermediate:
            shared = DenseMlp(intermediate=experts.shared_intermediate, gated=experts.gated)
            yield from self._mlp(shared, layers, "shared expert ")
        if experts.shared_gate:
            yield self._vector("gate of the shared expert", self.hidden, layers)

    def _head(self) -> Iterator[Tensor]:
        shape = self.shape
        format_ = linear_format(shape.quantization, HEAD, by_default=False)
        plain = self._matrix(HEAD, shape.vocab, Split.VOCAB, matmul=True)
        yield replace(
            plain,
            dtype=format_.weights if format_ else plain.dtype,
            bits=stored_bits(format_, shape.vocab, self.hidden) if format_ else plain.bits,
            head=True,
            stored=not shape.tied_embeddings,
        )
        if shape.head_bias:
            yield self._vector("head bias", shape.vocab, 1, Split.VOCAB)
