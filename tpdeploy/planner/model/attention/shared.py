"""Zamba2's attention: a few blocks of weights, each used again in several layers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil

from tpdeploy.planner.model.attention.cost import ContextLayers
from tpdeploy.planner.model.attention.mixer import AttentionMixer, Projections
from tpdeploy.planner.model.parts import Part
from tpdeploy.planner.model.tensor import Split, Tensor, TensorMaker
from tpdeploy.profiles.models.shape import SharedAttention
from tpdeploy.profiles.record import Dtype


@dataclass(frozen=True, kw_only=True)
class SharedBlocks(AttentionMixer):
    """Attention and an MLP on the hidden state and the embedding, side by side twice as wide.

    What a block gives goes through a linear layer of each layer's own into its Mamba-2.
    """

    attention: SharedAttention

    @property
    def query_rank(self) -> int | None:
        """Q is one projection."""
        return None

    @property
    def prompt_values(self) -> float:
        """Q and output, K and V."""
        return 4.0 * self.attention.heads * self.attention.head_size

    @property
    def all_reduces(self) -> int:
        """Attention and MLP end in one each."""
        return 2 * self.layers

    def tensors(self, make: TensorMaker) -> Iterator[Tensor]:
        """The blocks, and what each layer adds to them."""
        blocks = min(self.attention.blocks, self.layers)
        for tensor in self._block(make, blocks):
            yield replace(tensor, reused=self.layers - blocks)
        yield from self._adapters(make)
        # vLLM keeps it whole on every rank.
        down = ("shared linear", make.hidden, make.hidden, Split.REPLICATED, self.layers)
        yield from make.linear(*down)

    def kv_bytes(self, tokens: float, tp: int, dtype: Dtype) -> Mapping[Part, float]:
        """Every layer stores what it makes, whichever block made it."""
        return {"full": self.layers * tokens * self._token_bytes(tp, dtype)}

    def context(self, tp: int, dtype: Dtype) -> Iterator[ContextLayers]:
        """All of the context."""
        flops = 4 * ceil(self.attention.heads / tp) * self.attention.head_size
        read = self._token_bytes(tp, dtype)
        yield ContextLayers("full", self.layers, None, flops, flops, read)

    def problems(self, tp: int) -> Iterator[str]:
        """Heads and MLP must be divisible."""
        if self.attention.heads % tp:
            yield f"{self.attention.heads} attention heads cannot be divided by {tp}"
        if self.attention.intermediate % tp:
            yield f"MLP width of {self.attention.intermediate:,} cannot be divided by {tp}"

    def projections(self, tp: int) -> Projections:
        """Q, and the output."""
        heads, wide = self.attention.heads, self.attention.heads * self.attention.head_size
        middle = f"{heads // tp} of {heads} heads, in {self.attention.blocks} shared blocks"
        return Projections("Q of QKV", wide, middle, wide)

    def _block(self, make: TensorMaker, n: int) -> Iterator[Tensor]:
        shared, hidden = self.attention, make.hidden
        wide, mlp = shared.heads * shared.head_size, shared.intermediate
        for name in ("q", "k", "v"):
            yield from make.linear(name, wide, 2 * hidden, Split.COLUMN, n)
        yield from make.linear("output", hidden, wide, Split.ROW, n)
        for name in ("gate", "up"):
            yield from make.linear(name, mlp, hidden, Split.COLUMN, n)
        yield from make.linear("down", hidden, mlp, Split.ROW, n)
        yield make.vector("shared norms", 3 * hidden, n)

    def _adapters(self, make: TensorMaker) -> Iterator[Tensor]:
        """Of low rank, one in each layer, beside gate and up, and in some models beside QKV."""
        shared, n, hidden = self.attention, self.layers, make.hidden
        rank, wide = shared.adapter_rank, shared.heads * shared.head_size
        yield from make.linear("adapter down", rank, hidden, Split.REPLICATED, n)
        yield from make.linear("adapter up", 2 * shared.intermediate, rank, Split.COLUMN, n)
        if shared.adapts_attention:
            yield from make.linear("qkv adapter down", rank, 2 * hidden, Split.REPLICATED, 3 * n)
            yield from make.linear("qkv adapter up", wide, rank, Split.COLUMN, 3 * n)

    def _token_bytes(self, tp: int, dtype: Dtype) -> float:
        heads = ceil(self.attention.heads / tp)
        return 2 * heads * self.attention.head_size * dtype.bits / 8
