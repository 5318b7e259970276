"""Latency under load: one replica's scheduler, advanced event by event on the step model.

Continuous batching with chunked prefill: every step decodes all running sequences first, then
fills the token budget with prompt chunks, first come first served. Requests wait when the
sequence limit or the KV cache is full. All requests of a workload have the same shape.
"""

import heapq
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from math import ceil, inf

from tpdeploy.planner.step import Step, StepModel
from tpdeploy.planner.workload import Workload

# Requests simulated: enough for a steady state after each client's first, and for a p99.
ROUNDS = 3
MIN_REQUESTS = 48
MAX_REQUESTS = 1536
OPEN_LOOP_REQUESTS = 400
ARRIVAL_SEED = 20260101
# An open loop whose queue grows serves visibly less than what arrives.
KEEPS_UP = 0.95


@dataclass(frozen=True)
class Engine:
    """One replica: its step model and its limits."""

    model: StepModel
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_requests: int  # requests of the workload's full length that the KV cache holds

    @property
    def running_limit(self) -> int:
        """Requests that may run at once."""
        return min(self.max_num_seqs, self.kv_requests)


@dataclass(frozen=True)
class Served:
    """What one replica did: latencies of the measured requests, and rates in steady state."""

    ttft_s: tuple[float, ...]
    tpot_s: tuple[float, ...]
    requests_per_s: float
    offered_per_s: float | None

    @property
    def keeps_up(self) -> bool:
        """Whether the replica serves what arrives (always so in a closed loop)."""
        return self.offered_per_s is None or self.requests_per_s >= KEEPS_UP * self.offered_per_s


@dataclass
class _Request:
    arrival: float
    prompt_left: int
    first_token: float = 0.0


@dataclass
class _Scheduler:
    """The state of one replica between two steps."""

    engine: Engine
    workload: Workload
    now: float = 0.0
    steps: int = 0
    context: int = 0  # tokens of context of all decoding sequences together
    waiting: deque[_Request] = field(default_factory=deque)
    prefilling: deque[_Request] = field(default_factory=deque)
    decoding: list[tuple[int, int, _Request]] = field(default_factory=list)  # heap by last step
    order: Iterator[int] = field(default_factory=count)

    def arrive(self, at: float) -> None:
        """Queue one request."""
        self.waiting.append(_Request(at, self.workload.input_tokens))

    def advance(self, until: float) -> list[_Request]:
        """Run one step, or equal decode steps up to the next event; return what finished."""
        step, chunks = self._compose()
        repeats = 1 if chunks else self._repeats(step, until)
        middle = (repeats - 1) / 2
        seconds = self.engine.model.time(_later(step, middle)).total
        self.now += repeats * seconds
        self.steps += repeats
        self.context += repeats * len(self.decoding)
        finished = self._finish_decodes()
        return finished + self._finish_prefills(chunks)

    def _compose(self) -> tuple[Step, list[tuple[_Request, int]]]:
        budget = self.engine.max_num_batched_tokens - len(self.decoding)
        running = len(self.decoding) + len(self.prefilling)
        while self.waiting and running < self.engine.running_limit:
            self.prefilling.append(self.waiting.popleft())
            running += 1
        chunks: list[tuple[_Request, int]] = []
        pairs = 0.0
        for request in self.prefilling:
            chunk = min(request.prompt_left, budget)
            if chunk <= 0:
                break
            done = self.workload.input_tokens - request.prompt_left
            pairs += chunk * (done + chunk / 2)
            chunks.append((request, chunk))
            budget -= chunk
        tokens = sum(chunk for _, chunk in chunks)
        step = Step(
            decode_sequences=len(self.decoding),
            decode_context=self.context / len(self.decoding) if self.decoding else 0.0,
            prefill_tokens=tokens,
            prefill_context=pairs / tokens if tokens else 0.0,
            prefills_done=sum(chunk == request.prompt_left for request, chunk in chunks),
        )
        return step, chunks

    def _repeats(self, step: Step, until: float) -> int:
        """Decode steps before a sequence ends or the next request arrives; at least one."""
        to_finish = self.decoding[0][0] - self.steps
        if until == inf:
            return to_finish
        to_arrival = ceil((until - self.now) / self.engine.model.time(step).total)
        return max(1, min(to_finish, to_arrival))

    def _finish_decodes(self) -> list[_Request]:
        finished = []
        while self.decoding and self.decoding[0][0] <= self.steps:
            finished.append(heapq.heappop(self.decoding)[2])
            self.context -= self.workload.context_tokens
        return finished

    def _finish_prefills(self, chunks: list[tuple[_Request, int]]) -> list[_Request]:
        finished = []
        for request, chunk in chunks:
            request.prompt_left -= chunk
            if request.prompt_left:
                continue
            self.prefilling.popleft()
            request.first_token = self.now
            if self.workload.output_tokens == 1:
                finished.append(request)
                continue
            last_step = self.steps + self.workload.output_tokens - 1
            heapq.heappush(self.decoding, (last_step, next(self.order), request))
            self.context += self.workload.input_tokens + 1
        return finished


def serve(engine: Engine, workload: Workload) -> Served:
    """Simulate one replica under its share of the load, given as `workload`.

    In a closed loop each finished request is followed at once by the next; the first request of
    every client warms up and is not measured. Arrivals of an open loop are Poisson.
    """
    if workload.concurrency is not None:
        return _closed_loop(engine, workload, workload.concurrency)
    assert workload.rate is not None  # noqa: S101 - Workload has exactly one of the two
    return _open_loop(engine, workload, workload.rate)


def _closed_loop(engine: Engine, workload: Workload, clients: int) -> Served:
    scheduler = _Scheduler(engine, workload)
    for _ in range(clients):
        scheduler.arrive(0.0)
    total = min(MAX_REQUESTS + clients, max(ROUNDS * clients, MIN_REQUESTS + clients))
    measured: list[tuple[_Request, float]] = []
    finished, warm_at = 0, 0.0
    while finished < total:
        for request in scheduler.advance(inf):
            finished += 1
            if finished > clients:
                measured.append((request, scheduler.now))
            elif finished == clients:
                warm_at = scheduler.now
            scheduler.arrive(scheduler.now)
    return _served(workload, measured, scheduler.now - warm_at, None)


def _open_loop(engine: Engine, workload: Workload, rate: float) -> Served:
    draw = random.Random(ARRIVAL_SEED)  # noqa: S311 - reproducible load, not cryptography
    scheduler = _Scheduler(engine, workload)
    arrivals = deque[float]()
    clock = 0.0
    for _ in range(OPEN_LOOP_REQUESTS):
        clock += draw.expovariate(rate)
        arrivals.append(clock)
    drawn_rate = OPEN_LOOP_REQUESTS / clock
    done: list[tuple[_Request, float]] = []
    while len(done) < OPEN_LOOP_REQUESTS:
        idle = not (scheduler.decoding or scheduler.prefilling or scheduler.waiting)
        if idle:
            scheduler.now = max(scheduler.now, arrivals[0])
        while arrivals and arrivals[0] <= scheduler.now:
            scheduler.arrive(arrivals.popleft())
        until = arrivals[0] if arrivals else inf
        done += [(request, scheduler.now) for request in scheduler.advance(until)]
    # The last answer ends one request's latency after the last arrival even without a queue.
    drain = min(end - request.arrival for request, end in done)
    return _served(workload, done, scheduler.now - drain, drawn_rate)


def _served(
    workload: Workload,
    done: list[tuple[_Request, float]],
    span: float,
    offered: float | None,
) -> Served:
    gaps = max(1, workload.output_tokens - 1)
    return Served(
        ttft_s=tuple(request.first_token - request.arrival for request, _ in done),
        tpot_s=tuple((end - request.first_token) / gaps for request, end in done),
        requests_per_s=len(done) / span,
        offered_per_s=offered,
    )


def _later(step: Step, decode_steps: float) -> Step:
    """The same decode step after `decode_steps` more, for the mean time of a run of them."""
    if not decode_steps:
        return step
    return Step(step.decode_sequences, step.decode_context + decode_steps)
