"""Latency under load: one replica's scheduler, advanced event by event on the step model.

Continuous batching with chunked prefill: every step decodes all running sequences first, then
fills the token budget with prompt chunks, first come first served (or, in engines that put prompts
first, runs the chunks alone). Requests wait when the sequence limit or the KV cache is full.
"""

import heapq
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from math import ceil, inf

from tpdeploy.planner.step import Step
from tpdeploy.planner.step_model import StepModel
from tpdeploy.planner.workload import Workload

MIN_REQUESTS = 48
MAX_REQUESTS = 2560
OPEN_LOOP_REQUESTS = 400
SEED = 20260101
# An open loop whose queue grows serves visibly less than what arrives.
KEEPS_UP = 0.95


@dataclass(frozen=True)
class Protocol:
    """How a closed loop is measured."""

    requests_per_client: float = 3
    fewest_requests: int = MIN_REQUESTS  # in all, not counting those
    warm_up: bool = True  # each client's first request is not counted
    length_spread: float = 0.0  # lengths are drawn evenly from (1 - this) to 1 times the workload's


# What a server shows after a while, and what a benchmark reports that counts its first burst.
STEADY = Protocol()


@dataclass(frozen=True)
class Engine:
    """One replica: its step model and its limits."""

    model: StepModel
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_requests: int  # requests of the workload's full length that the KV cache holds
    prompts_first: bool = False  # prompt chunks run in steps of their own, before decoding goes on
    steps_ahead: bool = False  # a step is made ready while the one before it runs
    # From an answer's end to the client's next request: requests that end together do not begin
    # together, since the first of them is in a step when the others arrive.
    turnaround_s: float = 0.0
    request_s: float = 0.0  # spent on a request outside the steps, before its first token

    @property
    def running_limit(self) -> int:
        """Requests of the workload's full length that may run at once."""
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
    prompt: int
    answer: int
    prompt_left: int  # to compute; less than the prompt where its beginning is cached
    first_token: float = 0.0

    @property
    def context(self) -> int:
        """Tokens it holds at its end."""
        return self.prompt + self.answer


@dataclass
class _Scheduler:
    """The state of one replica between two steps."""

    engine: Engine
    workload: Workload
    spread: float = 0.0
    now: float = 0.0
    ready: float = 0.0  # when it was settled what the coming step does
    steps: int = 0  # that decoded
    context: float = 0.0  # tokens of context of all decoding sequences together
    held: int = 0  # KV tokens promised to running requests
    waiting: deque[_Request] = field(default_factory=deque)
    prefilling: deque[_Request] = field(default_factory=deque)
    decoding: list[tuple[int, int, _Request]] = field(default_factory=list)  # heap by last step
    order: Iterator[int] = field(default_factory=count)
    draw: random.Random = field(default_factory=lambda: random.Random(SEED))  # noqa: S311

    def __post_init__(self) -> None:
        speculation = self.workload.speculation
        self.gain = speculation.tokens_per_step if speculation else 1.0  # tokens a step
        self.verified = speculation.verified_tokens if speculation else 1
        self.drafting = speculation.tokens * speculation.draft_cost if speculation else 0.0
        self.kv_tokens = self.engine.kv_requests * self.workload.context_tokens

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.decoding or self.prefilling or self.waiting)

    def arrive(self, at: float) -> None:
        """Queue one request."""
        prompt = self._length(self.workload.input_tokens)
        answer = self._length(self.workload.output_tokens)
        cached = min(prompt - 1, round(prompt * self.workload.prefix_hit_rate))
        self.waiting.append(_Request(at, prompt, answer, prompt - cached))

    def _length(self, tokens: int) -> int:
        if not self.spread:
            return tokens
        return self.draw.randint(max(1, round(tokens * (1 - self.spread))), tokens)

    def advance_with(self, coming: deque[float]) -> list[_Request]:
        """Queue what of `coming` has arrived, and advance up to the next arrival."""
        if self.idle:
            self.now = self.ready = max(self.now, coming[0])
        while coming and coming[0] <= self.ready:
            self.arrive(coming.popleft())
        return self.advance(coming[0] if coming else inf)

    def advance(self, until: float) -> list[_Request]:
        """Run one step, or equal decode steps up to the next event; return what finished."""
        self._admit()
        chunks = self._chunks()
        step = self._step(chunks)
        repeats = 1 if chunks else self._repeats(step, until)
        if repeats > 1:
            step = replace(step, decode_context=step.decode_context + self.gain * (repeats - 1) / 2)
        seconds = self._seconds(step)
        self.now += repeats * seconds
        self.ready = self.now - seconds if self.engine.steps_ahead else self.now
        if step.decode_sequences:
            self.steps += repeats
            self.context += repeats * self.gain * step.decode_sequences
        finished = self._finish_decodes()
        return finished + self._finish_prefills(chunks)

    def _admit(self) -> None:
        running = len(self.decoding) + len(self.prefilling)
        while self.waiting and running < self.engine.max_num_seqs:
            needed = self.waiting[0].context
            if self.held + needed > self.kv_tokens:
                return
            self.held += needed
            self.prefilling.append(self.waiting.popleft())
            running += 1

    def _chunks(self) -> list[tuple[_Request, int]]:
        """The prompt chunks of the next step."""
        decodes = 0 if self.engine.prompts_first else len(self.decoding) * self.verified
        budget = self.engine.max_num_batched_tokens - decodes
        chunks: list[tuple[_Request, int]] = []
        for request in self.prefilling:
            chunk = min(request.prompt_left, budget)
            if chunk <= 0:
                break
            chunks.append((request, chunk))
            budget -= chunk
        return chunks

    def _step(self, chunks: list[tuple[_Request, int]]) -> Step:
        tokens, pairs, done = 0, 0.0, 0
        for request, chunk in chunks:
            tokens += chunk
            pairs += chunk * (request.prompt - request.prompt_left + chunk / 2)
            done += chunk == request.prompt_left
        decodes = 0 if chunks and self.engine.prompts_first else len(self.decoding)
        return Step(
            decode_sequences=decodes,
            decode_context=self.context / decodes if decodes else 0.0,
            prefill_tokens=tokens,
            prefill_context=pairs / tokens if tokens else 0.0,
            prefills_done=done,
            verified=self.verified,
        )

    def _seconds(self, step: Step) -> float:
        seconds = self.engine.model.time(step).total
        if self.drafting and step.decode_sequences:
            alone = Step(step.decode_sequences, step.decode_context)
            seconds += self.drafting * self.engine.model.time(alone).total
        return seconds

    def _repeats(self, step: Step, until: float) -> int:
        """Decode steps before a sequence ends or the next request arrives; at least one."""
        to_finish = self.decoding[0][0] - self.steps
        if until == inf:
            return to_finish
        to_arrival = ceil((until - self.now) / self._seconds(step))
        return max(1, min(to_finish, to_arrival))

    def _finish_decodes(self) -> list[_Request]:
        finished = []
        while self.decoding and self.decoding[0][0] <= self.steps:
            request = heapq.heappop(self.decoding)[2]
            finished.append(request)
            self.held -= request.context
        left = self.context - sum(self._grown(request) for request in finished)
        self.context = left if self.decoding else 0.0
        return finished

    def _grown(self, request: _Request) -> float:
        """Context of a request that ends: its prompt, and what its steps added."""
        return request.prompt + 1 + self._decode_steps(request) * self.gain

    def _decode_steps(self, request: _Request) -> int:
        return ceil((request.answer - 1) / self.gain)

    def _finish_prefills(self, chunks: list[tuple[_Request, int]]) -> list[_Request]:
        finished = []
        for request, chunk in chunks:
            request.prompt_left -= chunk
            if request.prompt_left:
                continue
            self.prefilling.popleft()
            request.first_token = self.now
            if request.answer == 1:
                finished.append(request)
                self.held -= request.context
                continue
            last_step = self.steps + self._decode_steps(request)
            heapq.heappush(self.decoding, (last_step, next(self.order), request))
            self.context += request.prompt + 1
        return finished


def serve(engine: Engine, workload: Workload, protocol: Protocol = STEADY) -> Served:
    """Simulate one replica under its share of the load, given as `workload`.

    In a closed loop each finished request is followed at once by the next. Arrivals of an open
    loop are Poisson.
    """
    if workload.concurrency is not None:
        return _closed_loop(engine, workload, workload.concurrency, protocol)
    assert workload.rate is not None  # noqa: S101 - Workload has exactly one of the two
    return _open_loop(engine, workload, workload.rate)


def _closed_loop(engine: Engine, workload: Workload, clients: int, protocol: Protocol) -> Served:
    scheduler = _Scheduler(engine, workload, protocol.length_spread)
    first = clients if protocol.warm_up else 0
    wanted = max(round(protocol.requests_per_client * clients), protocol.fewest_requests + first)
    total = min(max(MAX_REQUESTS, 2 * clients), wanted)
    coming = deque([0.0] * clients)
    issued = clients
    measured: list[tuple[_Request, float]] = []
    finished, warm_at = 0, 0.0
    while finished < total:
        for request in scheduler.advance_with(coming):
            finished += 1
            if finished > first:
                measured.append((request, scheduler.now))
            elif finished == first:
                warm_at = scheduler.now
            if protocol.warm_up or issued < total:
                coming.append(scheduler.now + engine.turnaround_s)
                issued += 1
    return _served(engine, measured, scheduler.now - warm_at, None)


def _open_loop(engine: Engine, workload: Workload, rate: float) -> Served:
    draw = random.Random(SEED)  # noqa: S311 - reproducible load, not cryptography
    scheduler = _Scheduler(engine, workload)
    arrivals = deque[float]()
    clock = 0.0
    for _ in range(OPEN_LOOP_REQUESTS):
        clock += draw.expovariate(rate)
        arrivals.append(clock)
    drawn_rate = OPEN_LOOP_REQUESTS / clock
    done: list[tuple[_Request, float]] = []
    while len(done) < OPEN_LOOP_REQUESTS:
        done += [(request, scheduler.now) for request in scheduler.advance_with(arrivals)]
    # The last answer ends one request's latency after the last arrival even without a queue.
    drain = min(end - request.arrival for request, end in done)
    return _served(engine, done, scheduler.now - drain, drawn_rate)


def _served(
    engine: Engine, done: list[tuple[_Request, float]], span: float, offered: float | None
) -> Served:
    return Served(
        ttft_s=tuple(
            engine.request_s + request.first_token - request.arrival for request, _ in done
        ),
        tpot_s=tuple((end - r.first_token) / max(1, r.answer - 1) for r, end in done),
        requests_per_s=len(done) / span,
        offered_per_s=offered,
    )
