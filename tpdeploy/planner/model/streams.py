"""Residual streams: what hyper-connections read and write them with."""

from collections.abc import Iterator
from dataclasses import replace

from tpdeploy.planner.model.tensor import Split, Tensor, TensorMaker
from tpdeploy.profiles.models.shape import Streams
from tpdeploy.profiles.record import Dtype


def stream_tensors(streams: Streams, make: TensorMaker) -> Iterator[Tensor]:
    """What stands before each mixer and MLP, and behind the last; whole on every rank."""
    if streams.rank:
        return _gated(streams.count, streams.rank, make)
    return _weighted(streams, make)


def _weighted(streams: Streams, make: TensorMaker) -> Iterator[Tensor]:
    """A weight for each stream, and for each pair of them where they are mixed."""
    m = streams.count
    mixed = m * m if streams.mixed else 0
    wide, mixes, ends = m * make.hidden, 2 * m + mixed, 2 * make.shape.layers
    fp32 = Dtype.FP32
    plain = Tensor("streams", ends, mixes, wide, Split.REPLICATED, fp32, fp32.bits)
    last = replace(plain, name="last streams", count=1, outputs=m, part="behind the last")
    scalars = {plain: mixes + (3 if streams.mixed else 2)}
    if streams.merged:
        scalars[last] = m + 1
    yield from scalars
    for each, outputs in scalars.items():
        name = f"{each.name}: scalars"
        yield replace(each, name=name, outputs=outputs, inputs=1, matmul=False)


def _gated(count: int, rank: int, make: TensorMaker) -> Iterator[Tensor]:
    """A norm, a gate of low rank for each value of each stream, and a weight to write it with."""
    wide, ends = count * make.hidden, 2 * make.shape.layers
    norm = make.vector("streams' norm", wide, ends)
    down = replace(make.matrix("streams down", rank, Split.REPLICATED, matmul=True), inputs=wide)
    up = replace(down, name="streams up", outputs=wide, inputs=rank)
    yield norm
    for each in (down, up, replace(down, name="streams", outputs=count)):
        yield replace(each, count=ends)
    for each in (norm, down, up):
        yield replace(each, name=f"last {each.name}", count=1, part="behind the last")
