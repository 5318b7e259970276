"""LFM2's gated short convolution: its state is the last tokens that it saw."""

from collections.abc import Iterator
from math import ceil

from tpdeploy.planner.model.recurrent.mixer import RecurrentMixer, State
from tpdeploy.planner.model.tensor import Split, Tensor, TensorMaker
from tpdeploy.profiles.models.shape import LinearAttention


class ShortConvolution(RecurrentMixer):
    """Gates what goes into a convolution over few tokens, and what comes out."""

    name = "short convolution"
    column_parallel = "x of x and both gates"
    heads = "values of the convolution"

    def tensors(self, linear: LinearAttention, make: TensorMaker) -> Iterator[Tensor]:
        """Three projections of one input, the convolution and the output; each may have a bias."""
        n, hidden, wide = linear.layers, make.hidden, linear.values
        yield from make.linear("linear gate", 2 * wide, hidden, Split.COLUMN, n)
        yield from make.linear("linear v", wide, hidden, Split.COLUMN, n)
        yield from make.linear("linear output", hidden, wide, Split.ROW, n)
        taps = linear.convolution + linear.convolution_bias
        yield make.vector("linear v convolution", wide, n, Split.COLUMN, inputs=taps)
        if linear.convolution_bias:
            yield make.vector("linear bias", 3 * wide, n, Split.COLUMN)
            yield make.vector("linear output bias", hidden, n)

    def state(self, linear: LinearAttention, tp: int) -> State:
        """No recurrent state."""
        return State(0, self.channels(linear, tp) * (linear.convolution - 1))

    def channels(self, linear: LinearAttention, tp: int) -> int:
        """Every value of the hidden state."""
        return ceil(linear.values / tp)

    def decode_flops(self, linear: LinearAttention, tp: int) -> float:
        """The convolution, and both gates."""
        return self.convolution_flops(linear, tp) + 2 * self.channels(linear, tp)

    def prefill_flops(self, linear: LinearAttention, tp: int) -> float:
        """The same for every token."""
        return self.decode_flops(linear, tp)
