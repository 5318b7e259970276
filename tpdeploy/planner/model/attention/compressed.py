"""DeepSeek-V4's attention: a window of tokens, and entries that stand for several tokens each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil

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
from tpdeploy.profiles.models.shape import CompressedAttention, Indexer, ModelShape
from tpdeploy.profiles.record import Dtype

# An FP8 entry has a one-byte scale for so many values, and a byte of padding.
ENTRY_VALUES = 64
# Tokens of a block in vLLM 0.32 (models/deepseek_v4): of entries, of windows, and of what the
# compressors of sparse and dense layers keep; and what a layer's share of a block is a multiple of.
ENTRIES_BLOCK, WINDOW_BLOCK, SPARSE_BLOCK, DENSE_BLOCK = 256, 64, 4, 8
PAGE_BYTES = 576


@dataclass(frozen=True, kw_only=True)
class CompressedEntries(AttentionMixer):
    """One KV head, whole on every rank, whose keys are its values."""

    attention: CompressedAttention
    indexer: Indexer | None = None

    @property
    def query_rank(self) -> int | None:
        """Q comes from a latent."""
        return self.attention.q_lora_rank

    @property
    def prompt_values(self) -> float:
        """Q and output of every head, and the one KV head."""
        return 2.0 * (self.attention.heads + 1) * self.attention.head_size

    def tensors(self, make: TensorMaker) -> Iterator[Tensor]:
        """Q, the KV head, an output by groups, and what makes the entries."""
        attention, n, hidden = self.attention, self.layers, make.hidden
        size, rank = attention.head_size, attention.q_lora_rank
        queries, groups = attention.heads * size, attention.output_groups
        given = groups * attention.output_rank
        yield from make.linear("q down", rank, hidden, Split.REPLICATED, n)
        yield make.vector("q norm", rank, n)
        yield from make.linear("q up", queries, rank, Split.COLUMN, n)
        yield from make.linear("kv down", size, hidden, Split.REPLICATED, n)
        yield make.vector("kv norm", size, n)
        yield make.vector("sinks", attention.heads, n, Split.COLUMN)
        yield from make.linear("output down", given, queries // groups, Split.COLUMN, n)
        yield from make.linear("output", hidden, given, Split.ROW, n)
        # Entries of sparse layers overlap: twice as wide.
        sparse = ("sparse entries", 2 * size, attention.sparse_ratio, attention.sparse_layers)
        yield from compressor(make, *sparse)
        dense = ("dense entries", size, attention.dense_ratio, attention.dense_layers)
        yield from compressor(make, *dense)
        layers = attention.sparse_layers + attention.dense_layers
        if layers:
            yield make.vector("entries norm", size, layers)

    def kv_bytes(self, tokens: float, tp: int, dtype: Dtype) -> Mapping[Part, float]:
        """Windows and entries, whole on every rank."""
        attention = self.attention
        windows = self.layers * min(tokens, attention.sliding_window)
        sparse = attention.sparse_layers * tokens / attention.sparse_ratio
        dense = attention.dense_layers * tokens / attention.dense_ratio
        return {"full": (windows + sparse + dense) * self._entry_bytes(dtype)}

    def in_flight_bytes(self, tokens: float, tp: int, dtype: Dtype) -> Mapping[Part, float]:
        """Blocks of windows, and of what compressors keep, for `tokens` of unfinished steps."""
        blocks = sum(tokens / block for block, _ in self._windows())
        return {"full": blocks * self._block_bytes(dtype)}

    def state_bytes(self, shape: ModelShape, tp: int) -> float:
        """Blocks of windows and of what compressors keep, less the windows themselves."""
        blocks = sum(ceil((window - 1) / block) + 1 for block, window in self._windows())
        windows = self.layers * self.attention.sliding_window * self._entry_bytes(Dtype.FP8)
        return blocks * self._block_bytes(Dtype.FP8) - windows

    def context(self, tp: int, dtype: Dtype) -> Iterator[ContextLayers]:
        """The window of every layer, and the entries that some look at."""
        attention, read = self.attention, self._entry_bytes(dtype)
        flops = 2 * ceil(attention.heads / tp) * 2 * attention.head_size
        window = attention.sliding_window
        most = self.indexer.most_tokens if self.indexer else None
        yield ContextLayers("windowed", self.layers, window, flops, flops, read)
        if layers := attention.sparse_layers:
            ratio = attention.sparse_ratio
            yield ContextLayers("sparse", layers, most, flops, flops, read, ratio)
        if layers := attention.dense_layers:
            ratio = attention.dense_ratio
            yield ContextLayers("compressed", layers, None, flops, flops, read, ratio)

    def problems(self, tp: int) -> Iterator[str]:
        """The heads must be divisible, and the groups of outputs."""
        heads, groups = self.attention.heads, self.attention.output_groups
        if heads % tp:
            yield f"{heads} attention heads cannot be divided by {tp}"
        if groups % tp:
            yield f"{groups} groups of outputs cannot be divided by {tp}"

    def projections(self, tp: int) -> Projections:
        """Q, and the output of all groups."""
        attention = self.attention
        heads = f"{attention.heads // tp} of {attention.heads} heads"
        return Projections(
            name="Q",
            outputs=attention.heads * attention.head_size,
            middle=f"{heads}, one KV head of {attention.head_size} whole on every GPU",
            inputs=attention.output_groups * attention.output_rank,
        )

    def _windows(self) -> Iterator[tuple[int, int]]:
        """Tokens of a block, and of the window, of each group of layers that has one.

        Sparse layers' compressors keep two entries' tokens, which overlap, dense layers' one's.
        """
        attention = self.attention
        groups = max(1, round(self.layers / max(1, attention.sparse_layers)))
        yield from [(WINDOW_BLOCK, attention.sliding_window)] * groups
        if attention.sparse_layers:
            yield SPARSE_BLOCK, 2 * attention.sparse_ratio
        if attention.dense_layers:
            yield DENSE_BLOCK, attention.dense_ratio

    def _block_bytes(self, dtype: Dtype) -> float:
        """Bytes of one block, which is as large as the entries and keys of ENTRIES_BLOCK tokens.

        Every group of layers takes its blocks from one pool, so that all are as large as the
        largest one.
        """
        attention, entry = self.attention, self._entry_bytes(dtype)
        parts = [
            (attention.sparse_layers, entry, attention.sparse_ratio),
            (attention.dense_layers, entry, attention.dense_ratio),
        ]
        if picks := self.indexer:
            parts.append((picks.layers, key_bytes(picks), picks.tokens_per_key))
        pages = [(n, ENTRIES_BLOCK // tokens * bytes_) for n, bytes_, tokens in parts]
        return sum(n * ceil(bytes_ / PAGE_BYTES) * PAGE_BYTES for n, bytes_ in pages)

    def _entry_bytes(self, dtype: Dtype) -> float:
        """Bytes of one token, or of one entry, in one layer.

        An FP8 cache keeps the rotary part in 16 bits and a scale for every 64 of the others.
        """
        attention = self.attention
        if dtype is not Dtype.FP8:
            return attention.head_size * dtype.bits / 8
        plain = attention.head_size - attention.rope_size
        return plain + attention.rope_size * ROPE_BYTES + ceil(plain / ENTRY_VALUES) + 1


def key_bytes(indexer: Indexer) -> int:
    """Bytes of one of an indexer's keys in one layer, in FP8 with its scales."""
    return indexer.head_size + ceil(indexer.head_size / SCALED_VALUES) * SCALE_BYTES


def compressor(
    make: TensorMaker, name: str, wide: int, ratio: int, layers: int
) -> Iterator[Tensor]:
    """What makes an entry of `ratio` tokens: values, their gate and their positions."""
    if layers:
        yield make.matrix(name, 2 * wide, Split.REPLICATED, count=layers, matmul=True)
        yield make.vector(f"{name} positions", wide, layers, inputs=ratio)
