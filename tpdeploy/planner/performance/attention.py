"""Attention cost: FLOPs and bytes of what mixes tokens, for each kind of layer, on one rank."""

from dataclasses import dataclass
from itertools import chain

from tpdeploy.planner.model.attention.cost import ContextLayers
from tpdeploy.planner.model.attention.kinds import attentions, picking
from tpdeploy.planner.model.kv_cache import state_bytes
from tpdeploy.planner.model.recurrent.kinds import RECURRENT
from tpdeploy.profiles.models.shape import ModelShape
from tpdeploy.profiles.record import Dtype


@dataclass(frozen=True)
class StateLayers:
    """Layers of linear attention on one rank: a state of constant size for each sequence."""

    layers: int
    decode_flops: float  # a token, in one layer: the recurrence
    prefill_flops: float  # a token, in one layer: the chunked form
    state_bytes: float  # a sequence, in one layer; read and written once a step


def context_layers(shape: ModelShape, tp: int, kv_dtype: Dtype) -> tuple[ContextLayers, ...]:
    """The layers of `shape` that attend to KV, equal ones together."""
    return tuple(chain(*(kind.context(tp, kv_dtype) for kind in attentions(shape))))


def index_layers(shape: ModelShape, tp: int = 1) -> ContextLayers | None:
    """The indexers of `shape`."""
    picks = picking(shape)
    return picks.context(tp) if picks else None


def state_layers(shape: ModelShape, tp: int) -> StateLayers | None:
    """The layers of linear attention of `shape`."""
    linear = shape.linear
    if linear is None:
        return None
    mixer = RECURRENT[linear.kind]
    return StateLayers(
        layers=linear.layers,
        decode_flops=mixer.decode_flops(linear, tp),
        prefill_flops=mixer.prefill_flops(linear, tp),
        state_bytes=state_bytes(linear, tp, shape.dtype),
    )
