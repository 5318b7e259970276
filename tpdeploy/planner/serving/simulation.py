"""Latency under load: one replica's scheduler under clients that wait, or under arrivals.

A closed loop is clients of which each sends its next request when it has its answer. An open loop
is arrivals that do not wait. Both are simulated until what is measured is the steady state.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from heapq import heappop, heappush
from itertools import chain, count, cycle, repeat
from math import ceil, inf, sqrt
from statistics import fmean, median, stdev

from tpdeploy.planner.lengths import EVEN_ANSWERS, EVEN_PROMPTS
from tpdeploy.planner.performance.step import Step
from tpdeploy.planner.protocol import FULL, STEADY, Protocol
from tpdeploy.planner.serving.lanes import Request
from tpdeploy.planner.serving.percentiles import requests_needed
from tpdeploy.planner.serving.scheduler import Engine, Scheduler, Seen
from tpdeploy.planner.workload import Workload

MAX_REQUESTS = 2560
SEED = 20260101
# Clients beyond those that run at once, so that the queue of a full replica is never empty.
QUEUED = 1.25
# A queue is simulated up to so many clients for each that runs, and at least so many in all.
LONGEST_QUEUE, FEWEST_QUEUED = 3, 256
# Above this share of a rough estimate of what it serves at most, a full replica is simulated.
NEARLY_FULL = 0.5
# Above this share of what a full replica serves, waits for a place are mostly chance and differ
# from hour to hour: such a rate is not counted as kept up with.
KEEPS_UP = 0.93
# An open loop has run for long enough when the medians of the parts of its second half have a mean
# whose standard error is less than `Protocol.settled` of it. It is as long as all that was before:
# until then the run is made twice as long, up to so many requests; then twice the usual error will
# do.
PARTS = 8
# A target that the median exceeds by this factor is missed, however long the run.
FAR = 2.0
# The first window has so many requests, and so many for each that runs at a time.
FIRST_WINDOW, ROUNDS = 250, 10
MOST_ARRIVALS = 24_000
# One of a thousand real requests can have a twentieth of all tokens: each is simulated once at
# least. Tokens/s and medians are then within 6 % of those of four times as many.
FEWEST_DRAWN = 1000
# The latest simulations are kept: a search comes back to the same replica with the same load. Each
# holds at most a megabyte.
KEPT = 64
# So many arrivals always take the time that they take on average: what chance adds over longer
# times would have to be simulated for hours to tell. Medians are 1 % lower for it at 80 % and at
# 90 % of what is served at most.
BLOCK = 1000
BLOCKS_KEPT = 32  # more than MOST_ARRIVALS take
EVEN_DELAYS = 0.6180339887498949  # the golden ratio's, which belongs to neither


# When it reaches the engine, prompt tokens, answer tokens, seconds from when it was sent to then.
Arrival = tuple[float, int, int, float]


class Coming:
    """Requests on their way; those that arrive at once, in the order in which they were added."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Arrival]] = []
        self._added = 0
        self.latest = 0.0  # when the one arrives that was added last

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_at(self) -> float:
        """When the next one arrives; infinite if there is none."""
        return self._heap[0][0] if self._heap else inf

    def add(self, arrival: Arrival) -> None:
        """One more."""
        self.latest = arrival[0]
        heappush(self._heap, (arrival[0], self._added, arrival))
        self._added += 1

    def take(self) -> Arrival:
        """The next one."""
        return heappop(self._heap)[2]


@dataclass(frozen=True)
class Served:
    """Result for one replica: latencies of the measured requests, and rates in steady state."""

    ttft_s: tuple[float, ...]
    tpot_s: tuple[float, ...]
    e2e_s: tuple[float, ...]
    requests_per_s: float
    output_tokens_per_s: float
    waiting_s: float  # mean, from arrival to the first step that reads of the prompt
    running_s: float  # mean, from there to the end
    decode_sequences: float  # mean of a decode step
    decode_context: float  # mean tokens of context of one of them
    # What a full replica serves, where that is less than what arrives or so little more that no
    # steady state was reached; the latencies are then those of a full replica with a short queue.
    full_per_s: float | None = None

    @property
    def keeps_up(self) -> bool:
        """Whether the replica serves what arrives (always so in a closed loop)."""
        return self.full_per_s is None

    @property
    def mean_e2e_s(self) -> float:
        """Mean seconds from when a request is sent to its last token."""
        return fmean(self.e2e_s)

    @property
    def waits_longest(self) -> bool:
        """Whether requests wait longer to be begun than they then run."""
        return self.waiting_s > self.running_s


@lru_cache(maxsize=KEPT)
def serve(engine: Engine, workload: Workload, protocol: Protocol = STEADY) -> Served:
    """Simulate one replica under its share of the load, given as `workload`.

    In a closed loop each finished request is followed by the client's next. Arrivals of an open
    loop are Poisson. A rate above what the replica serves at most, or so near it that no steady
    state is reached, is not kept up with: what is served then is what a full replica does.
    """
    if workload.concurrency is not None:
        return _queued(engine, workload, workload.concurrency, protocol)
    assert workload.rate is not None  # noqa: S101 - Workload has exactly one of the two
    return _open_loop(engine, workload, workload.rate, protocol.settled)


def follow(scheduler: Scheduler, arrivals: Iterable[Arrival]) -> list[Request]:
    """Every one of `arrivals`, in order of time, once it has ended; they end in this order."""
    coming, ended, left = Coming(), list[Request](), iter(arrivals)
    while True:
        while len(coming) < 2 or coming.latest <= scheduler.ready:
            following = next(left, None)
            if following is None:
                break
            coming.add(following)
        if not coming and scheduler.idle:
            return ended
        ended += _advance(scheduler, coming)


def saturated(engine: Engine, workload: Workload) -> Served:
    """The replica with more clients than it runs at once: the most that it serves."""
    clients = ceil(QUEUED * engine.running_limit(workload)) + 1
    return _full(engine, workload.at_concurrency(clients))


@lru_cache(maxsize=KEPT)
def _full(engine: Engine, workload: Workload) -> Served:
    """A closed loop that fills the replica: the same for every rate."""
    assert workload.concurrency is not None  # noqa: S101 - it was given
    return _closed_loop(engine, workload, workload.concurrency, FULL)


def _queued(engine: Engine, workload: Workload, clients: int, protocol: Protocol) -> Served:
    """A closed loop; a long queue is added as waiting time instead of being simulated.

    Whoever stands behind it waits for all of it: (clients beyond) / (requests/s) longer.
    """
    most = max(FEWEST_QUEUED, LONGEST_QUEUE * engine.running_limit(workload))
    if clients <= most or not protocol.warm_up:
        return _closed_loop(engine, workload, clients, protocol)
    served = _closed_loop(engine, workload, most, protocol)
    longer = (clients - most) / served.requests_per_s
    return replace(
        served,
        ttft_s=tuple(ttft + longer for ttft in served.ttft_s),
        e2e_s=tuple(e2e + longer for e2e in served.e2e_s),
        waiting_s=served.waiting_s + longer,
    )


def _closed_loop(engine: Engine, workload: Workload, clients: int, protocol: Protocol) -> Served:
    """Lengths that differ spread clients over time; they begin so, one after the other.

    Equal requests march in step, and so does a first burst that is counted: those begin at once.
    """
    scheduler, lengths = Scheduler(engine, workload), drawn_lengths(workload)
    first = clients * protocol.warm_up
    fewest = _fewest(workload, protocol) + first
    wanted = max(round(protocol.requests_per_client * clients), fewest)
    total = min(max(MAX_REQUESTS, first + ceil(clients / 2)), wanted)
    gap = 0.0
    if workload.differs and not protocol.together:
        running = min(clients, engine.running_limit(workload))
        gap = round_seconds(engine, workload, running) / clients
    shares = outside_shares() if clients > 1 else repeat(1.0)
    coming = Coming()
    for client in range(clients):
        coming.add((client * gap, *next(lengths), engine.request_s))
    # Until the last client has begun the others wait for fewer than they will.
    all_begun = (clients - 1) * gap if protocol.warm_up else 0.0
    issued = clients
    measured: list[Request] = []
    finished, warm_at = 0, 0.0
    while finished < total:
        for request in _advance(scheduler, coming):
            finished += scheduler.now >= all_begun
            if finished > first:
                measured.append(request)
            elif finished == first:
                warm_at, scheduler.seen = scheduler.now, Seen()
            if protocol.warm_up or issued < total:
                outside = engine.request_s * next(shares)
                again = scheduler.now + engine.turnaround_s + outside
                coming.add((again, *next(lengths), outside))
                issued += 1
    served = served_of(scheduler.seen, measured, scheduler.now - warm_at)
    return _by_littles_law(engine, served, clients) if protocol.warm_up else served


def _fewest(workload: Workload, protocol: Protocol) -> int:
    """Requests that a steady state is measured over at least."""
    if not protocol.warm_up:
        return protocol.fewest_requests
    fewest = FEWEST_DRAWN if workload.lengths else protocol.fewest_requests
    return max(fewest, _told_by(workload))


def _told_by(workload: Workload) -> int:
    """Requests that tell the statistics of its targets."""
    targets = [target for target in (workload.ttft, workload.tpot) if target]
    return max([requests_needed(target.at) for target in targets], default=0)


def _by_littles_law(engine: Engine, served: Served, clients: int) -> Served:
    """`served` with the rates of its latencies: clients / (end to end + turnaround).

    Few rounds tell latencies well and rates, which depend on where the last round ends, less so.
    """
    rate = clients / (served.mean_e2e_s + engine.turnaround_s)
    return _at_rate(served, rate)


def _at_rate(served: Served, rate: float) -> Served:
    """`served` at `rate` requests/s, with the tokens that each had."""
    tokens = served.output_tokens_per_s / served.requests_per_s
    return replace(served, requests_per_s=rate, output_tokens_per_s=rate * tokens)


def _open_loop(engine: Engine, workload: Workload, rate: float, error: float) -> Served:
    full = None
    if rate > NEARLY_FULL * rough_capacity(engine, workload):
        full = saturated(engine, workload)
    if full is None or rate < KEEPS_UP * full.requests_per_s:
        settled = _settled(engine, workload, rate, error)
        if settled:
            return settled
    full = full or saturated(engine, workload)
    return replace(_at_rate(full, min(rate, full.requests_per_s)), full_per_s=full.requests_per_s)


def _settled(engine: Engine, workload: Workload, rate: float, error: float) -> Served | None:
    """Results of as many arrivals as needed to settle; None if that would be too many."""
    arrivals = _arrivals(workload, rate, engine.request_s)
    scheduler, pending = Scheduler(engine, workload), Coming()
    before = len(_window(scheduler, arrivals, pending, _first_window(engine, workload, rate)))
    while True:
        began, scheduler.seen = scheduler.now, Seen()
        done = _window(scheduler, arrivals, pending, before)
        served = _at_rate(served_of(scheduler.seen, done, scheduler.now - began), rate)
        if _tells(served, error) or _hopeless(workload, served):
            return served
        before += len(done)
        if 2 * before > MOST_ARRIVALS:
            return served if _tells(served, 2 * STEADY.settled) else None


def _window(
    scheduler: Scheduler, arrivals: Iterator[Arrival], pending: Coming, requests: int
) -> list[Request]:
    """The next so many requests that end, while others arrive."""
    done: list[Request] = []
    while len(done) < requests:
        while len(pending) < 2 or pending.latest <= scheduler.ready:
            pending.add(next(arrivals))
        done += _advance(scheduler, pending)
    return done


def _first_window(engine: Engine, workload: Workload, rate: float) -> int:
    """Requests of which most begin and end within the window."""
    running = engine.running_limit(workload)
    at_once = min(running, rate * round_seconds(engine, workload, running))
    fewest = max(FEWEST_DRAWN if workload.lengths else FIRST_WINDOW, _told_by(workload))
    return min(max(fewest, ceil(ROUNDS * at_once)), MOST_ARRIVALS // 2)


def _tells(served: Served, error: float) -> bool:
    """Whether the medians of both latencies are known that well, and do not drift."""
    return all(_error(latency) <= error for latency in (served.ttft_s, served.tpot_s))


def _hopeless(workload: Workload, served: Served) -> bool:
    """Whether a target is missed by so much that it need not be known by how much."""
    pairs = (workload.ttft, served.ttft_s), (workload.tpot, served.tpot_s)
    return any(t is not None and median(s) > FAR * t.ms / 1e3 for t, s in pairs)


def _error(values: Sequence[float]) -> float:
    """Standard error of the mean of the parts' medians, as a share of it."""
    size = len(values) // PARTS
    medians = [median(values[n * size : (n + 1) * size]) for n in range(PARTS)]
    mean = fmean(medians)
    return stdev(medians) / sqrt(PARTS) / mean if mean else 0.0


def _arrivals(workload: Workload, rate: float, outside: float) -> Iterator[Arrival]:
    """Endless Poisson arrivals in blocks, each `outside` seconds after it was sent."""
    draw = random.Random(SEED)  # noqa: S311 - reproducible load, not cryptography
    lengths, clock = drawn_lengths(workload), 0.0
    while True:
        gaps = [draw.expovariate(1.0) for _ in range(BLOCK)]
        scale = BLOCK / rate / sum(gaps)
        for gap, (prompt, answer) in zip(gaps, lengths, strict=False):
            clock += scale * gap
            yield clock, prompt, answer, outside


def _advance(scheduler: Scheduler, coming: Coming) -> list[Request]:
    """Queue what of `coming` has arrived, and advance up to the next arrival."""
    if scheduler.idle:
        scheduler.skip_to(coming.next_at)
    while coming.next_at <= scheduler.ready:
        scheduler.arrive(*coming.take())
    return scheduler.advance(coming.next_at)


def drawn_lengths(workload: Workload) -> Iterator[tuple[int, int]]:
    """Endless prompt and answer lengths: the workload's own, in order and again.

    Else each is drawn evenly from its range, not from each other.
    """
    if workload.lengths:
        return cycle(workload.lengths.pairs)
    prompt, answer = workload.input_tokens, workload.output_tokens
    blocks = (_block_of_lengths(prompt, answer, workload.length_spread, n) for n in count())
    return chain.from_iterable(blocks)


@lru_cache(maxsize=BLOCKS_KEPT)
def _block_of_lengths(
    prompt: int, answer: int, spread: float, block: int
) -> tuple[tuple[int, int], ...]:
    """The same ones for every replica and load."""
    first = block * BLOCK + 1
    return tuple(
        (
            _length(prompt, spread, number * EVEN_PROMPTS % 1),
            _length(answer, spread, number * EVEN_ANSWERS % 1),
        )
        for number in range(first, first + BLOCK)
    )


def outside_shares() -> Iterator[float]:
    """Endless times outside the steps as shares of their mean, drawn evenly from 0 to 2.

    A server does not take requests that come together through its front together.
    """
    return (2 * (number * EVEN_DELAYS % 1) for number in count(1))


def _length(tokens: int, spread: float, share: float) -> int:
    """The length below which `share` of the range lies."""
    return max(1, round(tokens * (1 + spread * (2 * share - 1))))


def rough_capacity(engine: Engine, workload: Workload) -> float:
    """Requests/s of a full replica in closed form."""
    running = engine.running_limit(workload)
    return running / round_seconds(engine, workload, running)


def round_seconds(engine: Engine, workload: Workload, running: float) -> float:
    """Seconds in which each of `running` requests is prefilled once and answered once.

    The lanes of a pipeline share the requests, and every stage works for each of them in turn.
    Data ranks decode, and read prompts, at the same time.
    """
    model, lanes = engine.model, min(float(engine.lanes), running)
    others = min(engine.data, ceil(running)) - 1
    prompt, cached = workload.computed_tokens, workload.input_tokens - workload.computed_tokens
    decode = Step(
        decode_sequences=max(1, round(running / lanes)),
        decode_context=workload.input_tokens + workload.output_tokens / 2,
    )
    decode.elsewhere = others * decode.tokens
    prefill = Step(prefill_tokens=prompt, prefill_context=cached + prompt / 2, prefills_done=1)
    prefill.elsewhere = others * prompt
    answers = workload.output_tokens * model.time(decode).total * workload.steps_per_token
    return answers + running / lanes * model.time(prefill).total


def served_of(seen: Seen, done: Sequence[Request], span: float) -> Served:
    """What the requests that are `done` show, of which one replica ended its share in `span` s."""
    return Served(
        ttft_s=tuple(r.outside + r.first_token - r.arrival for r in done),
        tpot_s=tuple((r.end - r.first_token) / max(1, r.answer - 1) for r in done),
        e2e_s=tuple(r.outside + r.end - r.arrival for r in done),
        requests_per_s=len(done) / span,
        output_tokens_per_s=sum(r.answer for r in done) / span,
        waiting_s=fmean((r.started or r.arrival) - r.arrival for r in done),
        running_s=fmean(r.end - (r.started or r.arrival) for r in done),
        decode_sequences=seen.sequences / seen.steps if seen.steps else 0.0,
        decode_context=seen.context / seen.sequences if seen.sequences else 0.0,
    )
