"""Mixer: what the planner asks of a kind of attention."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from tpdeploy.planner.model.attention.cost import ContextLayers
from tpdeploy.planner.model.parts import Part
from tpdeploy.planner.model.tensor import Tensor, TensorMaker
from tpdeploy.profiles.models.shape import ModelShape
from tpdeploy.profiles.record import Dtype

# One FP32 scale stands for so many FP8 values, in an indexer's keys and in the latent that sparse
# attention reads (vLLM 0.32: deepseek_v2.py and flashmla_sparse.py).
SCALED_VALUES = 128
SCALE_BYTES = 4
# The rotary part of a latent or an entry stays in 16 bits.
ROPE_BYTES = 2


@dataclass(frozen=True)
class Projections:
    """Columns into the heads of one layer, and rows out of them, as `explain` draws it."""

    name: str
    outputs: int
    middle: str
    inputs: int


@dataclass(frozen=True)
class AttentionMixer(ABC):
    """The layers of one model with one kind of attention: KV for each token of context."""

    layers: int
    prefix: str = ""  # of its tensors' names
    part: Part = "attention"  # the layers that have it

    on_latent: ClassVar[bool] = False  # by the kernels that work on MLA's latent

    @property
    @abstractmethod
    def query_rank(self) -> int | None:
        """The size of the latent that Q comes from; None: the hidden state."""

    @property
    @abstractmethod
    def prompt_values(self) -> float:
        """Values of Q, K, V and output of one prompt token, all heads, in one layer."""

    @abstractmethod
    def tensors(self, make: TensorMaker) -> Iterator[Tensor]:
        """Every parameter tensor of its layers."""

    @abstractmethod
    def kv_bytes(self, tokens: float, tp: int, dtype: Dtype) -> Mapping[Part, float]:
        """Bytes of `tokens` of context in all of its layers on one rank, by part."""

    def in_flight_bytes(self, tokens: float, tp: int, dtype: Dtype) -> Mapping[Part, float]:
        """Bytes that windows hold for `tokens` of unfinished steps beside those that they span."""
        return {}

    def state_bytes(self, shape: ModelShape, tp: int) -> float:
        """Bytes that a sequence holds on one rank in all of its layers, whatever its context."""
        return 0.0

    @abstractmethod
    def context(self, tp: int, dtype: Dtype) -> Iterator[ContextLayers]:
        """What its layers cost on one rank, equal ones together; KV stored as `dtype`."""

    @abstractmethod
    def problems(self, tp: int) -> Iterator[str]:
        """Why no engine can split it over `tp` ranks."""

    @abstractmethod
    def projections(self, tp: int) -> Projections:
        """How `explain` draws one of its layers at width `tp`."""

    @property
    def all_reduces(self) -> int:
        """All-reduces of one step that end its blocks."""
        return self.layers

    @property
    def norm_all_reduces(self) -> int:
        """All-reduces of one step for norms of Q and K that span the heads of all ranks."""
        return 0
