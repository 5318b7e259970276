"""Inputs of each layer beside the hidden state (Gemma 3n and 4), and Gemma 3n's further paths."""

from collections.abc import Iterator
from dataclasses import replace

from tpdeploy.planner.model.tensor import Split, Tensor, TensorMaker
from tpdeploy.profiles.models.shape import LayerInputs


def before_the_layers(inputs: LayerInputs, make: TensorMaker) -> Iterator[Tensor]:
    """Each token's inputs of all layers: an embedding, and a projection of the hidden state."""
    wide = inputs.size * make.shape.layers
    yield replace(make.matrix("inputs embedding", inputs.vocab, Split.VOCAB), inputs=wide)
    yield make.matrix("inputs projection", wide, Split.COLUMN, matmul=True)
    yield make.vector("inputs norm", inputs.size, 1)
    yield from _copies("copies", inputs, make)


def in_the_layers(inputs: LayerInputs, make: TensorMaker) -> Iterator[Tensor]:
    """How a layer adds its inputs; engines keep it whole on every rank."""
    n, hidden = make.shape.layers, make.hidden
    yield make.matrix("inputs gate", inputs.size, Split.REPLICATED, count=n, matmul=True)
    into = make.matrix("inputs output", hidden, Split.REPLICATED, count=n, matmul=True)
    yield replace(into, inputs=inputs.size)
    yield make.vector("norm behind inputs", hidden, n)
    if rank := inputs.bypass_rank:
        yield make.matrix("bypass down", rank, Split.COLUMN, count=n, matmul=True)
        up = make.matrix("bypass up", hidden, Split.ROW, count=n, matmul=True)
        yield replace(up, inputs=rank)
        yield make.vector("norm behind bypass", hidden, n)
    if (streams := inputs.copies) > 1:
        # Coefficients that predict and correct the copies, and the router that they come from.
        yield make.vector("copies' coefficients", streams**2 + streams**3, n)
        yield make.matrix("copies' router", streams, Split.REPLICATED, count=n, matmul=True)
        yield make.vector("copies' norm and scale", 2 * hidden, n)


def behind_the_layers(inputs: LayerInputs, make: TensorMaker) -> Iterator[Tensor]:
    """What makes one hidden state of the copies."""
    yield from _copies("copies back", inputs, make)


def _copies(name: str, inputs: LayerInputs, make: TensorMaker) -> Iterator[Tensor]:
    if inputs.copies > 1:
        projections = inputs.copies - 1
        yield make.matrix(name, make.hidden, Split.COLUMN, count=projections, matmul=True)
