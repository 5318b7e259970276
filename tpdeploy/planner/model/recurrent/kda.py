"""Kimi delta attention: a delta net whose decay differs from value to value of a head."""

from collections.abc import Iterator
from typing import ClassVar

from tpdeploy.planner.model.recurrent.delta import DeltaNet
from tpdeploy.planner.model.tensor import Split, Tensor, TensorMaker
from tpdeploy.profiles.models.shape import LinearAttention


class KimiDelta(DeltaNet):
    """Decay and output gate come from projections of low rank, or from the hidden state.

    The latter is so of Kimi-K3's gate, and of both in Ling 3.0.
    """

    name = "Kimi delta attention"
    column_parallel = "V of QKV"
    recurrence: ClassVar[int] = 8

    def tensors(self, linear: LinearAttention, make: TensorMaker) -> Iterator[Tensor]:
        """Q, K and V of as many heads, and what each head has."""
        n, hidden, rank = linear.layers, make.hidden, linear.rank or 1
        wide, heads = linear.values, linear.value_heads
        yield from make.linear("linear q and k", 2 * linear.keys, hidden, Split.COLUMN, n)
        yield from make.linear("linear v", wide, hidden, Split.COLUMN, n)
        full = {"gate": linear.full_gate, "decay": linear.full_decay}
        for name in (name for name in full if full[name]):
            yield from make.linear(f"linear {name}", wide, hidden, Split.COLUMN, n)
        for name in (name for name in ("decay", "gate") if not full[name]):
            yield from make.linear(f"linear {name} down", rank, hidden, Split.REPLICATED, n)
            yield from make.linear(f"linear {name}", wide, rank, Split.COLUMN, n)
        yield from make.linear("linear strength", heads, hidden, Split.COLUMN, n)
        yield from make.linear("linear output", hidden, wide, Split.ROW, n)
        convolved = 2 * linear.keys + wide
        taps = linear.convolution + linear.convolution_bias
        yield make.vector("linear convolution", convolved, n, Split.COLUMN, inputs=taps)
        yield make.vector("linear decay bias", wide, n, Split.COLUMN)
        yield make.vector("linear scalars", heads, n, Split.COLUMN)
        yield from self.norm(linear, make)
