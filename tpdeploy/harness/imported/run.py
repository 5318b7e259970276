"""What another load generator measured, in the terms of a validation."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from pydantic import BaseModel, ConfigDict

from tpdeploy.errors import InputError
from tpdeploy.harness.measure.metrics import Measured, Spread
from tpdeploy.harness.measure.report import RequestRecord
from tpdeploy.planner.workload import Workload

STATISTICS = ("mean", "p50", "p90", "p95", "p99")
# How far the tools round what they write, relative to it.
ROUNDING = 1e-3


class ForeignFile(BaseModel):
    """A file of another tool: keys that are used are checked, others are ignored."""

    model_config = ConfigDict(
        extra="allow", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )


@dataclass(frozen=True)
class ImportedRun:
    """One run of another load generator; `models` are the names it sent requests to."""

    tool: str
    models: tuple[str, ...]
    started_at: datetime
    workload: Workload
    definitions: dict[str, str]
    measured: Measured
    requests: tuple[RequestRecord, ...] = ()


def spread_of(name: str, found: Mapping[str, object]) -> Spread:
    """The statistics of `name` in ms as a tool computed them, without confidence intervals.

    Raises:
        pydantic.ValidationError: not numbers, or beyond every latency.
        InputError: a percentile below a lower one.
    """
    spread = Spread.model_validate({**found, "confidence": {}})
    rising = (spread.p50, spread.p90, spread.p95, spread.p99)
    if any(after < before * (1 - ROUNDING) for before, after in pairwise(rising)):
        told = ", ".join(f"{value:g}" for value in rising)
        raise InputError(f"{name}: p50, p90, p95 and p99 are {told}, which do not rise")
    return spread


def sent_workload(
    planned: Workload, tokens: tuple[float, float], concurrency: int | None, rate: float | None
) -> Workload:
    """What was sent, with the targets of `planned`; `tokens` of a request: in and out, the means.

    Raises:
        pydantic.ValidationError: lengths or a load that no run has.
        InputError: the run had both kinds of load, or neither: no prediction is for such a one.
    """
    if concurrency and rate:
        raise InputError(
            f"{rate:g} requests/s with at most {concurrency} in flight is neither load that a "
            "plan is for; run it with one of the two"
        )
    if not concurrency and not rate:
        raise InputError("names no load: run it with requests in flight, or with requests/s")
    given, answered = (max(1, round(number)) for number in tokens)
    return Workload.model_validate(
        {
            **dict(planned),
            "input_tokens": given,
            "output_tokens": answered,
            "concurrency": concurrency or None,
            "rate": rate or None,
        }
    )
