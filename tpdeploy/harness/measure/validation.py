"""Validation: run the plan's workload on an endpoint; compare with prediction and targets."""

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from pathlib import Path

import httpx

from tpdeploy import __version__
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.harness.load.client import allow_many_connections, open_client, served_models
from tpdeploy.harness.load.completion import complete
from tpdeploy.harness.load.exchange import Exchange
from tpdeploy.harness.load.loops import closed_loop, gaps_between, on_schedule, open_loop
from tpdeploy.harness.load.recorder import Amount, Progress, Recorder
from tpdeploy.harness.load.requests import (
    Asked,
    Draw,
    random_requests,
    read_requests,
    recorded_requests,
)
from tpdeploy.harness.measure.comparison import compare, overall
from tpdeploy.harness.measure.metrics import DEFINITIONS, Measured, measure
from tpdeploy.harness.measure.report import ValidationReport, WarmUp, request_record
from tpdeploy.harness.measure.teaching import (
    Launched,
    Sent,
    not_comparable,
    why_not_learned,
)
from tpdeploy.planner.plan import DeploymentPlan, Prediction
from tpdeploy.planner.serving.over_time import Answered, timeline
from tpdeploy.planner.serving.percentiles import requests_needed
from tpdeploy.planner.trace import Trace
from tpdeploy.planner.workload import Workload

# Rounds of requests by default; a round is what is in flight at once.
ROUNDS = 4
WARM_UP_ROUNDS = 3
MIN_REQUESTS = 32
# At a rate as many are in flight as arrive during one answer; a round is that, and at least this.
OPEN_LOOP_ROUND = 8
# Longer answers than this are not waited for: three rounds of warm-up are then three minutes.
MOST_LATENCY_S = 60.0
# Requests before a replay, and the time in which its first ones are made.
REPLAY_WARM_UP, LEAD_S = 6, 0.5


@dataclass(frozen=True, kw_only=True)
class Measurement(Sent):
    """How to measure: what is sent, how much of it, and how much before."""

    amount: Amount
    warm_up: int
    round_size: int
    begin_over_s: float = 0.0  # seconds in which the clients of a closed loop begin, one by one


def measurement(
    workload: Workload,
    requests: int | None = None,
    seconds: float | None = None,
    warm_up: int | None = None,
    latency_s: float = 0.0,
) -> Measurement:
    """How to measure `workload`, with defaults for what is None: enough to tell its targets.

    `latency_s` is what one answer is expected to take. In a closed loop requests are measured in
    whole rounds: those of equal length end together, and part of a round takes as long as all.
    Where lengths differ clients begin spread over one answer, as the plan predicts them.
    """
    size = round_size(workload, latency_s)
    if requests is None and seconds is None:
        targets = (workload.ttft, workload.tpot)
        needed = [requests_needed(target.at) for target in targets if target]
        requests = max(MIN_REQUESTS, ROUNDS * size, *needed)
    limit = WARM_UP_ROUNDS * size if warm_up is None else warm_up
    if requests is not None and workload.concurrency:
        requests = ceil(requests / size) * size
    return Measurement(
        workload=workload,
        amount=Amount(requests, seconds),
        warm_up=limit,
        round_size=size,
        begin_over_s=min(latency_s, MOST_LATENCY_S) if workload.differs else 0.0,
    )


def replay_of(workload: Workload, trace: Trace, warm_up: int | None = None) -> Measurement:
    """How to measure `workload`, whose requests come as `trace` has them: all of them.

    Before that, equal requests of mean length are sent one after the other, until two in a row
    take the same time.
    """
    return Measurement(
        workload=workload,
        amount=Amount(len(trace.requests)),
        warm_up=REPLAY_WARM_UP if warm_up is None else warm_up,
        round_size=1,
        trace=trace,
    )


def round_size(workload: Workload, latency_s: float) -> int:
    """Requests in flight at once, whose latency is compared with the next ones' to see it settle.

    At a rate they are rate x latency (Little's law), so that a warm-up of two rounds or more is
    longer than two answers.
    """
    in_flight = ceil((workload.rate or 0.0) * min(latency_s, MOST_LATENCY_S))
    return workload.concurrency or max(OPEN_LOOP_ROUND, in_flight)


def expected_latency_s(prediction: Prediction, workload: Workload) -> float:
    """End-to-end latency of a mean request, in seconds: TTFT + (output tokens - 1) x TPOT."""
    later = (workload.output_tokens - 1) * prediction.tpot_distribution.mean
    return (prediction.ttft_distribution.mean + later) / 1000


async def validate(
    plan: DeploymentPlan,
    base_url: str,
    how: Measurement,
    *,
    launched: Launched | None = None,
    api_key: str | None = None,
    certificate: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> ValidationReport:
    """Measure `how` on the endpoint at `base_url` and compare it with `plan`.

    `launched` is what a deployment of ours was started with, if it is one.

    Raises:
        InputError: the endpoint serves another model, or requests longer than the plan allows.
        TpdeployError: nothing answers there, or not one request succeeded.
    """
    _check_length(plan, how.workload)
    _check_trace(how)
    started_at, recorder = datetime.now(UTC), _recorder(how, on_progress)
    async with open_client(base_url, api_key, certificate) as client:
        await _check_model(client, plan.model.id)
        versions = await _versions(client)
        await _drive(client, plan, how, recorder)
    measured = _measured(recorder, how.workload)
    prediction = plan.prediction if how.workload == plan.workload else None
    other = not_comparable(how, launched)
    rows = compare(measured, prediction, how.workload, comparable=other is None)
    return ValidationReport(
        started_at=started_at,
        endpoint=base_url,
        not_learned=why_not_learned(plan, launched, how, measured.failed),
        not_comparable=other,
        versions=versions,
        plan=plan,
        workload=how.workload,
        seed=how.draw.seed,
        definitions=DEFINITIONS,
        warm_up=_warm_up(recorder),
        measured=measured,
        rows=rows,
        expected=prediction,
        verdict=overall(rows, measured.failed),
        requests=tuple(request_record(e, recorder.since) for e in recorder.measured),
    )


def _recorder(how: Measurement, on_progress: Callable[[Progress], None]) -> Recorder:
    closed = how.workload.concurrency is not None
    return Recorder(how.warm_up, how.round_size, how.amount, on_progress, whole_rounds=closed)


async def _drive(
    client: httpx.AsyncClient, plan: DeploymentPlan, how: Measurement, recorder: Recorder
) -> None:
    """Send the load until the recorder has enough."""
    allow_many_connections()
    load = how.workload
    if how.trace:
        await _replay(client, plan, how, how.trace, recorder)
        return
    requests = _requests(plan, how)

    async def send(due: float | None) -> Exchange:
        return await complete(client, plan.model.id, next(requests), due, exact=how.exact)

    if load.concurrency is not None:
        await closed_loop(send, load.concurrency, recorder.take, how.begin_over_s)
    elif load.rate is not None:
        await open_loop(send, gaps_between(load.rate, how.arrivals, how.draw.seed), recorder.take)


async def _replay(
    client: httpx.AsyncClient,
    plan: DeploymentPlan,
    how: Measurement,
    trace: Trace,
    recorder: Recorder,
) -> None:
    """Send the requests of `trace` when they are due; the recorder begins with the first second."""

    async def send(asked: Asked, due: float | None) -> Exchange:
        return await complete(client, plan.model.id, asked, due, exact=how.exact)

    mean = how.workload.model_copy(update={"lengths": None})
    warming = random_requests(plan.model.vocab, mean, Draw(how.draw.seed + 1))
    while recorder.warming_up and not recorder.take(await send(next(warming), None)):
        pass
    requests = recorded_requests(plan.model.vocab, trace, how.draw.seed)
    recorder.since = time.monotonic() + LEAD_S
    await on_schedule(send, requests, recorder.since, recorder.take)


def _requests(plan: DeploymentPlan, how: Measurement) -> Iterator[Asked]:
    if how.prompts:
        return read_requests(how.prompts, how.workload.output_tokens)
    return random_requests(plan.model.vocab, how.workload, how.draw)


def _measured(recorder: Recorder, workload: Workload) -> Measured:
    if all(exchange.failure for exchange in recorder.measured):
        raise TpdeployError(_nothing_succeeded([*recorder.warm_up, *recorder.measured]))
    measured = measure(recorder.measured, recorder.span_s, workload)
    if not workload.recording:
        return measured
    answered = [
        Answered(e.due - recorder.since, e.ttft_s, e.e2e_s, e.output_tokens)
        for e in recorder.measured
        if e.failure is None
    ]
    return measured.changed(timeline=timeline(answered, workload.recording.seconds, workload))


def _nothing_succeeded(exchanges: list[Exchange]) -> str:
    failures = [exchange.failure for exchange in exchanges if exchange.failure]
    kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(f.kind for f in failures).items())
    return (
        f"no measured request succeeded; of {len(exchanges)} sent, failed: {kinds}; "
        f"first: {failures[0].message}"
    )


def _warm_up(recorder: Recorder) -> WarmUp:
    failed = sum(exchange.failure is not None for exchange in recorder.warm_up)
    return WarmUp(
        requests=len(recorder.warm_up),
        failed=failed,
        stable=recorder.stable,
        seconds=max(0.0, recorder.since - recorder.began),
    )


def _check_length(plan: DeploymentPlan, workload: Workload) -> None:
    limit, longest = plan.limits.max_model_len, workload.longest_tokens
    if longest > limit:
        at_most = f", {longest:,} at the longest," if workload.differs else ""
        raise InputError(
            f"{workload.input_tokens} tokens in and {workload.output_tokens} out{at_most} exceed "
            f"the plan's max_model_len {limit}"
        )


def _check_trace(how: Measurement) -> None:
    recording = how.workload.recording
    if recording and how.trace is None:
        raise InputError(
            f"the plan is for recorded requests ({recording.name}): give --trace with that file, "
            "or --rate or --concurrency for another load"
        )


async def _check_model(client: httpx.AsyncClient, model: str) -> None:
    served = await served_models(client)
    if model not in served:
        raise InputError(
            f"{client.base_url} serves {', '.join(served)}, the plan is for {model}: give the "
            "plan it was launched with"
        )


async def _versions(client: httpx.AsyncClient) -> dict[str, str]:
    """Versions of what took part; many servers, not all, say theirs."""
    versions = {"tpdeploy": __version__, "python": platform.python_version()}
    try:
        said = (await client.get("/version")).json()["version"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return versions
    return {**versions, "server": str(said)}
