"""What delta nets and Mamba-2 have in common: Q, K and V, or C, B and x, and heads with a decay."""

from collections.abc import Iterator
from math import ceil
from typing import ClassVar

from tpdeploy.planner.model.recurrent.mixer import RecurrentMixer
from tpdeploy.planner.model.tensor import Split, Tensor, TensorMaker
from tpdeploy.profiles.models.shape import LinearAttention


class LinearMixer(RecurrentMixer):
    """Linear attention by heads."""

    decays: ClassVar[int]  # outputs of the decay's projection for each head
    scalars: ClassVar[int]  # parameters of each head
    recurrence: ClassVar[int]  # FLOPs for each value of the state
    chunk: ClassVar[int]  # tokens that kernels work through at a time in a prefill
    products: ClassVar[int]  # FLOPs for each value of the state in a chunk

    def tensors(self, linear: LinearAttention, make: TensorMaker) -> Iterator[Tensor]:
        """Projections, the convolution of Q, K and V, and what each head has."""
        n, hidden, heads = linear.layers, make.hidden, linear.key_heads
        decay = self.decays * linear.value_heads
        q_and_k = ("linear q and k", 2 * linear.keys, hidden, Split.KV, n)
        yield from make.linear(*q_and_k, kv_heads=heads)
        yield from make.linear("linear v", linear.values, hidden, Split.COLUMN, n)
        yield from make.linear("linear gate", linear.values, hidden, Split.COLUMN, n)
        yield from make.linear("linear decay", decay, hidden, Split.COLUMN, n)
        yield from make.linear("linear output", hidden, linear.values, Split.ROW, n)
        taps = linear.convolution + linear.convolution_bias
        convolved = ("linear q and k convolution", 2 * linear.keys, n, Split.KV)
        yield make.vector(*convolved, inputs=taps, kv_heads=heads)
        yield make.vector("linear v convolution", linear.values, n, Split.COLUMN, inputs=taps)
        yield make.vector("linear scalars", self.scalars * linear.value_heads, n, Split.COLUMN)
        yield from self.norm(linear, make)

    def norm(self, linear: LinearAttention, make: TensorMaker) -> Iterator[Tensor]:
        """The norm before the output projection."""
        yield make.vector("linear norm", linear.value_size, linear.layers)

    def decode_flops(self, linear: LinearAttention, tp: int) -> float:
        """For each value of the state: decay, update and read, and what a kind has besides."""
        heads = ceil(linear.value_heads / tp)
        values = heads * linear.key_size * linear.value_size
        return self.recurrence * values + self.convolution_flops(linear, tp)

    def prefill_flops(self, linear: LinearAttention, tp: int) -> float:
        """Each head reads and updates the state by matrix products, and attends within the chunk.

        An estimate: kernels skip parts of what is masked.
        """
        heads = ceil(linear.value_heads / tp)
        state = self.products * linear.key_size * linear.value_size
        within = 2 * self.chunk * (linear.key_size + linear.value_size)
        solved = self.solve_flops(linear)
        return heads * (state + within + solved) + self.convolution_flops(linear, tp)

    def solve_flops(self, _: LinearAttention) -> float:
        """FLOPs of one token and head to solve a chunk's system of keys."""
        return 0
