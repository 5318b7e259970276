"""Tensors: every parameter tensor of a model, what it is for and how it is split."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

from tpdeploy.planner.model.attention.kinds import attentions, main_attention, picking
from tpdeploy.planner.model.layer_inputs import (
    before_the_layers,
    behind_the_layers,
    in_the_layers,
)
from tpdeploy.planner.model.ngrams import ngram_tensors
from tpdeploy.planner.model.parts import Part
from tpdeploy.planner.model.recurrent.kinds import RECURRENT
from tpdeploy.planner.model.streams import stream_tensors
from tpdeploy.planner.model.tensor import Split, Tensor, TensorMaker
from tpdeploy.planner.model.weight_formats import linear_format, stored_bits
from tpdeploy.profiles.models.config.linear_layers import HEAD
from tpdeploy.profiles.models.shape import DenseMlp, Experts, ModelShape

# One 32-bit sum of squares each of Q and of K, where their norms span the heads of all ranks.
QK_NORM_BYTES = 8


@lru_cache(maxsize=16)
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
    mixers = [kind.all_reduces for kind in attentions(shape)]
    mixers.append(shape.linear.layers if shape.linear else 0)
    mlps = sum(layers for _, layers in shape.mlps)
    if shape.layer_inputs and shape.layer_inputs.bypass_rank:
        mixers.append(shape.layers)
    return sum(mixers) + mlps + (shape.experts.layers if shape.experts else 0)


def norm_all_reduces(shape: ModelShape) -> int:
    """All-reduces of one step for norms of Q and K that span the heads of all ranks."""
    return main_attention(shape).norm_all_reduces


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
        if shape.layer_inputs:
            yield from _in("before the first", before_the_layers(shape.layer_inputs, self))
            yield from in_the_layers(shape.layer_inputs, self)
            yield from _in("behind the last", behind_the_layers(shape.layer_inputs, self))
        if shape.ngrams:
            yield from _in("before the first", ngram_tensors(shape.ngrams, self))
        for attention in attentions(shape):
            yield from _in(attention.part, attention.tensors(self))
        if taps := shape.short_convolution:
            yield self.vector("convolutions", self.hidden, 2 * shape.layers, inputs=taps)
        if shape.linear:
            mixer = RECURRENT[shape.linear.kind]
            yield from _in("linear", mixer.tensors(shape.linear, self))
        if picks := picking(shape):
            yield from _in(main_attention(shape).part, picks.tensors(self))
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

    def _embeddings(self) -> Iterator[Tensor]:
        yield self.matrix("embedding", self.shape.vocab, Split.VOCAB)
        if self.shape.learned_positions:
            yield self.matrix("positions", self.shape.learned_positions, Split.REPLICATED)
        if self.shape.embedding_norm:
            yield self.vector("embedding norm", self._per_norm, 1)

    def _over_depth(self) -> Iterator[Tensor]:
        """Attention over the sums of earlier layers: a norm and a query each time."""
        yield self.vector("norms and queries over depth", 4 * self.hidden, self.shape.layers)
        last = self.vector("last norm and query over depth", 2 * self.hidden, 1)
        yield from _in("behind the last", [last])

    def _norms(self) -> Iterator[Tensor]:
        if self.shape.streams:
            yield from stream_tensors(self.shape.streams, self)
        if self.shape.depth_attention:
            yield from self._over_depth()
        per_norm = self._per_norm
        if self.shape.norms_by_block:
            attention = self.vector("mixer norms", per_norm, self.shape.attention_layers)
            mlps = sum(layers for _, layers in self.shape.mlps)
            yield from _in("attention", [attention])
            yield from _in("dense", [self.vector("MLP norms", per_norm, mlps)])
        elif self.shape.norms_per_layer:
            yield self.vector("norms", self.shape.norms_per_layer * per_norm, self.shape.layers)
        if rank := self.shape.norm_gate_rank:
            yield from self._norm_gates(rank)
        if self.shape.final_norm:
            yield from _in("behind the last", [self.vector("final norm", per_norm, 1)])

    def _norm_gates(self, rank: int) -> Iterator[Tensor]:
        """A gate of low rank on each layer's first norm, and on the one before its experts."""
        sparse = self.shape.experts.layers if self.shape.experts else 0
        placed: tuple[tuple[Part, int], ...] = (("layer", self.shape.layers), ("sparse", sparse))
        for part, count in placed:
            down = self.matrix("norm gate down", rank, Split.REPLICATED, count=count, matmul=True)
            yield from _in(
                part, [down, replace(down, name="norm gate up", outputs=self.hidden, inputs=rank)]
            )

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
        if mlp.scaled:
            yield self.vector(f"{prefix}scale", 1, layers)
        if mlp.activation:
            yield self.vector(f"{prefix}activation", mlp.activation, layers)

    def _experts(self, experts: Experts) -> Iterator[Tensor]:
        layers, wide = experts.layers, experts.intermediate
        inner = experts.latent or self.hidden
        each = layers * experts.count
        routed = experts.count + experts.weightless + experts.routed_shared
        yield self.matrix("router", routed, Split.REPLICATED, count=layers, matmul=True)
        if experts.router_bias:
            yield self.vector("router bias", experts.count, layers)
        if experts.router_scales:
            yield self.vector("router scales", self.hidden + experts.count, layers)
        if experts.latent:
            latent = experts.latent
            yield from self.linear("experts' input", latent, self.hidden, Split.REPLICATED, layers)
            yield from self.linear("experts' output", self.hidden, latent, Split.REPLICATED, layers)
            if experts.latent_norm:
                yield self.vector("experts' latent norm", latent, layers)
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
        if experts.scaled:
            yield self.vector("experts' scale", 1, layers)
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
