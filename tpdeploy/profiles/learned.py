"""What validations on this machine taught: one correction an engine, device and class of models."""

from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field

from tpdeploy.bounds import Count, Factor, Figure, Index
from tpdeploy.errors import InputError
from tpdeploy.files import data_home, kind_of, write_whole
from tpdeploy.profiles.accelerator import Efficiency, Serving
from tpdeploy.profiles.cluster import Cluster
from tpdeploy.profiles.measured import name_of, shares_of
from tpdeploy.profiles.model import LatentAttention, ModelShape
from tpdeploy.profiles.record import Record, Text
from tpdeploy.records import read_json_record

ModelClass = Literal["dense", "experts", "latent"]

# A judgement: on other models of the class a correction is trusted to this, on those it was
# learned from to as much as its runs show, but to no less than the second.
OTHER_MODELS_ERROR, LEAST_ERROR = 0.25, 0.15


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


def model_class(shape: ModelShape) -> ModelClass:
    """What models are corrected together."""
    if isinstance(shape.attention, LatentAttention):
        return "latent"
    return "experts" if shape.experts else "dense"


def path_of(engine: str, device: str, shares: tuple[int, ...], kind: ModelClass) -> Path:
    """Where a correction is kept."""
    return data_home() / "learned" / engine / f"{name_of(device, shares)}-{kind}.json"


def keep(correction: Correction) -> Path:
    """Write it whole where plans will find it; return where that is."""
    device, shares = correction.device, correction.shares
    path = path_of(correction.engine, device, shares, correction.model_class)
    write_whole(path, correction.model_dump_json(indent=2) + "\n")
    return path


def find(cluster: Cluster, shape: ModelShape) -> Correction | None:
    """The correction for this model on `cluster`, None if there is none for what it counts with.

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
        "arrival_s": serving.arrival_s * factors.communication,
        "step_s": serving.step_s * slower,
        "prompt_step_s": serving.prompt_step_s * slower,
        "group_step_s": serving.group_step_s * slower,
        "layer_s": serving.layer_s * slower,
        "sequence_s": serving.sequence_s * slower,
        "request_s": serving.request_s * slower,
        "start": serving.start * slower,
    }
    return efficiency.model_copy(update={"serving": Serving(**{**dict(serving), **changed})})


def learned_here(cluster: Cluster, shape: ModelShape, correction: Correction) -> Cluster:
    """`cluster` as its validations have shown it, for `shape`."""
    efficiency = corrected(cluster.efficiency, correction.factors)
    errors, known = efficiency.errors, shape.id in correction.models
    least = LEAST_ERROR if known else OTHER_MODELS_ERROR
    narrowed = errors.model_copy(
        update={
            "ttft": min(errors.ttft, max(least, 2 * correction.ttft_error)),
            "tpot": min(errors.tpot, max(least, 2 * correction.tpot_error)),
            "confidence": "high" if known else "medium",
        }
    )
    runs = f"{correction.runs} run{'s' if correction.runs > 1 else ''}"
    told = f"corrected by {runs} measured here, the last on {correction.last:%Y-%m-%d}"
    return cluster.model_copy(
        update={
            "efficiency": efficiency.model_copy(update={"errors": narrowed}),
            "measured": (*cluster.measured, told),
        }
    )
