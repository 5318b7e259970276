"""Mixer: what the planner asks of a kind of recurrent layer."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from tpdeploy.planner.model.tensor import Tensor, TensorMaker
from tpdeploy.profiles.models.shape import LinearAttention


@dataclass(frozen=True)
class State:
    """Values of one layer's state for one sequence on one rank."""

    recurrent: int  # in the state's own dtype
    convolution: int  # the last tokens that the convolution saw, in the model's dtype


class RecurrentMixer(ABC):
    """A layer with a state of constant size for each sequence, instead of KV for each token."""

    name: ClassVar[str]  # as `explain` calls it
    column_parallel: ClassVar[str]  # what of its input projections it draws
    heads: ClassVar[str] = "heads of linear attention"
    groups: ClassVar[str] = "state groups"

    @abstractmethod
    def tensors(self, linear: LinearAttention, make: TensorMaker) -> Iterator[Tensor]:
        """Every parameter tensor of its layers."""

    @abstractmethod
    def decode_flops(self, linear: LinearAttention, tp: int) -> float:
        """FLOPs of one token in one layer on one rank, as its recurrence."""

    @abstractmethod
    def prefill_flops(self, linear: LinearAttention, tp: int) -> float:
        """FLOPs of one token in one layer on one rank, in the form that kernels read prompts."""

    def state(self, linear: LinearAttention, tp: int) -> State:
        """The state that an engine keeps on each of `tp` ranks."""
        recurrent = ceil(linear.value_heads / tp) * linear.value_size * linear.key_size
        return State(recurrent, self.channels(linear, tp) * (linear.convolution - 1))

    def channels(self, linear: LinearAttention, tp: int) -> int:
        """Values of a token that go through the convolution on one rank."""
        groups = max(1, ceil(linear.key_heads / tp))
        values = ceil(linear.value_heads / tp) * linear.value_size
        return 2 * groups * linear.key_size + values

    def convolution_flops(self, linear: LinearAttention, tp: int) -> float:
        """FLOPs of one token in the convolution of one layer on one rank."""
        return 2 * self.channels(linear, tp) * linear.convolution

    def replicates(self, linear: LinearAttention) -> bool:
        """Whether ranks may hold replicas of the heads of keys where `tp` does not divide them."""
        return linear.key_heads == 1

    def problems(self, linear: LinearAttention, tp: int) -> Iterator[str]:
        """Why vLLM cannot split it over `tp` ranks: it divides the heads, and the groups."""
        if linear.value_heads % tp:
            yield f"{linear.value_heads} {self.heads} cannot be divided by {tp}"
        if linear.key_heads % tp and not self.replicates(linear):
            yield f"{linear.key_heads} {self.groups} of linear attention cannot be divided by {tp}"
