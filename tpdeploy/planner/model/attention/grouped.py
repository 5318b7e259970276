"""Multi-head attention with grouped KV heads, in full or within a window."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

from tpdeploy.planner.model.attention.convolved import convolution_bytes, convolution_tensors
from tpdeploy.planner.model.attention.cost import ContextLayers
from tpdeploy.planner.model.attention.mixer import AttentionMixer, Projections
from tpdeploy.planner.model.attention.relative import relative_tensors
from tpdeploy.planner.model.parts import Part
from tpdeploy.planner.model.tensor import Split, Tensor, TensorMaker, kv_heads_per_rank
from tpdeploy.profiles.models.shape import Attention, Indexer, ModelShape
from tpdeploy.profiles.record import Dtype


@dataclass(frozen=True, kw_only=True)
class GroupedAttention(AttentionMixer):
    """Each KV head serves several heads of Q; ranks share the heads."""

    attention: Attention
    indexer: Indexer | None = None

    @property
    def query_rank(self) -> int | None:
        """Q is one projection of the hidden state, but in Step-3."""
        return self.attention.q_lora_rank

    @property
    def prompt_values(self) -> float:
        """Q and output, K and V."""
        attention = self.attention
        return 2.0 * (attention.heads + attention.kv_heads) * attention.head_size

    @property
    def norm_all_reduces(self) -> int:
        """One per layer if the norms span all heads."""
        return self.layers if self.attention.qk_norm == "projection" else 0

    def tensors(self, make: TensorMaker) -> Iterator[Tensor]:
        """Q, K, V and output, their biases and norms."""
        attention, n, hidden, prefix = self.attention, self.layers, make.hidden, self.prefix
        wide = attention.heads * attention.head_size
        values = attention.heads * attention.value_size
        queries = 2 * wide if attention.output_gate else wide
        if rank := attention.q_lora_rank:
            yield from make.linear(f"{prefix}q down", rank, hidden, Split.REPLICATED, n)
            yield make.vector(f"{prefix}q norm", rank, n)
            yield from make.linear(f"{prefix}q up", queries, rank, Split.COLUMN, n)
        else:
            yield from make.linear(f"{prefix}q", queries, hidden, Split.COLUMN, n)
        for name, outputs in self._keys_and_values():
            kv = (prefix + name, outputs, hidden, Split.KV, self._own)
            yield from make.linear(*kv, kv_heads=attention.kv_heads)
        yield from make.linear(f"{prefix}output", hidden, values, Split.ROW, n)
        if attention.qkv_bias:
            yield make.vector(f"{prefix}q bias", queries, n, Split.COLUMN)
            for name, outputs in self._keys_and_values():
                bias = (f"{prefix}{name} bias", outputs, self._own, Split.KV)
                yield make.vector(*bias, kv_heads=attention.kv_heads)
        if attention.output_bias:
            yield make.vector(f"{prefix}output bias", hidden, n)
        yield from self._norms(make)
        yield from self._of_heads(make)
        yield from relative_tensors(attention, n, prefix, make)
        yield from convolution_tensors(attention, n, prefix, make)

    def kv_bytes(self, tokens: float, tp: int, dtype: Dtype) -> Mapping[Part, float]:
        """Layers with a window hold no more than it, those that borrow nothing."""
        token, window = self._token_bytes(tp, dtype), self.attention.sliding_window
        inside = min(tokens, window) if window else tokens
        sliding = self._sliding - self.attention.borrowing_sliding
        full = self.layers - self._sliding - self.attention.borrowing
        return {"full": full * tokens * token, "sliding": sliding * inside * token}

    def in_flight_bytes(self, tokens: float, tp: int, dtype: Dtype) -> Mapping[Part, float]:
        """What leaves a window is kept until its step has ended."""
        sliding = self._sliding - self.attention.borrowing_sliding
        return {"sliding": sliding * tokens * self._token_bytes(tp, dtype)}

    def state_bytes(self, shape: ModelShape, tp: int) -> float:
        """What short convolutions saw last, if there are any."""
        return self.layers * convolution_bytes(self.attention, shape, tp)

    def context(self, tp: int, dtype: Dtype) -> Iterator[ContextLayers]:
        """In full, within a window, or to what an indexer picks."""
        picks = self.indexer
        sparse = picks.sparse_layers if picks else 0
        most = picks.most_tokens if picks else None
        flops = self._pair_flops(tp)
        kinds: list[tuple[Literal["full", "windowed", "sparse"], int, int | None]] = [
            ("full", self.layers - self._sliding - sparse, None),
            ("windowed", self._sliding, self.attention.sliding_window),
            ("sparse", sparse, most),
        ]
        for kind, layers, tokens in kinds:
            if layers:
                read = self._token_bytes(tp, dtype)
                yield ContextLayers(kind, layers, tokens, flops, flops, read)

    def problems(self, tp: int) -> Iterator[str]:
        """The heads must be divisible; KV heads may be replicated."""
        heads, kv = self.attention.heads, self.attention.kv_heads
        if heads % tp:
            yield f"{heads} attention heads cannot be divided by {tp}"
        if kv % tp and tp % kv:
            yield f"{kv} KV heads can be neither divided by {tp} nor replicated to it evenly"

    def projections(self, tp: int) -> Projections:
        """Q, and the output."""
        attention = self.attention
        kv, replicated = kv_heads_per_rank(attention.kv_heads, tp), tp > attention.kv_heads
        heads = f"{attention.heads // tp} of {attention.heads} heads"
        return Projections(
            name="Q of QKV",
            outputs=attention.heads * attention.head_size,
            middle=f"{heads}, {kv} of {attention.kv_heads} KV heads"
            f"{' (replicated)' if replicated else ''}",
            inputs=attention.heads * attention.value_size,
        )

    @property
    def _narrow(self) -> int:
        return self.attention.kv_heads * self.attention.head_size

    @property
    def _own(self) -> int:
        """Layers with a K and V of their own."""
        return self.layers - self.attention.borrowing - self.attention.borrowing_sliding

    @property
    def _sliding(self) -> int:
        return self.attention.sliding_layers if self.attention.sliding_window else 0

    def _keys_and_values(self) -> Iterator[tuple[str, int]]:
        """The projections of K and of V, and their outputs."""
        yield "k", self._narrow
        if not self.attention.keys_are_values:
            yield "v", self.attention.kv_heads * self.attention.value_size

    def _norms(self, make: TensorMaker) -> Iterator[Tensor]:
        """Norms of Q, and of K where a layer has its own."""
        attention, n, prefix = self.attention, self.layers, self.prefix
        size, heads = attention.head_size, attention.heads
        if attention.qk_norm == "head" and self._own == n:
            yield make.vector(f"{prefix}q and k norms", 2 * size, n)
        elif attention.qk_norm == "head":
            yield make.vector(f"{prefix}q norm", size, n)
            yield make.vector(f"{prefix}k norm", size, self._own)
        elif attention.qk_norm in ("heads", "projection"):
            yield make.vector(f"{prefix}q norm", heads * size, n, Split.COLUMN)
            kv = (f"{prefix}k norm", self._narrow, self._own, Split.KV)
            yield make.vector(*kv, kv_heads=attention.kv_heads)

    def _of_heads(self, make: TensorMaker) -> Iterator[Tensor]:
        """What each head has: a gate, a sink."""
        heads, n = self.attention.heads, self.layers
        if self.attention.head_gate:
            name = f"{self.prefix}head gate"
            yield from make.linear(name, heads, make.hidden, Split.COLUMN, n)
        if self.attention.sinks:
            yield make.vector(f"{self.prefix}sinks", heads, n, Split.COLUMN)

    def _token_bytes(self, tp: int, dtype: Dtype) -> float:
        """Bytes of one token's K and V in one layer on one rank."""
        both = self.attention.head_size + self.attention.value_size
        return kv_heads_per_rank(self.attention.kv_heads, tp) * both * dtype.bits / 8

    def _pair_flops(self, tp: int) -> float:
        """FLOPs of one pair in one layer on one rank: score and weighted value, all heads."""
        both = self.attention.head_size + self.attention.value_size
        return 2 * ceil(self.attention.heads / tp) * both
