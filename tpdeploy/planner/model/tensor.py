"""Tensor: equal parameter tensors of a model, and how they are made for a shape."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil

from tpdeploy.planner.model.parts import Part
from tpdeploy.planner.model.weight_formats import linear_format, stored_bits
from tpdeploy.profiles.models.shape import ModelShape
from tpdeploy.profiles.record import Dtype


class Split(StrEnum):
    """What each rank holds of a tensor."""

    COLUMN = "column"  # a share of the outputs
    ROW = "row"  # a share of the inputs; the outputs are summed by an all-reduce
    KV = "kv"  # a share of the KV heads, at least one
    VOCAB = "vocab"  # a share of the padded vocabulary
    REPLICATED = "replicated"


@dataclass(frozen=True)
class Tensor:
    """`count` equal parameter tensors of `outputs` x `inputs` (a vector has one input)."""

    name: str
    count: int
    outputs: int
    inputs: int
    split: Split
    dtype: Dtype
    bits: float  # stored bits per value, scales included
    matmul: bool = True  # a matrix product with every token (or every sampled one: `head`)
    routed: bool = False  # belongs to one of the routed experts
    head: bool = False  # the output head
    stored: bool = True  # False: tied to another tensor
    kv_heads: int = 0
    reused: int = 0  # products of a step beside `count`, with the weights of one of them
    part: Part = "layer"

    @property
    def elements(self) -> int:
        """Values in one of them, over all ranks, padding and replicas not counted."""
        return self.outputs * self.inputs


def kv_heads_per_rank(kv_heads: int, tp: int) -> int:
    """KV heads on each rank; with more ranks than KV heads they are replicated."""
    return max(1, ceil(kv_heads / tp))


class TensorMaker:
    """Makes the tensors of one model, in the format that its checkpoint stores them in."""

    def __init__(self, shape: ModelShape) -> None:
        self.shape = shape
        self.hidden = shape.hidden

    def linear(
        self,
        name: str,
        outputs: int,
        inputs: int,
        split: Split,
        count: int,
        *,
        routed: bool = False,
        kv_heads: int = 0,
    ) -> Iterator[Tensor]:
        """A linear layer's weights, in the quantized format unless that leaves them out."""
        stored = self.shape.quantization
        kept = dict(stored.partly_excluded).get(name, 0) if stored else 0
        # Each layer has as many of them as there are experts, or one.
        kept *= self.shape.experts.count if routed and self.shape.experts else 1
        kept = min(kept, count)
        format_ = linear_format(stored, name)
        packed = Tensor(
            name,
            count - kept,
            outputs,
            inputs,
            split,
            format_.weights if format_ else self.shape.dtype,
            stored_bits(format_, outputs, inputs) if format_ else self.shape.dtype.bits,
            routed=routed,
            kv_heads=kv_heads,
        )
        if packed.count:
            yield packed
        if kept:
            dtype = self.shape.dtype
            yield replace(
                packed, name=f"{name} ({dtype})", count=kept, dtype=dtype, bits=dtype.bits
            )

    def vector(
        self,
        name: str,
        size: int,
        count: int,
        split: Split = Split.REPLICATED,
        *,
        inputs: int = 1,
        kv_heads: int = 0,
    ) -> Tensor:
        """What is not a matrix product: biases, norms, scales, short convolutions."""
        dtype = self.shape.dtype
        return Tensor(
            name,
            count,
            size,
            inputs,
            split,
            dtype,
            dtype.bits,
            matmul=False,
            kv_heads=kv_heads,
        )

    def matrix(
        self, name: str, outputs: int, split: Split, *, count: int = 1, matmul: bool = False
    ) -> Tensor:
        """A matrix on the hidden state that quantization leaves alone."""
        dtype = self.shape.dtype
        return Tensor(name, count, outputs, self.hidden, split, dtype, dtype.bits, matmul=matmul)
