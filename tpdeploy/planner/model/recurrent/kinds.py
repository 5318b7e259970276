"""The kinds of recurrent mixers, by `LinearAttention.kind`."""

from collections.abc import Mapping

from tpdeploy.planner.model.recurrent.convolution import ShortConvolution
from tpdeploy.planner.model.recurrent.delta import DeltaNet
from tpdeploy.planner.model.recurrent.kda import KimiDelta
from tpdeploy.planner.model.recurrent.mamba import Mamba
from tpdeploy.planner.model.recurrent.mamba2 import Mamba2
from tpdeploy.planner.model.recurrent.mixer import RecurrentMixer

RECURRENT: Mapping[str, RecurrentMixer] = {
    "delta": DeltaNet(),
    "kda": KimiDelta(),
    "mamba": Mamba(),
    "mamba2": Mamba2(),
    "convolution": ShortConvolution(),
}
