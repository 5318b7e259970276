"""Workload: what users will send, and how fast they want the answer."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tpdeploy.profiles.record import Record

Percentile = Literal["mean", "p50", "p90", "p99"]


class Target(Record):
    """A latency that must not be exceeded, at a named statistic."""

    ms: Annotated[float, Field(gt=0)]
    at: Percentile = "p50"


class Workload(Record):
    """Requests of equal shape: in a closed loop (`concurrency`) or arriving at `rate`."""

    input_tokens: int = Field(default=1024, gt=0)
    output_tokens: int = Field(default=256, gt=0)
    concurrency: int | None = Field(default=None, gt=0, description="requests in flight")
    rate: Annotated[float, Field(gt=0)] | None = Field(default=None, description="requests/s")
    ttft: Target | None = Field(default=None, description="time to first token")
    tpot: Target | None = Field(
        default=None, description="(end-to-end - TTFT) / (output tokens - 1)"
    )

    @model_validator(mode="after")
    def _one_kind_of_load(self) -> "Workload":
        if (self.concurrency is None) == (self.rate is None):
            raise ValueError("give exactly one of concurrency and rate")
        return self

    @property
    def context_tokens(self) -> int:
        """Tokens one request holds at its end."""
        return self.input_tokens + self.output_tokens
