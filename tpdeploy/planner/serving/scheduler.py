"""Scheduler: one replica's batches, advanced event by event on the step model.

Continuous batching with chunked prefill: every step decodes all running sequences first, then
fills the token budget with prompt chunks, first come first served (or, in engines that put prompts
first, runs the chunks alone). Requests wait when the sequence limit or the KV cache is full.

An engine with P pipeline stages has P batches in flight, each a lane here: lanes share the KV
cache, the sequence limit and the queue, and go through the stages one behind the other. In a cycle
each lane takes one step. A cycle lasts as long as the slowest lane needs for all stages, and as the
busiest stage needs for all lanes: a lane without prompts waits behind one that reads them.

With data-parallel attention each data rank has a lane (for each stage), a KV cache and a sequence
limit of its own. A request goes to the rank with the fewest that has room for it. The lanes of all
ranks take their steps together: the experts of each layer need the tokens of all, so the slowest
rank decides. In reality each rank also has a queue of its own. An engine may hold prompts back for
some steps until all ranks have one (`prompt_wait_steps`), so that they wait for each other less.
"""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import ceil, inf

from tpdeploy.planner.performance.step import Step
from tpdeploy.planner.performance.step_model import StepModel
from tpdeploy.planner.workload import Workload


@dataclass(frozen=True)
class Engine:
    """One replica: its step model and its limits."""

    model: StepModel
    max_num_seqs: int  # of each data rank, as the next two
    max_num_batched_tokens: int
    kv_tokens: float  # that its KV cache holds, in requests of the workload's length
    lanes: int = 1  # batches in flight: one for each data rank and pipeline stage
    prefill_priority: bool = False  # prompts run in steps of their own, before decoding goes on
    async_scheduling: bool = False  # the next step is scheduled while one runs
    # From an answer's end to the client's next request: requests that end together do not begin
    # together, since the first of them is in a step when the others arrive.
    turnaround_s: float = 0.0
    request_s: float = 0.0  # spent on a request outside the steps, before its first token
    data: int = 1  # ranks with attention and KV cache of their own
    prompt_wait_steps: int = 0  # that a data rank's prompts wait for all others to have one

    @property
    def stages(self) -> int:
        """Lanes of one data rank."""
        return self.lanes // self.data

    def running_limit(self, workload: Workload) -> int:
        """Requests of the workload's mean length that can run at once; at least one per rank."""
        held = int(self.kv_tokens // workload.context_tokens)
        return self.data * max(1, min(self.most_sequences(workload), held))

    def most_sequences(self, workload: Workload) -> int:
        """Sequences that a data rank decodes at once: a step of each lane verifies all of its own.

        Drafted tokens count as tokens of a step.
        """
        in_a_step = self.max_num_batched_tokens // workload.verified_tokens
        return min(self.max_num_seqs, max(1, in_a_step) * self.stages)


@dataclass(slots=True)
class Request:
    """One request on its way through the engine; times in seconds of the simulation."""

    arrival: float  # at the engine
    prompt: int
    answer: int
    prompt_left: int  # to compute; less than the prompt where its beginning is cached
    outside: float = 0.0  # seconds before it arrived here
    started: float | None = None  # the first step that read of its prompt
    first_token: float = 0.0
    end: float = 0.0
    grown: float = 0.0  # context at its end: its prompt, and what its decode steps added

    @property
    def context(self) -> int:
        """Tokens it holds at its end."""
        return self.prompt + self.answer


Chunks = Sequence[tuple[Request, int]]
# Successive decode steps whose context grows by too little to tell.
FEW = 8


@dataclass(slots=True)
class _Rank:
    """Resources that the requests of one data rank occupy."""

    running: int = 0  # requests with a place
    held: int = 0  # KV tokens promised to them


@dataclass(slots=True)
class _Lane:
    """One batch in flight of one data rank, each of them on another stage."""

    rank: _Rank
    stage: int  # the lanes of all ranks with the same one take their steps together
    steps: int = 0  # that decoded
    context: float = 0.0  # tokens of context of all its decoding sequences together
    prefilling: deque[Request] = field(default_factory=deque)
    decoding: list[tuple[int, int, Request]] = field(default_factory=list)  # heap by last step
    chunks: Chunks = ()  # that the coming step reads
    step: Step = field(default_factory=Step)  # the coming one

    def running(self) -> int:
        """Requests in it."""
        return len(self.prefilling) + len(self.decoding)


@dataclass(slots=True)
class Seen:
    """Decode steps so far, and sums over them, for the mean step under the load."""

    steps: float = 0.0
    sequences: float = 0.0
    context: float = 0.0


class Scheduler:
    """The state of one replica between two steps."""

    def __init__(self, engine: Engine, workload: Workload) -> None:
        speculation = workload.speculation
        self.engine = engine
        self.gain = speculation.tokens_per_step if speculation else 1.0  # tokens a step
        self.verified = workload.verified_tokens
        self.drafting = speculation.tokens * speculation.draft_cost if speculation else 0.0
        self._budget = engine.max_num_batched_tokens
        self._prompts_first = engine.prefill_priority
        self._alone = self._drafted if self.drafting else engine.model.seconds
        self.most_sequences = engine.most_sequences(workload)
        self.now = 0.0
        self.ready = 0.0  # when it was settled what the coming step does
        self.seen = Seen()
        self._hit_rate = workload.prefix_hit_rate
        self._waited = 0  # steps in which prompts were held back
        self._running = 0  # requests with a place
        self._waiting = deque[Request]()
        self._stages = engine.stages
        ranks = [_Rank() for _ in range(engine.data)]
        self._lanes = tuple(_Lane(rank, n) for rank in ranks for n in range(self._stages))
        self._order: Iterator[int] = count()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._running and not self._waiting

    def skip_to(self, when: float) -> None:
        """Advance the clock while there is nothing to do."""
        self.now = self.ready = max(self.now, when)

    def arrive(
        self, at: float, prompt: int, answer: int, outside: float = 0.0, cached: int | None = None
    ) -> None:
        """Queue one request, which was sent `outside` seconds before.

        So many of its tokens are `cached`; None: the share that the workload has.
        """
        if cached is None:
            cached = min(prompt - 1, round(prompt * self._hit_rate))
        self._waiting.append(Request(at, prompt, answer, prompt - cached, outside))

    def advance(self, until: float = inf) -> list[Request]:
        """Run one cycle, or equal decode steps up to the next event; return what finished.

        `until` is when the next request arrives.
        """
        if self._waiting:
            self._admit()
        lanes, reads = self._busy(), False
        wait = self._prompt_wait(lanes) if self.engine.prompt_wait_steps else 0
        for lane in lanes:
            if lane.prefilling and not wait and self._read(lane):
                reads = True
            else:
                lane.step = self._decode_step(lane)
        seconds = self._seconds(lanes)
        repeats = 1 if reads else self._repeats(lanes, seconds, until)
        if wait:
            repeats = min(repeats, wait)
        self._waited = self._waited + repeats if wait else 0
        if repeats > FEW:
            grown = self.gain * (repeats - 1) / 2
            for lane in lanes:
                lane.step.decode_context += grown
            seconds = self._seconds(lanes)
        self.now += repeats * seconds
        self.ready = self.now - seconds if self.engine.async_scheduling else self.now
        return self._finish(lanes, repeats)

    def _admit(self) -> None:
        """Admit waiting requests while there is room, each to the emptiest lane."""
        while self._waiting:
            lane = self._free_lane(self._waiting[0].context)
            if lane is None:
                return
            request = self._waiting.popleft()
            lane.prefilling.append(request)
            lane.rank.held += request.context
            lane.rank.running += 1
            self._running += 1

    def _free_lane(self, needed: int) -> _Lane | None:
        """The emptiest lane whose rank has room for a request of `needed` tokens."""
        if len(self._lanes) == 1:
            return self._lanes[0] if self._has_room(self._lanes[0].rank, needed) else None
        free = [lane for lane in self._lanes if self._has_room(lane.rank, needed)]
        return min(free, key=_Lane.running, default=None)

    def _has_room(self, rank: _Rank, needed: int) -> bool:
        """Whether one more request fits; alone on its rank one always does."""
        if rank.held + needed > self.engine.kv_tokens and rank.running:
            return False
        return rank.running < self.most_sequences

    def _busy(self) -> Sequence[_Lane]:
        """The lanes that have something to do: the only one has."""
        if len(self._lanes) == 1:
            return self._lanes
        return [lane for lane in self._lanes if lane.decoding or lane.prefilling]

    def _prompt_wait(self, lanes: Sequence[_Lane]) -> int:
        """Steps that prompts are held back still: while all ranks decode, and not all have one."""
        prompts = sum([bool(lane.prefilling) for lane in lanes])
        decoding = sum([bool(lane.decoding) for lane in lanes])
        if not 0 < prompts < len(self._lanes) or decoding < len(self._lanes):
            return 0
        return max(0, self.engine.prompt_wait_steps - self._waited)

    def _read(self, lane: _Lane) -> bool:
        """Let the next step of `lane` read of its prompts, if it has room for any of them.

        It reads them beside its decoding sequences, or before they go on.
        """
        step = Step(verified=self.verified) if self._prompts_first else self._decode_step(lane)
        budget = self._budget - step.decode_sequences * self.verified
        chunks: list[tuple[Request, int]] = []
        tokens, pairs = 0, 0.0
        for request in lane.prefilling:
            left = request.prompt_left
            chunk = left if left < budget else budget
            if chunk <= 0:
                break
            if request.started is None:
                request.started = self.now
            chunks.append((request, chunk))
            budget -= chunk
            tokens += chunk
            pairs += chunk * (request.prompt - left + chunk / 2)
            step.prefills_done += chunk == left
        if not chunks:
            return False
        step.prefill_tokens, step.prefill_context = tokens, pairs / tokens
        lane.chunks, lane.step = chunks, step
        return True

    def _decode_step(self, lane: _Lane) -> Step:
        decodes = len(lane.decoding)
        if not decodes:
            return Step(verified=self.verified)
        return Step(decodes, lane.context / decodes, 0, 0.0, 0, self.verified)

    def _seconds(self, lanes: Sequence[_Lane]) -> float:
        """Seconds of a cycle in which each of `lanes` takes its step."""
        if len(lanes) == 1:
            return self._alone(lanes[0].step)
        if self._stages == 1:
            return self._slowest([lane.step for lane in lanes])[0]
        slowest = of_most = of_last = 0.0
        for together in self._together(lanes):
            alone, step = self._slowest(together)
            most, last = self.engine.model.stage_seconds(step, alone)
            slowest = max(slowest, alone)
            of_most += most
            of_last += last
        return max(slowest, of_most, of_last)

    def _together(self, lanes: Sequence[_Lane]) -> Iterator[list[Step]]:
        """The steps that data ranks take together, one batch of each rank."""
        for stage in range(self._stages):
            if steps := [lane.step for lane in lanes if lane.stage == stage]:
                yield steps

    def _slowest(self, steps: list[Step]) -> tuple[float, Step]:
        """Seconds of the one that takes longest of its rank, and which it is.

        It is the one with the most tokens or with the most context to decode: the others need not
        be timed. The experts get the tokens of all.
        """
        wide = deep = steps[0]
        total, most, longest = 0, 0, 0.0
        for step in steps:
            sequences = step.decode_sequences
            tokens = sequences * step.verified + step.prefill_tokens
            context = sequences * step.decode_context
            total += tokens
            if tokens > most:
                wide, most = step, tokens
            if context > longest:
                deep, longest = step, context
        wide.elsewhere, deep.elsewhere = total - wide.tokens, total - deep.tokens
        seconds = self._alone(wide)
        if deep is not wide and (deeper := self._alone(deep)) > seconds:
            return deeper, deep
        return seconds, wide

    def _drafted(self, step: Step) -> float:
        """Seconds of one step through all stages, drafting included."""
        seconds = self.engine.model.seconds(step)
        if step.decode_sequences:
            others = step.elsewhere // step.verified
            alone = Step(step.decode_sequences, step.decode_context, elsewhere=others)
            seconds += self.drafting * self.engine.model.seconds(alone)
        return seconds

    def _repeats(self, lanes: Sequence[_Lane], seconds: float, until: float) -> int:
        """Decode steps before a sequence ends or the next request arrives; at least one."""
        to_finish = min([lane.decoding[0][0] - lane.steps for lane in lanes])
        if until == inf or to_finish <= 1:
            return max(1, to_finish)
        to_arrival = ceil((until - self.now) / seconds)
        return max(1, min(to_finish, to_arrival))

    def _finish(self, lanes: Sequence[_Lane], repeats: int) -> list[Request]:
        """Let each of `lanes` have taken its step `repeats` times; what ends with it."""
        finished, seen, grown = list[Request](), self.seen, repeats * self.gain
        for lane in lanes:
            step, decoding = lane.step, lane.decoding
            if sequences := step.decode_sequences:
                lane.steps += repeats
                lane.context += grown * sequences
                seen.steps += repeats
                seen.sequences += repeats * sequences
                seen.context += repeats * sequences * step.decode_context
            if lane.chunks or (decoding and decoding[0][0] <= lane.steps):
                finished += self._ended(lane)
        return finished

    def _ended(self, lane: _Lane) -> list[Request]:
        """The requests of `lane` that end now; they leave their places."""
        ended = self._finish_decodes(lane) + self._finish_prefills(lane)
        for request in ended:
            request.end = self.now
            lane.rank.held -= request.context
        lane.rank.running -= len(ended)
        self._running -= len(ended)
        return ended

    def _finish_decodes(self, lane: _Lane) -> list[Request]:
        finished: list[Request] = []
        while lane.decoding and lane.decoding[0][0] <= lane.steps:
            finished.append(heapq.heappop(lane.decoding)[2])
        if not finished:
            return finished
        left = lane.context - sum([request.grown for request in finished])
        lane.context = left if lane.decoding else 0.0
        return finished

    def _finish_prefills(self, lane: _Lane) -> list[Request]:
        finished = []
        for request, chunk in lane.chunks:
            request.prompt_left -= chunk
            if request.prompt_left:
                continue
            lane.prefilling.popleft()
            request.first_token = self.now
            if request.answer == 1:
                finished.append(request)
                continue
            steps = ceil((request.answer - 1) / self.gain)
            request.grown = request.prompt + 1 + steps * self.gain
            heapq.heappush(lane.decoding, (lane.steps + steps, next(self._order), request))
            lane.context += request.prompt + 1
        lane.chunks = ()
        return finished
