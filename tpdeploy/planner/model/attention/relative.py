"""Biases by distance (Inkling), which attention has in place of rotary positions."""

from collections.abc import Iterator

from tpdeploy.planner.model.tensor import Split, Tensor, TensorMaker
from tpdeploy.profiles.models.shape import Attention


def relative_tensors(
    attention: Attention, layers: int, prefix: str, make: TensorMaker
) -> Iterator[Tensor]:
    """What each head's bias comes from, and a table of distances that all heads use.

    Making the biases of it costs a fiftieth of the projections' time, which is not counted.
    """
    if bias := attention.relative:
        wide = attention.heads * bias.size
        yield from make.linear(f"{prefix}relative", wide, make.hidden, Split.COLUMN, layers)
        yield make.vector(f"{prefix}distances", bias.size, layers, inputs=bias.extent)
