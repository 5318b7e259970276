"""The kinds of recurrent mixers, by `LinearAttention.kind`."""

from collections.abc import Mapping

from tpdeploy.planner.model.recurrent.delta import DeltaNet
from tpdeploy.planner.model.recurrent.mamba2 import Mamba2
from tpdeploy.planner.model.recurrent.mixer import RecurrentMixer

RECURRENT: Mapping[str, RecurrentMixer] = {"delta": DeltaNet(), "mamba2": Mamba2()}
