"""Mamba, the first one (Jamba): every value has a state and a step size of its own."""

from collections.abc import Iterator
from math import ceil

from tpdeploy.planner.model.recurrent.mixer import RecurrentMixer
from tpdeploy.planner.model.tensor import Split, Tensor, TensorMaker
from tpdeploy.profiles.models.shape import LinearAttention


class Mamba(RecurrentMixer):
    """Reads B, C and the step size from each token's convolved values."""

    name = "Mamba"
    column_parallel = "x of x and gate"
    heads = "values of Mamba"

    def tensors(self, linear: LinearAttention, make: TensorMaker) -> Iterator[Tensor]:
        """Projections, the convolution, and Jamba's norms of B, C and the step size.

        What selects B, C and the step size ends in an all-reduce of its own, which is not counted:
        it carries a twentieth of what the output's does.
        """
        n, wide, rank = linear.layers, linear.values, linear.rank or 1
        yield from make.linear("linear v", wide, make.hidden, Split.COLUMN, n)
        yield from make.linear("linear gate", wide, make.hidden, Split.COLUMN, n)
        selected = rank + 2 * linear.key_size
        yield from make.linear("linear selection", selected, wide, Split.ROW, n)
        yield from make.linear("linear decay", wide, rank, Split.COLUMN, n)
        yield from make.linear("linear output", make.hidden, wide, Split.ROW, n)
        taps = linear.convolution + linear.convolution_bias
        yield make.vector("linear v convolution", wide, n, Split.COLUMN, inputs=taps)
        # Decays of the state, the skip connection, and the bias of the step size.
        scalars = linear.key_size + 2
        yield make.vector("linear scalars", wide, n, Split.COLUMN, inputs=scalars)
        if linear.output_norm:
            yield make.vector("linear norms", selected, n)

    def channels(self, linear: LinearAttention, tp: int) -> int:
        """B and C are not convolved."""
        return ceil(linear.values / tp)

    def decode_flops(self, linear: LinearAttention, tp: int) -> float:
        """For each value of the state: its decay, update and read, seven FLOPs."""
        values = ceil(linear.values / tp) * linear.key_size
        return 7 * values + self.convolution_flops(linear, tp)

    def prefill_flops(self, linear: LinearAttention, tp: int) -> float:
        """A scan does about twice the work of the recurrence."""
        return 2 * self.decode_flops(linear, tp)
