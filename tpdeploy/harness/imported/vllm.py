"""The JSON that `vllm bench serve --save-result` writes, as of vLLM 0.32."""

from datetime import UTC, datetime, timedelta
from itertools import accumulate
from math import isinf
from typing import Annotated

from pydantic import Field

from tpdeploy.bounds import LEAST_RATE, MOST_SECONDS, Clients, Count, Figure, Seconds, Whole
from tpdeploy.errors import InputError, shown
from tpdeploy.harness.imported.run import (
    STATISTICS,
    ForeignFile,
    ImportedRun,
    sent_workload,
    spread_of,
)
from tpdeploy.harness.load.exchange import Exchange, Failure
from tpdeploy.harness.measure.metrics import DEFINITIONS, Measured, Spread, measure, spread
from tpdeploy.harness.measure.report import request_record
from tpdeploy.planner.workload import Workload

TOOL = "vllm bench serve"
Latency = Annotated[float, Field(ge=0, le=MOST_SECONDS)]
DATE = "%Y%m%d-%H%M%S"
MEANING = {
    "measured by": f"{TOOL}; these are its figures and its definitions",
    "TTFT": "from when a request was sent to its first chunk; waiting in the client is not in it",
    "TPOT": "(end-to-end - TTFT) / (output tokens - 1) of each request, tokens as the server says",
    "ITL": "between one chunk and the next, however many tokens a chunk has",
    "end-to-end": "from when a request was sent to its last chunk",
    "rates": "requests that succeeded, by the time from the first one sent to the last one's end",
}
MORE = (
    "run vllm bench serve with --percentile-metrics ttft,tpot,itl,e2el "
    "--metric-percentiles 50,90,95,99, or with --save-detailed"
)


class VllmResult(ForeignFile):
    """What is read of the file. Times are in seconds; the `*_ms` statistics are extra keys."""

    date: str
    model_id: str
    num_prompts: Count
    request_rate: float = Field(ge=LEAST_RATE, allow_inf_nan=True)
    max_concurrency: Clients | None
    ramp_up_strategy: str | None = None
    duration: Seconds
    completed: Count
    failed: Count | None = None
    total_input_tokens: Whole
    total_output_tokens: Whole
    latencies: tuple[Latency, ...] = ()
    # With --save-detailed, one of each per request.
    ttfts: tuple[Latency, ...] = ()
    itls: tuple[tuple[Latency, ...], ...] = ()
    input_lens: tuple[Count, ...] = ()
    output_lens: tuple[Count, ...] = ()
    errors: tuple[str | None, ...] = ()
    start_times: tuple[Figure, ...] = ()

    @property
    def failures(self) -> int:
        """Requests that failed; older releases do not count them."""
        return self.num_prompts - self.completed if self.failed is None else self.failed


def read_vllm(content: object, planned: Workload) -> ImportedRun:
    """The run in `content`, with the targets of `planned`.

    Raises:
        pydantic.ValidationError: not such a file.
        InputError: no request succeeded, the load varied, or a statistic is not in the file.
    """
    result = VllmResult.model_validate(content)
    if result.completed > result.num_prompts:
        raise InputError(f"says that {result.completed} of {result.num_prompts} requests succeeded")
    if result.completed < 1:
        raise InputError(f"not one of {result.num_prompts} requests succeeded")
    workload = _workload(result, planned)
    exchanges = _exchanges(result)
    if exchanges:
        if all(exchange.failure for exchange in exchanges):
            raise InputError(f"not one of {len(exchanges)} requests succeeded")
        measured = measure(exchanges, result.duration, workload)
        measured = measured.changed(client_lag_ms=None)
        own = ("goodput", "percentiles", "95 %")
        meaning = MEANING | {name: DEFINITIONS[name] for name in own}
    else:
        measured, meaning = _summary(result), MEANING
    since = min(result.start_times, default=0.0)
    return ImportedRun(
        tool=TOOL,
        models=(result.model_id,),
        started_at=_started(result),
        workload=workload,
        definitions=meaning,
        measured=measured,
        requests=tuple(request_record(e, since) for e in exchanges if result.start_times),
    )


def _workload(result: VllmResult, planned: Workload) -> Workload:
    if result.ramp_up_strategy:
        raise InputError("its rate was ramped up (--ramp-up-strategy): a plan is for a steady load")
    tokens = (
        result.total_input_tokens / result.completed,
        result.total_output_tokens / result.completed,
    )
    rate = None if isinf(result.request_rate) else result.request_rate
    if rate is None and result.max_concurrency is None:
        raise InputError(
            "every request was sent at once: run vllm bench serve with --max-concurrency, or with "
            "--request-rate"
        )
    return sent_workload(planned, tokens, result.max_concurrency, rate)


def _started(result: VllmResult) -> datetime:
    """When the run began: the file states when it ended, in the local time of its machine."""
    try:
        ended = datetime.strptime(result.date, DATE).astimezone(UTC)
        return ended - timedelta(seconds=result.duration)
    except (ValueError, OverflowError):
        given = shown(result.date)
        raise InputError(f"date {given!r}: expected as 20260131-235959") from None


def _exchanges(result: VllmResult) -> list[Exchange]:
    """The requests one by one; none without --save-detailed."""
    columns = (result.ttfts, result.itls, result.input_lens, result.output_lens, result.errors)
    if not all(columns):
        return []
    starts = result.start_times or (0.0,) * len(result.ttfts)
    try:
        lengths = zip(result.input_lens, result.output_lens, strict=True)
        rows = zip(starts, result.ttfts, result.itls, lengths, result.errors, strict=True)
        return [_exchange(*row) for row in rows]
    except ValueError:
        raise InputError("its lists of requests are of different lengths") from None


def _exchange(
    start: float,
    ttft: float,
    gaps: tuple[float, ...],
    lengths: tuple[int, int],
    error: str | None,
) -> Exchange:
    """One request; a failed one has an error, or no first token."""
    if error or not ttft:
        lines = (error or "").strip().splitlines()  # of a traceback the last one says what it was
        failure = Failure("reported", lines[-1] if lines else "no reason given")
        return Exchange(start, start, failure=failure)
    times = list(accumulate(gaps, initial=start + ttft))
    return Exchange(
        due=start,
        sent=start,
        arrivals=[(time, 1) for time in times],
        prompt_tokens=lengths[0],
        output_tokens=lengths[1],
        finished=times[-1],
    )


def _summary(result: VllmResult) -> Measured:
    """The figures as the tool computed them; only the end-to-end ones may be left to us."""
    several = result.total_output_tokens > result.completed
    whole = result.latencies if not result.failures and "mean_e2el_ms" not in _extra(result) else ()
    output, prompts = result.total_output_tokens, result.total_input_tokens
    return Measured(
        requests=result.completed,
        failures={"reported": result.failures} if result.failures else {},
        span_s=result.duration,
        ttft_ms=_spread(result, "ttft"),
        tpot_ms=_spread(result, "tpot") if several else None,
        itl_ms=_spread(result, "itl") if several else None,
        e2e_ms=spread(whole) if whole else _spread(result, "e2el"),
        requests_per_s=result.completed / result.duration,
        output_tokens_per_s=output / result.duration,
        total_tokens_per_s=(output + prompts) / result.duration,
        goodput_per_s=None,
        client_lag_ms=None,
    )


def _spread(result: VllmResult, name: str) -> Spread:
    extra = _extra(result)
    keys = {at: f"{'median' if at == 'p50' else at}_{name}_ms" for at in STATISTICS}
    missing = [key for key in keys.values() if key not in extra]
    if missing:
        raise InputError(f"has no {', '.join(missing)}: {MORE}")
    return spread_of(f"{name}_ms", {at: extra[key] for at, key in keys.items()})


def _extra(result: VllmResult) -> dict[str, object]:
    return result.model_extra or {}
