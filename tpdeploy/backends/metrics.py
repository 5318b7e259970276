"""An engine's own metrics, read from its Prometheus text into names of ours."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import mean
from typing import TYPE_CHECKING

from pydantic import Field

from tpdeploy.bounds import Figure
from tpdeploy.errors import TpdeployError
from tpdeploy.profiles.record import Record

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

# Fields of EngineMetrics of which several are no sum.
SHARES = frozenset({"kv_use"})


@dataclass(frozen=True)
class MetricNames:
    """Where an engine shows its metrics, and what it calls those that have a name of ours."""

    path: str
    histograms: dict[str, str]  # field of EngineMetrics -> the engine's name
    prefix: str = ""  # what some releases put before every name, and others do not
    values: dict[str, str] = field(default_factory=dict)  # likewise, gauges and counters


class Summed(Record):
    """A histogram: how many observations there were, and their sum."""

    count: Figure
    sum: Figure = Field(description="seconds")

    def since(self, before: "Summed") -> "Summed":
        """What was observed after `before`."""
        return Summed(count=self.count - before.count, sum=self.sum - before.sum)


class EngineMetrics(Record):
    """What engines tell of their times and of their load; None where this one does not."""

    ttft: Summed | None = None
    itl: Summed | None = None
    tpot: Summed | None = None
    e2e: Summed | None = None
    queue: Summed | None = Field(default=None, description="waiting for the first step")
    prefill: Summed | None = None
    decode: Summed | None = None
    running: Figure | None = Field(default=None, description="requests in steps now")
    waiting: Figure | None = Field(default=None, description="requests that no step has yet")
    kv_use: Figure | None = Field(default=None, description="share of the KV cache in use")
    generated_tokens: Figure | None = Field(default=None, description="since it was started")


def read_metrics(text: str, names: MetricNames) -> EngineMetrics:
    """The metrics in `text`; of several of a name (ranks, workers) the sum, of shares the mean.

    Raises:
        TpdeployError: it is no Prometheus text.
    """
    try:
        samples = list(_samples(text, names.prefix))
        times = {key: _summed(samples, name) for key, name in names.histograms.items()}
        values = {
            key: _value(samples, name, mean if key in SHARES else sum)
            for key, name in names.values.items()
        }
        return EngineMetrics.model_validate({**times, **values})
    except ValueError as error:
        raise TpdeployError(f"{names.path} is no Prometheus text: {error}") from error


def _summed(samples: list["Sample"], name: str) -> Summed | None:
    count, total = _value(samples, f"{name}_count"), _value(samples, f"{name}_sum")
    return None if count is None or total is None else Summed(count=count, sum=total)


def _samples(text: str, prefix: str) -> Iterator["Sample"]:
    # Imported where it is used: every plan knows the names, and none reads a metric.
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415

    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample._replace(name=sample.name.removeprefix(prefix))


def _value(
    samples: list["Sample"], name: str, join: Callable[[list[float]], float] = sum
) -> float | None:
    values = [sample.value for sample in samples if sample.name == name]
    return join(values) if values else None
