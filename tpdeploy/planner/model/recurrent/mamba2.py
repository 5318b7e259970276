"""Mamba-2: Q and K are called C and B, their heads groups, and their size the state's."""

from collections.abc import Iterator
from typing import ClassVar

from tpdeploy.planner.model.recurrent.attention import LinearMixer
from tpdeploy.planner.model.tensor import Split, Tensor, TensorMaker
from tpdeploy.profiles.models.shape import LinearAttention


class Mamba2(LinearMixer):
    """Decays the state, and adds."""

    name = "Mamba-2"
    column_parallel = "x of B, C, x and gate"
    decays: ClassVar[int] = 1  # the step size
    scalars: ClassVar[int] = 3  # decay, the step size's bias, the skip connection
    recurrence: ClassVar[int] = 5
    chunk: ClassVar[int] = 128  # chunk_size of Nemotron-H's configs
    products: ClassVar[int] = 4

    def norm(self, linear: LinearAttention, make: TensorMaker) -> Iterator[Tensor]:
        """Over all heads of a group; Falcon-H1 has none."""
        if linear.output_norm:
            yield make.vector("linear norm", linear.values, linear.layers, Split.COLUMN)
