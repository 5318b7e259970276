"""Fabrics: what joins the GPUs of one machine, with measured all-reduce curves."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tpdeploy.profiles.record import Provenance, Record, Text

Point = tuple[Annotated[int, Field(gt=0)], Annotated[float, Field(gt=0)]]


class AllReduceCurve(Provenance):
    """Measured time of one all-reduce by message size, for one group size and algorithm."""

    algorithm: Literal["nccl", "custom-graph", "custom-eager", "trtllm", "shared-memory"]
    group_size: int = Field(ge=2)
    gpu: Text
    points: tuple[Point, ...] = Field(min_length=2, description="(message bytes, seconds), rising")

    @model_validator(mode="after")
    def _sizes_rise(self) -> "AllReduceCurve":
        sizes = [size for size, _ in self.points]
        if sizes != sorted(set(sizes)):
            raise ValueError("points must be sorted by message size, each size once")
        return self


class LinkModel(Provenance):
    """Stated model for group sizes nobody measured: latency per hop and ring bandwidth."""

    hop_latency_s: float = Field(gt=0)
    ring_bytes_per_s: float = Field(gt=0, description="achieved bus bandwidth per device")


class Fabric(Record):
    """One way of joining GPUs. Groups wider than `island` leave it and use `beyond`."""

    name: Text
    description: Text
    island: int = Field(ge=1, description="devices joined by this fabric directly")
    beyond: Text | None = Field(default=None, description="fabric between islands of one machine")
    link: LinkModel
    curves: tuple[AllReduceCurve, ...] = ()
