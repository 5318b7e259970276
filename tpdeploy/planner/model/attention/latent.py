"""Multi-head latent attention (MLA): K and V come from a latent, which is all that is stored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from tpdeploy.planner.model.attention.cost import ContextLayers
from tpdeploy.planner.model.attention.mixer import (
    ROPE_BYTES,
    SCALE_BYTES,
    SCALED_VALUES,
    AttentionMixer,
    Projections,
)
from tpdeploy.planner.model.parts import Part
from tpdeploy.planner.model.tensor import Split, Tensor, TensorMaker
from tpdeploy.profiles.models.shape import Indexer, LatentAttention
from tpdeploy.profiles.record import Dtype


@dataclass(frozen=True, kw_only=True)
class MultiHeadLatent(AttentionMixer):
    """The latent is whole on every rank; ranks share the heads that are made from it."""

    attention: LatentAttention
    indexer: Indexer | None = None

    on_latent: ClassVar[bool] = True

    @property
    def query_rank(self) -> int | None:
        """Q may come from a latent too."""
        return self.attention.q_lora_rank

    @property
    def prompt_values(self) -> float:
        """Q, K and V with their heads, and the output."""
        mla = self.attention
        return 2.0 * mla.heads * (mla.qk_nope_size + mla.qk_rope_size + mla.v_size)

    def tensors(self, make: TensorMaker) -> Iterator[Tensor]:
        """Down to the latents and up to the heads, and the output."""
        mla, n, hidden = self.attention, self.layers, make.hidden
        query = mla.heads * (mla.qk_nope_size + mla.qk_rope_size)
        if mla.q_lora_rank is None:
            yield from make.linear("q", query, hidden, Split.COLUMN, n)
        else:
            yield from make.linear("q down", mla.q_lora_rank, hidden, Split.REPLICATED, n)
            yield make.vector("q norm", mla.q_lora_rank, n)
            yield from make.linear("q up", *self._from_latent(query), Split.COLUMN, n)
        latent = mla.kv_lora_rank + mla.qk_rope_size
        yield from make.linear("kv down", latent, hidden, Split.REPLICATED, n)
        yield make.vector("kv norm", mla.kv_lora_rank, n)
        keys_and_values = mla.heads * (mla.qk_nope_size + mla.v_size)
        yield from make.linear("kv up", keys_and_values, mla.kv_lora_rank, Split.COLUMN, n)
        values = mla.heads * mla.v_size
        if mla.output_gate:
            yield from make.linear("output gate", values, hidden, Split.COLUMN, n)
        if mla.head_gate:
            yield from make.linear("head gate", mla.heads, hidden, Split.COLUMN, n)
        if mla.sinks:
            yield make.vector("sinks", mla.heads, n, Split.COLUMN)
        yield from make.linear("output", hidden, values, Split.ROW, n)

    def kv_bytes(self, tokens: float, tp: int, dtype: Dtype) -> Mapping[Part, float]:
        """The latent of each token, whole on every rank."""
        return {"full": self.layers * tokens * self._token_bytes(dtype)}

    def context(self, tp: int, dtype: Dtype) -> Iterator[ContextLayers]:
        """Where an indexer picks tokens, kernels work on the latent in a prefill too."""
        absorbed, read = self._absorbed_pair_flops(tp), self._token_bytes(dtype)
        if self.indexer:
            most = self.indexer.most_tokens
            yield ContextLayers("sparse", self.layers, most, absorbed, absorbed, read)
        else:
            flops = self._pair_flops(tp)
            yield ContextLayers("latent", self.layers, None, flops, absorbed, read)

    def problems(self, tp: int) -> Iterator[str]:
        """The heads must be divisible."""
        if self.attention.heads % tp:
            yield f"{self.attention.heads} attention heads cannot be divided by {tp}"

    def projections(self, tp: int) -> Projections:
        """V of each head, and the output."""
        mla = self.attention
        values, latent = mla.heads * mla.v_size, mla.kv_lora_rank
        heads = f"{mla.heads // tp} of {mla.heads} heads"
        whole = f"{heads}, the {latent}-wide KV latent whole on every GPU"
        return Projections("per-head V of MLA", values, whole, values)

    def _from_latent(self, query: int) -> tuple[int, int]:
        """Outputs and inputs of what makes Q, and A.X K2's gate, of Q's latent."""
        mla, rank = self.attention, self.attention.q_lora_rank or 1
        return (query + mla.heads * mla.v_size, 2 * rank) if mla.latent_gate else (query, rank)

    def _token_bytes(self, dtype: Dtype) -> float:
        """Bytes of one token's latent in one layer.

        An FP8 cache that an indexer picks from holds a scale for every 128 values, and the rotary
        part in 16 bits.
        """
        mla = self.attention
        if not self.indexer or dtype is not Dtype.FP8:
            return (mla.kv_lora_rank + mla.qk_rope_size) * dtype.bits / 8
        scales = ceil(mla.kv_lora_rank / SCALED_VALUES) * SCALE_BYTES
        return mla.kv_lora_rank + scales + mla.qk_rope_size * ROPE_BYTES

    def _pair_flops(self, tp: int) -> float:
        """FLOPs of one pair where K and V were made from the latent (prefill)."""
        mla = self.attention
        return 2 * ceil(mla.heads / tp) * (mla.qk_nope_size + mla.qk_rope_size + mla.v_size)

    def _absorbed_pair_flops(self, tp: int) -> float:
        """FLOPs of one pair on the latent itself (decode): scores over latent and rotary part.

        The values are the latent; the up-projections of K and V are applied to Q and to the output.
        """
        sizes = 2 * self.attention.kv_lora_rank + self.attention.qk_rope_size
        return 2 * ceil(self.attention.heads / tp) * sizes
