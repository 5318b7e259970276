"""Corrections learned from validations: one per engine, device and class of models."""

from math import sqrt
from operator import ge
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field

from tpdeploy.bounds import Count, Factor, Figure, Index
from tpdeploy.errors import InputError
from tpdeploy.files import data_home, kind_of, write_whole
from tpdeploy.learning.calibrations import name_of, shares_of
from tpdeploy.profiles.devices.accelerator import Efficiency
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.models.shape import LatentAttention, ModelShape
from tpdeploy.profiles.record import Record, Text
from tpdeploy.records import read_json_record

ModelClass = Literal["dense", "experts", "latent"]

# A judgement: on other models of the class a correction is trusted to this, on those it was
# learned from to as much as its runs show, but to no less than the second.
OTHER_MODELS_ERROR, LEAST_ERROR = 0.25, 0.15
# Judgements: runs, loads and seconds from the first run to the last that a confidence takes. A
# machine's quarter of an hour is not the machine.
HIGH, MEDIUM = (6, 3, 3600.0), (3, 2, 0.0)
Confidence = Literal["high", "medium", "low"]


class Factors(Record):
    """Physical corrections of an efficiency."""

    memory: Factor = Field(default=1.0, description="on the memory rate of every kernel")
    compute: Factor = Field(default=1.0, description="on the compute rate of products and prompts")
    overhead: Factor = Field(default=1.0, description="on the time outside kernels")
    communication: Factor = Field(default=1.0, description="on the time of collectives")


class Correction(Record):
    """Factors, and the runs they were fitted to."""

    version: Literal[1] = 1
    engine: Text
    device: Text
    shares: tuple[Index, ...]
    model_class: ModelClass
    base: tuple[str, ...] = Field(description="what was measured of the cluster it corrects")
    factors: Factors
    models: tuple[Text, ...]
    runs: Count = Field(gt=0)
    last: AwareDatetime = Field(description="when the newest run was measured")
    ttft_error_before: Figure = Field(description="median of |predicted / measured - 1|")
    tpot_error_before: Figure
    ttft_error: Figure = Field(description="the same with the factors, on the same runs")
    tpot_error: Figure
    loads: Count = Field(default=1, gt=0, description="different loads among the runs")
    first: AwareDatetime | None = Field(
        default=None, description="when the oldest run was measured"
    )
    ttft_left_out: Figure = Field(
        default=1.0,
        description="four of five runs are off by no more when predicted from the others",
    )
    tpot_left_out: Figure = 1.0

    @property
    def span_s(self) -> float:
        """Seconds from the first run to the last."""
        return (self.last - self.first).total_seconds() if self.first else 0.0


def model_class(shape: ModelShape) -> ModelClass:
    """The class of models that share a correction."""
    if isinstance(shape.attention, LatentAttention):
        return "latent"
    return "experts" if shape.experts else "dense"


def path_of(engine: str, device: str, shares: tuple[int, ...], kind: ModelClass) -> Path:
    """The file that holds a correction."""
    return data_home() / "learned" / engine / f"{name_of(device, shares)}-{kind}.json"


def keep(correction: Correction) -> Path:
    """Write the file for later plans, and return its path."""
    device, shares = correction.device, correction.shares
    path = path_of(correction.engine, device, shares, correction.model_class)
    write_whole(path, correction.model_dump_json(indent=2) + "\n")
    return path


def forget(correction: Correction) -> None:
    """Remove the file of a correction."""
    device, shares = correction.device, correction.shares
    path_of(correction.engine, device, shares, correction.model_class).unlink(missing_ok=True)


def find(cluster: Cluster, shape: ModelShape) -> Correction | None:
    """The correction for this model on `cluster`; None if there is none that applies.

    Raises:
        InputError: the file is not what was written.
    """
    device, shares = cluster.accelerator.name, shares_of(cluster)
    path = path_of(cluster.efficiency.engine, device, shares, model_class(shape))
    if not kind_of(path):
        return None
    try:
        found = read_json_record(path, Correction)
    except InputError as error:
        raise InputError(f"{error}; remove it, and validate again") from error
    return found if found.base == cluster.measured else None


def corrected(efficiency: Efficiency, factors: Factors) -> Efficiency:
    """`efficiency` with `factors`."""
    serving = efficiency.serving
    slower = factors.overhead
    changed = {
        "memory": serving.memory * factors.memory,
        "compute": serving.compute * factors.compute,
        "experts": serving.experts * factors.compute,
        "communication": serving.communication * factors.communication,
        "pcie_communication": serving.pcie_communication * factors.communication,
        "arrival_s": serving.arrival_s * factors.communication,
        "step_s": serving.step_s * slower,
        "prompt_step_s": serving.prompt_step_s * slower,
        "group_step_s": serving.group_step_s * slower,
        "layer_s": serving.layer_s * slower,
        "sequence_s": serving.sequence_s * slower,
        "context_s": serving.context_s * slower,
        "request_s": serving.request_s * slower,
        "start": serving.start * slower,
    }
    return efficiency.changed(serving=serving.changed(**changed))


# A range of more than a factor of ten either way says nothing more.
MOST_OFF = 9.0


def range_error(known: float, left_out: float, runs: int, least: float) -> float:
    """How far a corrected prediction may be off: its range is a factor of 1 + this either way.

    `known` is that error before any run here, whose log shrinks with the root of the number of
    `runs`; `left_out` what four of five runs were off by, predicted from the others; `least` what
    no number of runs goes below. All are |predicted / measured - 1|, without a unit.

    >>> [round(range_error(1.5, 0.1, runs, 0.15), 2) for runs in (1, 2, 4, 12)]
    [1.5, 0.91, 0.58, 0.3]
    >>> range_error(0.3, 0.6, 4, 0.15)
    0.6
    >>> range_error(0.3, 1e18, 2, 0.15)
    9.0
    """
    shrunk: float = (1 + known) ** (1 / sqrt(runs)) - 1
    return min(MOST_OFF, max(min(known, least), left_out, shrunk))


def confidence(correction: Correction, before: Confidence, *, known: bool) -> Confidence:
    """By how many runs of how many loads over how long; one less for models not `known` to it.

    No less than `before`, but for a high one: that was of predictions without the correction.
    """
    shown = (correction.runs, correction.loads, correction.span_s)
    levels: tuple[Confidence, ...] = ("low", "medium", "high")
    level = sum(all(map(ge, shown, needed)) for needed in (MEDIUM, HIGH))
    least = min(levels.index(before), 1)
    return levels[max(least, level if known else level - 1)]


def learned_here(cluster: Cluster, shape: ModelShape, correction: Correction) -> Cluster:
    """`cluster` with the correction for `shape` applied."""
    efficiency = corrected(cluster.efficiency, correction.factors)
    errors, known = efficiency.errors, shape.id in correction.models
    least = LEAST_ERROR if known else OTHER_MODELS_ERROR
    shown = errors.changed(
        ttft=range_error(errors.ttft, correction.ttft_left_out, correction.runs, least),
        tpot=range_error(errors.tpot, correction.tpot_left_out, correction.runs, least),
        parts=(),
        confidence=confidence(correction, errors.confidence, known=known),
    )
    runs = f"{correction.runs} run{'s' if correction.runs > 1 else ''}"
    told = f"corrected by {runs} measured here, the last on {correction.last:%Y-%m-%d}"
    return cluster.changed(
        efficiency=efficiency.changed(errors=shown), measured=(*cluster.measured, told)
    )
