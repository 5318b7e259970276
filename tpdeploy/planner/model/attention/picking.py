"""The indexer of sparse attention: it looks at all of the context to pick what attention sees."""

from collections.abc import Iterator
from dataclasses import dataclass

from tpdeploy.planner.model.attention.compressed import compressor, key_bytes
from tpdeploy.planner.model.attention.cost import ContextLayers
from tpdeploy.planner.model.tensor import Split, Tensor, TensorMaker, kv_heads_per_rank
from tpdeploy.profiles.models.shape import Indexer


@dataclass(frozen=True)
class Picking:
    """The indexers of one model, whose Q comes from a latent of `query_rank` values, if any."""

    indexer: Indexer
    query_rank: int | None

    def tensors(self, make: TensorMaker) -> Iterator[Tensor]:
        """Engines keep it whole on every rank, but for MiniMax-M3's heads of Q."""
        indexer, n, hidden = self.indexer, self.indexer.layers, make.hidden
        size, queries = indexer.head_size, indexer.heads * indexer.head_size
        if indexer.kind == "hidden":
            q = ("index q", queries, hidden, Split.KV, n)
            yield from make.linear(*q, kv_heads=indexer.heads)
        else:
            if indexer.kind != "averaged":
                weights = ("index weights", indexer.heads, Split.REPLICATED)
                yield make.matrix(*weights, count=n, matmul=True)
            rank = self.query_rank or hidden
            yield from make.linear("index q", queries, rank, Split.REPLICATED, n)
        if indexer.kind == "compressed":
            yield from compressor(make, "index entries", 2 * size, indexer.tokens_per_key, n)
            yield make.vector("index norms", size, n)
            return
        yield from make.linear("index k", size, hidden, Split.REPLICATED, n)
        yield make.vector("index norms", 2 * size, n)
        if indexer.kind == "pooled":
            yield make.matrix("index pooling", size, Split.REPLICATED, count=n, matmul=True)
            yield make.vector("index positions", size, n, inputs=indexer.tokens_per_key)

    @property
    def token_bytes(self) -> float:
        """Bytes of one token's key in one layer, on every rank: in FP8 with its scales.

        Qwen4-Exp's keys are in 16 bits, unless vLLM is told otherwise.
        """
        size = self.indexer.head_size
        if self.indexer.kind == "averaged":
            return 2 * size / self.indexer.tokens_per_key
        return key_bytes(self.indexer) / self.indexer.tokens_per_key

    def kv_bytes(self, tokens: float) -> float:
        """Bytes of the keys of `tokens` of context in all layers."""
        return self.indexer.layers * tokens * self.token_bytes

    def context(self, tp: int) -> ContextLayers:
        """Every rank runs it whole, but for MiniMax-M3's heads."""
        flops = self._pair_flops(tp)
        return ContextLayers("index", self.indexer.layers, None, flops, flops, self.token_bytes)

    def _pair_flops(self, tp: int) -> float:
        """FLOPs of one query token and one token of context: each head's score, and their sum."""
        heads = self.indexer.heads
        if self.indexer.kind == "hidden":
            heads = kv_heads_per_rank(heads, tp)
        return 2 * heads * (self.indexer.head_size + 1) / self.indexer.tokens_per_key
