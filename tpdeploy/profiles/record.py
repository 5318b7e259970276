"""Base of every profile record: strict models, and the source of each number."""

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Confidence = Literal["high", "medium", "low"]


class Record(BaseModel):
    """A strict, immutable record: no unknown key, no wrong type, no number that is not finite."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=False, allow_inf_nan=False, defer_build=True
    )

    def changed(self, **values: Any) -> Self:
        """A copy with other `values`, names and all checked as those of a new record.

        What the planner derives (a replica's share of a rate) may lie beyond the bounds of what a
        user states: such copies are not checked (`model_copy`).
        """
        return type(self)(**{**vars(self), **values})


class Provenance(Record):
    """Where a block of numbers comes from."""

    source: Text = Field(description="document, repository file at a commit, or measurement")
    date: date
    confidence: Confidence = "high"
    note: str = ""


class Dtype(StrEnum):
    """Number formats that weights, activations or KV cache are stored in."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    INT8 = "int8"
    FP4 = "fp4"
    INT4 = "int4"

    @property
    def bits(self) -> int:
        """Bits of one stored value, scales not included."""
        return _BITS[self]


_BITS = {
    Dtype.FP32: 32,
    Dtype.BF16: 16,
    Dtype.FP16: 16,
    Dtype.FP8: 8,
    Dtype.INT8: 8,
    Dtype.FP4: 4,
    Dtype.INT4: 4,
}
