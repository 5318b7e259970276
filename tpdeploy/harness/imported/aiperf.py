"""The JSON summary of aiperf and of genai-perf before it.

Its keys: docs/reference/json-export-schema.md of ai-dynamo/aiperf, schema 1.0 to 1.5. Where the
load stands moved: `phases` (aiperf's configuration 2), `loadgen` (before), `perf_analyzer`
(genai-perf).
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from tpdeploy.bounds import Count, Figure
from tpdeploy.errors import InputError, shown
from tpdeploy.harness.imported.run import (
    STATISTICS,
    ForeignFile,
    ImportedRun,
    sent_workload,
    spread_of,
)
from tpdeploy.harness.measure.metrics import Measured, Spread
from tpdeploy.planner.workload import Workload

# aiperf's names of units; a latency without one is in ms.
MS = {"": 1.0, "ms": 1.0, "milliseconds": 1.0, "s": 1e3, "sec": 1e3, "us": 1e-3, "ns": 1e-6}
MEANING = {
    "TTFT": "from when a request was sent to its first response; waiting in the client is not in "
    "it",
    "TPOT": "its inter_token_latency: (end-to-end - TTFT) / (output tokens - 1) of each request, "
    "tokens as the tool counts them",
    "end-to-end": "its request_latency: from when a request was sent to its last response",
    "rates": "as the tool computed them, its warm-up left out",
}


class Metric(ForeignFile):
    """One metric: of a rate or a count only `avg`."""

    unit: str = ""
    avg: Figure
    p50: Figure | None = None
    p90: Figure | None = None
    p95: Figure | None = None
    p99: Figure | None = None


class ErrorCount(ForeignFile):
    """How many requests failed for one reason."""

    count: Count = 0


class AiperfResult(ForeignFile):
    """What is read of the file."""

    aiperf_version: str | None = None
    start_time: datetime | None = None
    input_config: dict[str, object]
    time_to_first_token: Metric | None = None
    inter_token_latency: Metric | None = None
    request_latency: Metric
    request_throughput: Metric
    output_token_throughput: Metric
    input_sequence_length: Metric
    output_sequence_length: Metric
    request_count: Metric | None = None
    benchmark_duration: Metric | None = None
    error_request_count: Metric | None = None
    error_summary: tuple[ErrorCount, ...] | None = None

    @property
    def tool(self) -> str:
        """Which tool wrote it; genai-perf states no version."""
        if "perf_analyzer" in self.input_config:
            return "genai-perf"
        return f"aiperf {self.aiperf_version}" if self.aiperf_version else "aiperf"

    @property
    def failures(self) -> int | None:
        """Requests that failed; None: the file does not count them."""
        if self.error_request_count:
            return round(self.error_request_count.avg)
        if self.error_summary is None:
            return None
        return sum(error.count for error in self.error_summary)


def read_aiperf(content: object, planned: Workload, written: datetime) -> ImportedRun:
    """The run in `content`, with the targets of `planned`.

    `written` is when the file was, for a file that does not say when the run began.

    Raises:
        pydantic.ValidationError: not such a file.
        InputError: a statistic or the load is not in it, or answers were not streamed.
    """
    result = AiperfResult.model_validate(content)
    tokens = (result.input_sequence_length.avg, result.output_sequence_length.avg)
    meaning = {"measured by": f"{result.tool}; these are its figures and definitions", **MEANING}
    return ImportedRun(
        tool=result.tool,
        models=_models(result.input_config),
        started_at=_aware(result.start_time) if result.start_time else written,
        workload=sent_workload(planned, tokens, *_load(result.input_config)),
        definitions=meaning,
        measured=_measured(result),
    )


def _measured(result: AiperfResult) -> Measured:
    per_s = result.request_throughput.avg
    requests, span_s = _requests(result)
    tokens = result.input_sequence_length.avg + result.output_sequence_length.avg
    several = result.output_sequence_length.avg > 1
    return Measured(
        requests=requests,
        failures=_failures(result.failures),
        span_s=span_s,
        ttft_ms=_spread("time_to_first_token", result.time_to_first_token),
        tpot_ms=_spread("inter_token_latency", result.inter_token_latency) if several else None,
        itl_ms=None,
        e2e_ms=_spread("request_latency", result.request_latency),
        requests_per_s=per_s,
        output_tokens_per_s=result.output_token_throughput.avg,
        total_tokens_per_s=per_s * tokens,
        goodput_per_s=None,
        client_lag_ms=None,
    )


def _failures(number: int | None) -> dict[str, int] | None:
    if number is None:
        return None
    return {"reported": number} if number else {}


def _requests(result: AiperfResult) -> tuple[int, float]:
    """Requests that succeeded and the seconds they took; either follows from the rate."""
    per_s, count, lasted = (
        result.request_throughput.avg,
        result.request_count,
        result.benchmark_duration,
    )
    if per_s <= 0:
        raise InputError("request_throughput is 0: not one request succeeded")
    if count is None and lasted is None:
        raise InputError("has neither request_count nor benchmark_duration")
    span_s = lasted.avg * _ms("benchmark_duration", lasted.unit or "s") / 1e3 if lasted else None
    requests = round(count.avg) if count else round(per_s * (span_s or 0))
    return requests, span_s or requests / per_s


def _spread(name: str, metric: Metric | None) -> Spread:
    if metric is None:
        raise InputError(f"has no {name}: run it with --streaming")
    unit_ms = _ms(name, metric.unit)
    found = {"mean": metric.avg} | {at: getattr(metric, at) for at in STATISTICS[1:]}
    missing = [at for at, value in found.items() if value is None]
    if missing:
        raise InputError(f"{name} has no {', '.join(missing)}: give the summary of one run")
    return spread_of(name, {at: value * unit_ms for at, value in found.items()})


def _ms(name: str, unit: str) -> float:
    if unit not in MS:
        raise InputError(f"{name} is in {shown(unit)!r}; known: {', '.join(filter(None, MS))}")
    return MS[unit]


def _models(config: Mapping[str, object]) -> tuple[str, ...]:
    """The models' names, wherever this release keeps them."""
    items = _within(config, "models", "items") or _within(config, "models")
    if isinstance(items, list):
        return tuple(str(i["name"] if isinstance(i, dict) and "name" in i else i) for i in items)
    for path in (("endpoint", "model_names"), ("model_names",), ("model",)):
        names = _within(config, *path)
        if names:
            return tuple(map(str, names)) if isinstance(names, list) else (str(names),)
    raise InputError("input_config names no model")


class _Load(ForeignFile):
    concurrency: Count | None = None
    rate: Figure | None = None
    request_rate: Figure | None = None


def _load(config: Mapping[str, object]) -> tuple[int | None, float | None]:
    """Requests in flight and requests/s, wherever this release keeps them."""
    phases = _within(config, "phases")
    profiling = [
        phase
        for phase in (phases if isinstance(phases, list) else ())
        if isinstance(phase, dict) and "profiling" in (phase.get("name"), phase.get("kind"))
    ]
    found = (
        *profiling,
        _within(config, "loadgen"),
        _within(config, "perf_analyzer", "stimulus"),
        config,
    )
    for place in found:
        if isinstance(place, dict) and {"concurrency", "rate", "request_rate"} & place.keys():
            load = _Load.model_validate({key: _only(place.get(key)) for key in _Load.model_fields})
            return load.concurrency, load.rate or load.request_rate
    return None, None


def _within(config: Mapping[str, object], *path: str) -> object:
    """What `config` holds at `path`; None if nothing."""
    found: object = config
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _only(value: object) -> object:
    """The value itself, which genai-perf writes as a list of one in places."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _aware(time: datetime) -> datetime:
    """aiperf's times are UTC, with or without saying so."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)
