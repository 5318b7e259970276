"""KV cache and state: what one token and one request cost on each rank."""

from collections import defaultdict
from collections.abc import Mapping

from tpdeploy.planner.model.attention.kinds import attentions, picking
from tpdeploy.planner.model.parts import Part
from tpdeploy.planner.model.recurrent.kinds import RECURRENT
from tpdeploy.profiles.models.shape import LinearAttention, ModelShape
from tpdeploy.profiles.record import Dtype


def token_bytes(shape: ModelShape, tp: int, dtype: Dtype) -> float:
    """Bytes one more token of context costs on one rank while no window is full."""
    return kv_bytes(shape, 1, tp, dtype)


def kv_bytes(shape: ModelShape, tokens: float, tp: int, dtype: Dtype) -> float:
    """Bytes of KV that a request of `tokens` of context holds on one rank."""
    return sum(_kv_parts(shape, tokens, tp, dtype).values())


def request_parts(shape: ModelShape, tokens: float, tp: int, dtype: Dtype) -> Mapping[Part, float]:
    """Bytes that one request of `tokens` of context holds on one rank, by kind of layer."""
    states: Mapping[Part, float] = {
        "linear": _recurrent_bytes(shape, tp),
        "layer": _convolution_bytes(shape, tp),
    }
    return {**_kv_parts(shape, tokens, tp, dtype), **states}


def _kv_parts(shape: ModelShape, tokens: float, tp: int, dtype: Dtype) -> dict[Part, float]:
    """Bytes of KV of `tokens` of context, by kind of layer."""
    found: dict[Part, float] = defaultdict(float)
    for attention in attentions(shape):
        for part, held in attention.kv_bytes(tokens, tp, dtype).items():
            found[part] += held
    if picks := picking(shape):
        found["full"] += picks.kv_bytes(tokens)
    return found


def in_flight_parts(
    shape: ModelShape, tokens: float, tp: int, dtype: Dtype
) -> Mapping[Part, float]:
    """Bytes that windows hold on one rank for `tokens` of unfinished steps, by kind of layer."""
    found: dict[Part, float] = defaultdict(float)
    for attention in attentions(shape):
        for part, held in attention.in_flight_bytes(tokens, tp, dtype).items():
            found[part] += held
    return found


def state_bytes(linear: LinearAttention, tp: int, dtype: Dtype) -> float:
    """Bytes of one layer's state for one sequence on one rank, however long its context.

    The recurrent state in its own dtype, and the convolution's last tokens in the model's.
    """
    state = RECURRENT[linear.kind].state(linear, tp)
    recurrent = state.recurrent * (linear.state_dtype or dtype).bits
    return (recurrent + state.convolution * dtype.bits) / 8


def sequence_bytes(shape: ModelShape, tp: int) -> float:
    """Bytes that every sequence holds on one rank besides its KV.

    The states of linear layers, and what short convolutions saw last.
    """
    return _recurrent_bytes(shape, tp) + _convolution_bytes(shape, tp)


def _convolution_bytes(shape: ModelShape, tp: int) -> float:
    return sum(attention.state_bytes(shape, tp) for attention in attentions(shape))


def _recurrent_bytes(shape: ModelShape, tp: int) -> float:
    if shape.linear is None:
        return 0.0
    return shape.linear.layers * state_bytes(shape.linear, tp, shape.dtype)


def request_bytes(shape: ModelShape, tokens: float, tp: int, dtype: Dtype) -> float:
    """Bytes one request of `tokens` of context holds on one rank, states included."""
    return kv_bytes(shape, tokens, tp, dtype) + sequence_bytes(shape, tp)
