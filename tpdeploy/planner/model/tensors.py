"""Tensors: every parameter tensor of a model, what it is for and how it is split."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from tpdeploy.planner.model.parts import Part
from tpdeploy.planner.model.recurrent.kinds import RECURRENT
from tpdeploy.planner.model.tensor import Split, Tensor, TensorMaker
from tpdeploy.planner.model.weight_formats import linear_format, stored_bits
from tpdeploy.profiles.models.config.linear_layers import HEAD
from tpdeploy.profiles.models.shape import (
    Attention,
    CompressedAttention,
    DenseMlp,
    Experts,
    Indexer,
    LatentAttention,
    ModelShape,
)
from tpdeploy.profiles.record import Dtype

# One 32-bit sum of squares each of Q and of K, where their norms span the heads of all ranks.
QK_NORM_BYTES = 8


def tensors(shape: ModelShape) -> tuple[Tensor, ...]:
    """Every parameter tensor of `shape`, equal ones of different layers together."""
    return tuple(_Builder(shape).all())


def parameter_count(shape: ModelShape) -> int:
    """Parameters of the whole model, tied ones once, as if nothing were quantized."""
    beside = shape.encoders.parameters if shape.encoders else 0
    return beside + sum(t.count * t.elements for t in tensors(shape) if t.stored)


def all_reduces(shape: ModelShape) -> int:
    """All-reduces of one step over more than one rank: each mixer, MLP and set of experts ends so.

    What shared experts give is added before the routed experts' all-reduce, and what attention
    gives before the MLP's where both have the same input.
    """
    if shape.parallel_blocks:
        return shape.layers
    mixers = [shape.attention_layers]
    mixers += [kind.layers or 0 for kind in (shape.windowed, shape.linear) if kind]
    mlps = sum(layers for _, layers in shape.mlps)
    return sum(mixers) + mlps + (shape.experts.layers if shape.experts else 0)


def norm_all_reduces(shape: ModelShape) -> int:
    """All-reduces of one step for norms of Q and K that span the heads of all ranks."""
    spans = isinstance(shape.attention, Attention) and shape.attention.qk_norm == "projection"
    return shape.attention_layers if spans else 0


def _in(part: Part, found: Iterable[Tensor]) -> Iterator[Tensor]:
    """The tensors that were found, as those of `part`."""
    return (replace(tensor, part=part) for tensor in found)


class _Builder(TensorMaker):
    """Lists the tensors of one model, part by part."""

    @property
    def _per_norm(self) -> int:
        return self.hidden * (2 if self.shape.norm_bias else 1)

    def all(self) -> Iterator[Tensor]:
        shape = self.shape
        yield from _in("before the first", self._embeddings())
        main: Part = "full" if shape.windowed else "attention"
        yield from _in(main, self._main_attention())
        if shape.windowed:
            layers = shape.windowed.sliding_layers
            yield from _in("sliding", self._attention(shape.windowed, layers, "windowed "))
        if shape.linear:
            mixer = RECURRENT[shape.linear.kind]
            yield from _in("linear", mixer.tensors(shape.linear, self))
        if shape.indexer:
            yield from _in(main, self._indexer(shape.indexer))
        yield from self._norms()
        yield from self._dense()
        if shape.experts:
            yield from _in("sparse", self._experts(shape.experts))
        yield from _in("behind the last", self._head())

    def _dense(self) -> Iterator[Tensor]:
        for mlp, layers in self.shape.mlps:
            wide = mlp.intermediate
            prefix = "" if mlp is self.shape.mlp else f"{wide}-wide "
            part: Part = wide if self.shape.narrower_mlps else "dense"
            yield from _in(part, self._mlp(mlp, layers, prefix))

    def _main_attention(self) -> Iterator[Tensor]:
        attention, layers = self.shape.attention, self.shape.attention_layers
        if isinstance(attention, CompressedAttention):
            return self._compressed_attention(attention, layers)
        if isinstance(attention, LatentAttention):
            return self._latent_attention(attention, layers)
        return self._attention(attention, layers)

    def _embeddings(self) -> Iterator[Tensor]:
        yield self.matrix("embedding", self.shape.vocab, Split.VOCAB)
        if self.shape.learned_positions:
            yield self.matrix("positions", self.shape.learned_positions, Split.REPLICATED)
        if self.shape.embedding_norm:
            yield self.vector("embedding norm", self._per_norm, 1)

    def _attention(self, attention: Attention, n: int, prefix: str = "") -> Iterator[Tensor]:
        size, kv = attention.head_size, attention.kv_heads
        wide, narrow = attention.heads * size, kv * size
        values, kv_values = attention.heads * attention.value_size, kv * attention.value_size
        queries = 2 * wide if attention.output_gate else wide

        def kv_linear(name: str, outputs: int) -> Iterator[Tensor]:
            return self.linear(prefix + name, outputs, self.hidden, Split.KV, n, kv_heads=kv)

        yield from self.linear(f"{prefix}q", queries, self.hidden, Split.COLUMN, n)
        yield from kv_linear("k", narrow)
        if not attention.keys_are_values:
            yield from kv_linear("v", kv_values)
        yield from self.linear(f"{prefix}output", self.hidden, values, Split.ROW, n)
        if attention.qkv_bias:
            yield self.vector(f"{prefix}q bias", queries, n, Split.COLUMN)
            yield self.vector(f"{prefix}k bias", narrow, n, Split.KV, kv_heads=kv)
            if not attention.keys_are_values:
                yield self.vector(f"{prefix}v bias", kv_values, n, Split.KV, kv_heads=kv)
        if attention.output_bias:
            yield self.vector(f"{prefix}output bias", self.hidden, n)
        if attention.qk_norm == "head":
            yield self.vector(f"{prefix}q and k norms", 2 * size, n)
        if attention.qk_norm in ("heads", "projection"):
            yield self.vector(f"{prefix}q norm", wide, n, Split.COLUMN)
            yield self.vector(f"{prefix}k norm", narrow, n, Split.KV, kv_heads=kv)
        if attention.head_gate:
            yield from self.linear(
                f"{prefix}head gate", attention.heads, self.hidden, Split.COLUMN, n
            )
        if attention.sinks:
            yield self.vector(f"{prefix}sinks", attention.heads, n, Split.COLUMN)

    def _latent_attention(self, mla: LatentAttention, n: int) -> Iterator[Tensor]:
        query = mla.heads * (mla.qk_nope_size + mla.qk_rope_size)
        if mla.q_lora_rank is None:
            yield from self.linear("q", query, self.hidden, Split.COLUMN, n)
        else:
            yield from self.linear("q down", mla.q_lora_rank, self.hidden, Split.REPLICATED, n)
            yield self.vector("q norm", mla.q_lora_rank, n)
            yield from self.linear("q up", query, mla.q_lora_rank, Split.COLUMN, n)
        latent = mla.kv_lora_rank + mla.qk_rope_size
        yield from self.linear("kv down", latent, self.hidden, Split.REPLICATED, n)
        yield self.vector("kv norm", mla.kv_lora_rank, n)
        keys_and_values = mla.heads * (mla.qk_nope_size + mla.v_size)
        yield from self.linear("kv up", keys_and_values, mla.kv_lora_rank, Split.COLUMN, n)
        yield from self.linear("output", self.hidden, mla.heads * mla.v_size, Split.ROW, n)

    def _compressed_attention(self, attention: CompressedAttention, n: int) -> Iterator[Tensor]:
        hidden, size, rank = self.hidden, attention.head_size, attention.q_lora_rank
        queries, groups = attention.heads * size, attention.output_groups
        given = groups * attention.output_rank
        yield from self.linear("q down", rank, hidden, Split.REPLICATED, n)
        yield self.vector("q norm", rank, n)
        yield from self.linear("q up", queries, rank, Split.COLUMN, n)
        yield from self.linear("kv down", size, hidden, Split.REPLICATED, n)
        yield self.vector("kv norm", size, n)
        yield self.vector("sinks", attention.heads, n, Split.COLUMN)
        yield from self.linear("output down", given, queries // groups, Split.COLUMN, n)
        yield from self.linear("output", hidden, given, Split.ROW, n)
        # Entries of sparse layers overlap: twice as wide.
        sparse = ("sparse entries", 2 * size, attention.sparse_ratio, attention.sparse_layers)
        yield from self._compressor(*sparse)
        dense = ("dense entries", size, attention.dense_ratio, attention.dense_layers)
        yield from self._compressor(*dense)
        layers = attention.sparse_layers + attention.dense_layers
        if layers:
            yield self.vector("entries norm", size, layers)

    def _compressor(self, name: str, wide: int, ratio: int, layers: int) -> Iterator[Tensor]:
        """What makes an entry of `ratio` tokens: values, their gate and their positions."""
        if layers:
            yield self.matrix(name, 2 * wide, Split.REPLICATED, count=layers, matmul=True)
            yield self.vector(f"{name} positions", wide, layers, inputs=ratio)

    def _indexer(self, indexer: Indexer) -> Iterator[Tensor]:
        """Engines keep it whole on every rank, but for MiniMax-M3's heads of Q."""
        n, hidden, size = indexer.layers, self.hidden, indexer.head_size
        attention = self.shape.attention
        if isinstance(attention, Attention):
            q = ("index q", indexer.heads * size, hidden, Split.KV, n)
            yield from self.linear(*q, kv_heads=indexer.heads)
        else:
            rank = attention.q_lora_rank or hidden
            weights = ("index weights", indexer.heads, Split.REPLICATED)
            yield self.matrix(*weights, count=n, matmul=True)
            yield from self.linear("index q", indexer.heads * size, rank, Split.REPLICATED, n)
        if indexer.kind == "compressed":
            yield from self._compressor("index entries", 2 * size, indexer.tokens_per_key, n)
            yield self.vector("index norms", size, n)
        else:
            yield from self.linear("index k", size, hidden, Split.REPLICATED, n)
            yield self.vector("index norms", 2 * size, n)

    def _streams(self) -> Iterator[Tensor]:
        """Hyper-connections mix the residual streams before and after each mixer and MLP."""
        m = self.shape.residual_streams
        wide, mixed, ends = m * self.hidden, (2 + m) * m, 2 * self.shape.layers
        fp32 = Dtype.FP32
        plain = Tensor("streams", ends, mixed, wide, Split.REPLICATED, fp32, fp32.bits)
        last = replace(plain, name="last streams", count=1, outputs=m, part="behind the last")
        yield from (plain, last)
        for each, scalars in ((plain, mixed + 3), (last, m + 1)):
            name = f"{each.name}: scalars"
            yield replace(each, name=name, outputs=scalars, inputs=1, matmul=False)

    def _norms(self) -> Iterator[Tensor]:
        if self.shape.residual_streams > 1:
            yield from self._streams()
        per_norm = self._per_norm
        if self.shape.norms_by_block:
            attention = self.vector("mixer norms", per_norm, self.shape.attention_layers)
            mlps = sum(layers for _, layers in self.shape.mlps)
            yield from _in("attention", [attention])
            yield from _in("dense", [self.vector("MLP norms", per_norm, mlps)])
        elif self.shape.norms_per_layer:
            yield self.vector("norms", self.shape.norms_per_layer * per_norm, self.shape.layers)
        if self.shape.final_norm:
            yield from _in("behind the last", [self.vector("final norm", per_norm, 1)])

    def _mlp(self, mlp: DenseMlp, layers: int, prefix: str = "") -> Iterator[Tensor]:
        wide = mlp.intermediate
        for part in ("gate", "up") if mlp.gated else ("up",):
            name = prefix + part
            yield from self.linear(name, wide, self.hidden, Split.COLUMN, layers)
            if mlp.bias:
                yield self.vector(f"{name} bias", wide, layers, Split.COLUMN)
        yield from self.linear(f"{prefix}down", self.hidden, wide, Split.ROW, layers)
        if mlp.bias:
            yield self.vector(f"{prefix}down bias", self.hidden, layers)
        if mlp.activation:
            yield self.vector(f"{prefix}activation", mlp.activation, layers)

    def _experts(self, experts: Experts) -> Iterator[Tensor]:
        layers, wide = experts.layers, experts.intermediate
        inner = experts.latent or self.hidden
        each = layers * experts.count
        yield self.matrix("router", experts.count, Split.REPLICATED, count=layers, matmul=True)
        if experts.router_bias:
            yield self.vector("router bias", experts.count, layers)
        if experts.router_scales:
            yield self.vector("router scales", self.hidden + experts.count, layers)
        if experts.latent:
            latent = experts.latent
            yield from self.linear("experts' input", latent, self.hidden, Split.REPLICATED, layers)
            yield from self.linear("experts' output", self.hidden, latent, Split.REPLICATED, layers)
        gate_and_up = ("expert gate", "expert up") if experts.gated else ("expert up",)
        for name in gate_and_up:
            yield from self.linear(name, wide, inner, Split.COLUMN, each, routed=True)
        yield from self.linear("expert down", inner, wide, Split.ROW, each, routed=True)
        if experts.bias:
            yield self.vector("expert gate and up bias", 2 * wide, each, Split.COLUMN)
            yield self.vector("expert down bias", inner, each)
        if experts.shared_intermediate:
            shared = DenseMlp(intermediate=experts.shared_intermediate, gated=experts.gated)
            yield from self._mlp(shared, layers, "shared expert ")
        if experts.shared_gate:
            yield self.vector("gate of the shared expert", self.hidden, layers)
        if experts.output_norm:
            yield self.vector("experts' norm", self._per_norm, layers)

    def _head(self) -> Iterator[Tensor]:
        shape = self.shape
        format_ = linear_format(shape.quantization, HEAD, by_default=False)
        plain = self.matrix(HEAD, shape.vocab, Split.VOCAB, matmul=True)
        yield replace(
            plain,
            dtype=format_.weights if format_ else plain.dtype,
            bits=stored_bits(format_, shape.vocab, self.hidden) if format_ else plain.bits,
            head=True,
            stored=not shape.tied_embeddings,
        )
        if shape.head_bias:
            yield self.vector("head bias", shape.vocab, 1, Split.VOCAB)
