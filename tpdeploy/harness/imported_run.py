"""What another load generator measured, in the terms of a validation."""

from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from tpdeploy.errors import InputError
from tpdeploy.harness.metrics import Measured
from tpdeploy.harness.report import RequestRecord
from tpdeploy.planner.workload import Workload

STATISTICS = ("mean", "p50", "p90", "p95", "p99")


class ForeignFile(BaseModel):
    """A file of another tool: what is read of it is checked, the rest is let be."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())


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


def sent_workload(
    planned: Workload, tokens: tuple[float, float], concurrency: int | None, rate: float | None
) -> Workload:
    """What was sent, with the targets of `planned`; `tokens` of a request: in and out, the means.

    Raises:
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
    return planned.model_copy(
        update={
            "input_tokens": given,
            "output_tokens": answered,
            "concurrency": concurrency or None,
            "rate": rate or None,
        }
    )
