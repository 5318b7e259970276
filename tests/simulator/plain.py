"""A plain simulator of one engine, to judge the planner's: every step is run, nothing is merged.

It shares no code with `tpdeploy.planner.serving` and takes the seconds of a step from outside. It
is slow, and meant to be read against this list:

- A request is sent, spends `request_s` outside the engine, and arrives at the engine's queue.
- The queue is served first come, first served. A request is admitted when fewer than
  `max_num_seqs` run, the step has room for a token of it, and there are free KV blocks for its
  prompt. With `whole_requests` it takes the blocks of its prompt and answer at once.
- A step decodes one token of every running request whose prompt is done. What is left of
  `max_num_batched_tokens` goes to prompts, first come, first served. With `prefill_priority` a step
  with prompts decodes nothing.
- Each token that is computed takes a place in a KV block. When there is no free block, the request
  that was admitted last loses its own and waits at the head of the queue, to compute its prompt and
  answer again. A step in which that happens admits nobody. Blocks are taken in the order in which
  they were freed, those at a request's end first; with `reuses` whoever was preempted finds those
  of its full blocks that nobody has taken, up to the first that is gone.
- The step with the last part of a prompt gives the first token of its answer.
- What a step does is settled when it starts; with `async_scheduling` when the one before starts.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from statistics import fmean

from tpdeploy.planner.performance.step import Step

Seconds = Callable[[Step], float]


@dataclass(frozen=True)
class EngineLimits:
    """What bounds the steps of one engine, and how it makes them."""

    max_num_seqs: int
    max_num_batched_tokens: int
    kv_tokens: float
    prefill_priority: bool = False
    async_scheduling: bool = False
    block_tokens: int = 16
    fixed_tokens: int = 0  # of KV that a request holds beside its own
    whole_requests: bool = False
    reuses: bool = False


@dataclass(eq=False)
class Block:
    """One block of the KV cache: whose tokens it has, and which of them."""

    owner: "Request | None" = None
    place: int = 0


@dataclass(frozen=True)
class Lengths:
    """Prompts and answers: whole numbers of tokens, drawn evenly from mean x (1 -/+ spread).

    Or one of `pairs`, each as likely as the others.
    """

    prompt: int
    answer: int
    spread: float = 0.0
    pairs: tuple[tuple[int, int], ...] = ()

    def draw(self, source: random.Random) -> tuple[int, int]:
        """One request: tokens of prompt and answer, independent of each other but in pairs."""
        if self.pairs:
            return source.choice(self.pairs)
        return self._one(source, self.prompt), self._one(source, self.answer)

    def _one(self, source: random.Random, mean: int) -> int:
        low, high = round(mean * (1 - self.spread)), round(mean * (1 + self.spread))
        return source.randint(max(1, low), high)


@dataclass(eq=False)
class Request:
    """One request: its tokens, how far it was scheduled, and when what happened (seconds)."""

    sent: float
    prompt: int
    answer: int
    client: int = 0
    computed: int = 0  # tokens that have KV, or are about to
    answer_scheduled: int = 0
    answered: int = 0
    runs: bool = False
    reads: bool = True  # its prompt, and after a preemption its answer
    blocks: list[Block] = field(default_factory=list)
    kept: int = 0  # tokens that had KV when it was preempted
    first_token: float = 0.0
    end: float = 0.0

    @property
    def known(self) -> int:
        """Tokens of its prompt and answer."""
        return self.prompt + self.answer_scheduled

    @property
    def ttft(self) -> float:
        """Seconds from sending it to its first token."""
        return self.first_token - self.sent

    @property
    def tpot(self) -> float:
        """Seconds for each further token; 0 where there is none."""
        return (self.end - self.first_token) / max(1, self.answer - 1)

    @property
    def e2e(self) -> float:
        """Seconds from sending it to its last token."""
        return self.end - self.sent


@dataclass(frozen=True)
class Scheduled:
    """What one step does."""

    step: Step
    first_tokens: tuple[Request, ...]  # those whose prompt it ends
    further_tokens: tuple[Request, ...]  # those that it decodes


@dataclass
class Engine:
    """The queue, the running requests and the clock of one engine."""

    seconds: Seconds
    limits: EngineLimits
    request_s: float = 0.0
    now: float = 0.0
    on_the_way: list[tuple[float, int, Request]] = field(default_factory=list)
    waiting: deque[Request] = field(default_factory=deque)
    running: list[Request] = field(default_factory=list)
    settled: Scheduled | None = None  # the coming step, where steps are made ready ahead
    order: Iterator[int] = field(default_factory=count)
    most_held: float = 0.0
    preemptions: int = 0
    freed: deque[Block] = field(default_factory=deque)
    unused: int = 0  # blocks that nobody has taken yet

    def __post_init__(self) -> None:
        """No block has been taken."""
        self.unused = int(self.limits.kv_tokens // self.limits.block_tokens)

    def send(self, request: Request) -> None:
        """The request arrives at the queue when its time outside the engine has passed."""
        arrival = request.sent + self.request_s
        heapq.heappush(self.on_the_way, (arrival, next(self.order), request))

    def run_step(self) -> list[Request]:
        """Run the next step, and return the requests that it ends."""
        doing = self.settled or self._settle()
        while doing is None:
            self.now = self.on_the_way[0][0]  # nothing to do before the next arrival
            doing = self._settle()
        self.settled = self._settle() if self.limits.async_scheduling else None
        self.now += self.seconds(doing.step)
        return self._complete(doing)

    def _settle(self) -> Scheduled | None:
        """What a step does that is made ready now; None if there is nothing to do."""
        while self.on_the_way and self.on_the_way[0][0] <= self.now:
            self.waiting.append(heapq.heappop(self.on_the_way)[2])
        decodes = [r for r in self.running if not r.reads and r.answer_scheduled < r.answer]
        preempted = self.preemptions
        decodes = [r for r in decodes if self._grow(r, 1)]
        decodes = [r for r in decodes if r.runs]
        prompts = self._prompts(len(decodes), admit=self.preemptions == preempted)
        self.most_held = max(self.most_held, self._held())
        if prompts and self.limits.prefill_priority:
            decodes = []
        if not decodes and not prompts:
            return None
        step = _step(decodes, prompts)
        for request, tokens in [*prompts, *((r, 1) for r in decodes)]:
            request.computed += tokens
        ended = [r for r, _ in prompts if r.computed == r.known]
        for request in ended + decodes:
            request.answer_scheduled += 1
            request.reads = False
        return Scheduled(step, tuple(ended), tuple(decodes))

    def _prompts(self, decoding: int, *, admit: bool) -> list[tuple[Request, int]]:
        room = self.limits.max_num_batched_tokens - (
            0 if self.limits.prefill_priority else decoding
        )
        found = []
        for request in [r for r in self.running if r.reads]:
            tokens = min(request.known - request.computed, room)
            if tokens > 0 and request.runs and self._grow(request, tokens):
                found.append((request, tokens))
                room -= tokens
        while admit and room > 0 and self.waiting and self._has_room(self.waiting[0]):
            request = self._admit()
            tokens = min(request.known - request.computed, room)
            self._take(request, request.computed + tokens)
            found.append((request, tokens))
            room -= tokens
        return [(r, tokens) for r, tokens in found if r.runs]

    def _has_room(self, request: Request) -> bool:
        tokens = request.known
        if self.limits.whole_requests:
            tokens += request.answer - request.answer_scheduled
        fits = self._blocks(tokens) <= self._free
        return fits and len(self.running) < self.limits.max_num_seqs

    @property
    def _free(self) -> int:
        return self.unused + len(self.freed)

    def _admit(self) -> Request:
        request = self.waiting.popleft()
        if self.limits.reuses:
            self._find(request)
        if self.limits.whole_requests:
            self._take(request, request.prompt + request.answer)
        self.running.append(request)
        request.runs = True
        return request

    def _find(self, request: Request) -> None:
        """Give it back what is left of its blocks; its last token is computed in any case."""
        own = {block.place: block for block in self.freed if block.owner is request}
        full = min(request.kept, request.known - 1) // self.limits.block_tokens
        while len(request.blocks) < full and len(request.blocks) in own:
            block = own[len(request.blocks)]
            self.freed.remove(block)
            request.blocks.append(block)
        request.computed = len(request.blocks) * self.limits.block_tokens

    def _grow(self, request: Request, tokens: int) -> bool:
        """Blocks for more tokens of it, by preemption if need be; False if it was preempted."""
        while request.runs:
            if self._take(request, request.computed + tokens):
                return True
            self._preempt()
        return False

    def _take(self, request: Request, tokens: int) -> bool:
        missing = self._blocks(tokens) - len(request.blocks)
        if missing > self._free:
            return False
        for _ in range(missing):
            block = Block() if self.unused else self.freed.popleft()
            self.unused = max(0, self.unused - 1)
            block.owner, block.place = request, len(request.blocks)
            request.blocks.append(block)
        return True

    def _preempt(self) -> None:
        request = self.running.pop()
        request.kept, request.computed = request.computed, 0
        request.runs, request.reads = False, True
        self._release(request)
        self.waiting.appendleft(request)
        self.preemptions += 1

    def _release(self, request: Request) -> None:
        self.freed.extend(reversed(request.blocks))
        request.blocks = []

    def _blocks(self, tokens: int) -> int:
        return ceil((tokens + self.limits.fixed_tokens) / self.limits.block_tokens)

    def _held(self) -> float:
        return sum(len(r.blocks) for r in self.running) * self.limits.block_tokens

    def _complete(self, done: Scheduled) -> list[Request]:
        """The step has run: note its tokens, and let go of what ends."""
        for request in done.first_tokens:
            request.first_token = request.first_token or self.now
        for request in done.first_tokens + done.further_tokens:
            request.answered += 1
        ended = [r for r in done.first_tokens + done.further_tokens if r.answered == r.answer]
        for request in ended:
            request.end = self.now
            self._release(request)
            (self.running if request.runs else self.waiting).remove(request)
        return ended


def _step(decodes: list[Request], prompts: list[tuple[Request, int]]) -> Step:
    tokens = sum(chunk for _, chunk in prompts)
    attended = sum(chunk * (r.computed + (chunk + 1) / 2) for r, chunk in prompts)
    return Step(
        decode_sequences=len(decodes),
        decode_context=fmean(r.known for r in decodes) if decodes else 0.0,
        prefill_tokens=tokens,
        prefill_context=attended / tokens if tokens else 0.0,
        prefills_done=sum(r.computed + chunk == r.known for r, chunk in prompts),
    )


@dataclass(frozen=True)
class Run:
    """What was measured: the requests that ended, or were sent, in a window of `seconds`."""

    requests: tuple[Request, ...]
    ended: int  # in the window
    sent: int  # in the window
    seconds: float
    most_held: float  # tokens of KV

    @property
    def requests_per_s(self) -> float:
        """Requests that ended per second of the window."""
        return self.ended / self.seconds

    @property
    def tokens_per_s(self) -> float:
        """Output tokens per second: the answers have the lengths of those measured."""
        return self.requests_per_s * fmean(r.answer for r in self.requests)

    @property
    def ttft(self) -> list[float]:
        """Seconds, of every request."""
        return [r.ttft for r in self.requests]

    @property
    def tpot(self) -> list[float]:
        """Seconds, of every request."""
        return [r.tpot for r in self.requests]

    @property
    def in_system(self) -> float:
        """Mean requests between sending and last token, by Little's law."""
        return self.requests_per_s * fmean(r.e2e for r in self.requests)


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def closed_loop(
    engine: Engine,
    lengths: Lengths,
    clients: int,
    *,
    turnaround_s: float = 0.0,
    warm_up: int = 3,
    measured: int = 6,
    seed: int = 1,
) -> Run:
    """Clients of which each sends its next request `turnaround_s` after its answer.

    Measured is from when as many requests have ended as `warm_up` for each client.
    """
    source = random.Random(seed)  # noqa: S311 - reproducible load, not cryptography
    for _ in range(clients):
        engine.send(Request(0.0, *lengths.draw(source)))
    done: list[Request] = []
    while len(done) < clients * (warm_up + measured):
        ended = engine.run_step()
        for _ in ended:
            engine.send(Request(engine.now + turnaround_s, *lengths.draw(source)))
        done += ended
    began, counted = done[clients * warm_up - 1].end, done[clients * warm_up :]
    # Several requests may end in the step with which the window begins.
    counted = [r for r in counted if r.end > began]
    return Run(tuple(counted), len(counted), len(counted), engine.now - began, engine.most_held)


def open_loop(
    engine: Engine,
    lengths: Lengths,
    rate: float,
    *,
    warm_up_s: float,
    measured_s: float,
    seed: int = 1,
) -> Run:
    """Poisson arrivals, which go on until every request sent in the window has its answer."""
    source = random.Random(seed)  # noqa: S311 - reproducible load, not cryptography
    until = warm_up_s + measured_s
    last = Request(source.expovariate(rate), *lengths.draw(source))
    engine.send(last)
    sent, done = [last], list[Request]()
    while last.sent < until or any(r.end == 0.0 for r in sent):
        while last.sent + engine.request_s <= engine.now:
            last = Request(last.sent + source.expovariate(rate), *lengths.draw(source))
            engine.send(last)
            sent += [last] if last.sent < until else []
        done += engine.run_step()
    counted = tuple(r for r in sent if r.sent >= warm_up_s)
    ended = sum(warm_up_s <= r.end < until for r in done)
    return Run(counted, ended, len(counted), measured_s, engine.most_held)


def capacity(engine: Engine, lengths: Lengths, *, measured: int = 6) -> float:
    """Requests/s with a queue that is never empty: no higher rate can be kept up with."""
    held = engine.limits.kv_tokens // (engine.limits.fixed_tokens + lengths.prompt)
    clients = ceil(1.3 * min(engine.limits.max_num_seqs, held)) + 2
    return closed_loop(engine, lengths, clients, measured=measured).requests_per_s


def fewest_replicas(
    new_engine: Callable[[], Engine],
    lengths: Lengths,
    rate: float,
    meets: Callable[[Run], bool],
    *,
    warm_up_s: float,
    measured_s: float,
    most: int = 64,
) -> int | None:
    """The smallest number of replicas of which each keeps up with its share and `meets`."""
    most_each = capacity(new_engine(), lengths)
    for replicas in range(1, most + 1):
        share = rate / replicas
        if share > most_each:
            continue
        run = open_loop(
            new_engine(), lengths, share, warm_up_s=warm_up_s, measured_s=measured_s * replicas
        )
        if meets(run):
            return replicas
    return None
