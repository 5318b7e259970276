"""Scheduler: one replica's batches, advanced event by event on the step model.

Continuous batching with chunked prefill: every step decodes all running sequences first, then
fills the token budget with prompt chunks, first come first served (or, in engines that put prompts
first, runs the chunks alone). Requests wait when the sequence limit or the KV cache is full.

KV blocks are taken as tokens come: a request is admitted when there are free blocks for its prompt.
When decoding finds none left, the request that was admitted last is preempted: its blocks are free
again, and it waits at the head of the queue, to read its prompt and what it answered again. Nobody
is admitted in a step that preempts. (As vLLM V1 does, `v1/core/sched/scheduler.py` of 0.32.) Other
engines take the blocks of a whole request when they admit it, and never preempt.

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

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from math import ceil, inf

from tpdeploy.planner.performance.step import Step
from tpdeploy.planner.performance.step_model import StepModel
from tpdeploy.planner.serving.lanes import Lane, Rank, Request
from tpdeploy.planner.workload import Workload


@dataclass(frozen=True)
class Engine:
    """One replica: its step model and its limits."""

    model: StepModel
    max_num_seqs: int  # of each data rank, as the next two
    max_num_batched_tokens: int
    kv_tokens: float  # that its KV cache holds, beside what requests hold whatever their length
    lanes: int = 1  # batches in flight: one for each data rank and pipeline stage
    prefill_priority: bool = False  # prompts run in steps of their own, before decoding goes on
    async_scheduling: bool = False  # the next step is scheduled while one runs
    # From an answer's end to the client's next request: requests that end together do not begin
    # together, since the first of them is in a step when the others arrive.
    turnaround_s: float = 0.0
    request_s: float = 0.0  # spent on a request outside the steps, before its first token
    data: int = 1  # ranks with attention and KV cache of their own
    prompt_wait_steps: int = 0  # that a data rank's prompts wait for all others to have one
    kv_fixed_tokens: int = 0  # that a request holds beside its own: states, full windows
    block_tokens: int = 1  # of a KV block
    whole_requests: bool = False  # a request's blocks are taken when it is admitted, for all of it
    reuses_blocks: bool = False  # whoever was preempted finds what is left of its blocks

    @property
    def stages(self) -> int:
        """Lanes of one data rank."""
        return self.lanes // self.data

    def running_limit(self, workload: Workload) -> int:
        """Requests of the workload that run at once in the mean; at least one per rank.

        Where blocks are taken as tokens come, half of an answer is held in the mean.
        """
        held = workload.context_tokens if self.whole_requests else workload.mean_held_tokens
        most = int(self.kv_tokens // (self.kv_fixed_tokens + held))
        return self.data * max(1, min(self.most_sequences(workload), most))

    def most_sequences(self, workload: Workload) -> int:
        """Sequences that a data rank decodes at once: a step of each lane verifies all of its own.

        Drafted tokens count as tokens of a step.
        """
        in_a_step = self.max_num_batched_tokens // workload.verified_tokens
        return min(self.max_num_seqs, max(1, in_a_step) * self.stages)


# Successive decode steps whose context grows by too little to tell.
FEW = 8


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
        self.preemptions = 0
        self._waiting = deque[Request]()
        self._stages = engine.stages
        self._ranks = [self._rank(engine) for _ in range(engine.data)]
        self._lanes = tuple(lane for rank in self._ranks for lane in rank.lanes)
        self._single = len(self._lanes) == 1
        self._order: Iterator[int] = count()

    def _rank(self, engine: Engine) -> Rank:
        size = engine.block_tokens
        rank = Rank(
            max(1, int(engine.kv_tokens // size)),
            size,
            engine.kv_fixed_tokens,
            most_grown=ceil(self.gain),
            most_read=engine.stages * (self._budget // size + 2),
            whole_requests=engine.whole_requests,
        )
        beside = 0 if self._prompts_first else self.verified
        for stage in range(engine.stages):
            alone = Step(verified=self.verified)
            phases = [0] * size
            lane = Lane(rank, stage, self.gain, self._budget, beside, decode=alone, phases=phases)
            rank.lanes.append(lane)
        return rank

    @property
    def running(self) -> int:
        """Requests with a place."""
        if self._single:
            return self._ranks[0].running
        return sum([rank.running for rank in self._ranks])

    @property
    def waiting(self) -> int:
        """Requests that have arrived, or were preempted, and have no place."""
        return len(self._waiting)

    @property
    def kv_use(self) -> float:
        """The share of the KV blocks that is held."""
        return sum([r.used for r in self._ranks]) / sum([r.blocks for r in self._ranks])

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self._waiting or self.running)

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
        self._waiting.append(Request(at, prompt, answer, cached, outside, left=answer))

    def advance(self, until: float = inf) -> list[Request]:
        """Run one cycle, or equal decode steps up to the next event; return what finished.

        `until` is when the next request arrives.
        """
        engine, preempts, reads = self.engine, False, False
        if not engine.whole_requests:
            preempts = self._make_room()
        if self._waiting and not preempts:
            self._admit()
        lanes = self._lanes if self._single else self._busy()
        wait = self._prompt_wait(lanes) if engine.prompt_wait_steps else 0
        for lane in lanes:
            if lane.prefilling and not wait and self._read(lane):
                reads = True
            else:
                lane.step = lane.decode_step()
        seconds = self._seconds(lanes)
        repeats = 1 if reads or preempts else self._repeats(lanes, seconds, until)
        if wait:
            repeats = min(repeats, wait)
        self._waited = self._waited + repeats if wait else 0
        if repeats > FEW:
            grown = self.gain * (repeats - 1) / 2
            for lane in lanes:
                lane.step.decode_context += grown
            seconds = self._seconds(lanes)
        self.now += repeats * seconds
        self.ready = self.now - seconds if engine.async_scheduling else self.now
        return self._finish(lanes, repeats)

    def _make_room(self) -> bool:
        """Preempt until the running requests have blocks for the coming step; whether any was."""
        before = self.preemptions
        for rank in self._ranks:
            while rank.is_full():
                self._waiting.appendleft(rank.preempt())
                self.preemptions += 1
            for lane in rank.lanes:
                if lane.prefilling:
                    lane.reading(take=True)
        return self.preemptions > before

    def _admit(self) -> None:
        """Admit waiting requests while there is room, each to the emptiest lane."""
        while self._waiting:
            lane = self._free_lane(self._waiting[0])
            if lane is None:
                return
            lane.rank.admit(self._waiting.popleft(), lane, reuses=self.engine.reuses_blocks)

    def _free_lane(self, request: Request) -> Lane | None:
        """The emptiest lane that has room for it."""
        if len(self._lanes) == 1:
            return self._lanes[0] if self._has_room(self._lanes[0], request) else None
        free = [lane for lane in self._lanes if self._has_room(lane, request)]
        return min(free, key=Lane.running, default=None)

    def _has_room(self, lane: Lane, request: Request) -> bool:
        """Whether its rank has the blocks, and the next step of the lane reads of it.

        Engines that take the blocks of whole requests do so before it does.
        """
        if lane.rank.running >= self.most_sequences:
            return False
        begins = self.engine.whole_requests or lane.room() > 0
        return begins and lane.rank.has_room(request)

    def _busy(self) -> Sequence[Lane]:
        """The lanes that have something to do."""
        return [lane for lane in self._lanes if lane.decoding or lane.prefilling]

    def _prompt_wait(self, lanes: Sequence[Lane]) -> int:
        """Steps that prompts are held back still: while all ranks decode, and not all have one."""
        prompts = sum([bool(lane.prefilling) for lane in lanes])
        decoding = sum([bool(lane.decoding) for lane in lanes])
        if not 0 < prompts < len(self._lanes) or decoding < len(self._lanes):
            return 0
        return max(0, self.engine.prompt_wait_steps - self._waited)

    def _read(self, lane: Lane) -> bool:
        """Let the next step of `lane` read of its prompts, if it has room for any of them.

        It reads them beside its decoding sequences, or before they go on.
        """
        step = Step(verified=self.verified)
        if not self._prompts_first and (decodes := len(lane.decoding)):
            step.decode_sequences, step.decode_context = decodes, lane.context / decodes
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

    def _seconds(self, lanes: Sequence[Lane]) -> float:
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

    def _together(self, lanes: Sequence[Lane]) -> Iterator[list[Step]]:
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

    def _repeats(self, lanes: Sequence[Lane], seconds: float, until: float) -> int:
        """Decode steps before a sequence ends, the next request arrives or the KV cache is full."""
        if len(lanes) == 1:
            steps = lanes[0].decoding[0][0] - lanes[0].steps
        else:
            steps = min([lane.decoding[0][0] - lane.steps for lane in lanes])
        if until != inf and steps > 1:
            steps = min(steps, ceil((until - self.now) / seconds))
        if steps > 1 and not self.engine.whole_requests:
            for rank in self._ranks:
                steps = min(steps, rank.steps_to_full(steps, self.gain))
        return max(1, steps)

    def _finish(self, lanes: Sequence[Lane], repeats: int) -> list[Request]:
        """Let each of `lanes` have taken its step `repeats` times; what ends with it."""
        finished, seen = list[Request](), self.seen
        for lane in lanes:
            step, decoding = lane.step, lane.decoding
            if sequences := step.decode_sequences:
                lane.decoded(repeats)
                decoded = repeats * sequences
                seen.steps += repeats
                seen.sequences += decoded
                seen.context += decoded * step.decode_context
            if lane.chunks or (decoding and decoding[0][0] <= lane.steps):
                finished += self._ended(lane)
        return finished

    def _ended(self, lane: Lane) -> list[Request]:
        """The requests of `lane` that end now; they leave their places."""
        ended = lane.finish_decodes() + self._finish_prefills(lane)
        for request in ended:
            request.end = self.now
            lane.leave(request)
        return ended

    def _finish_prefills(self, lane: Lane) -> list[Request]:
        finished = []
        for request, chunk in lane.chunks:
            request.prompt_left -= chunk
            lane.unread -= chunk
            if request.prompt_left:
                continue
            lane.prefilling.popleft()
            request.first_token = request.first_token or self.now
            if request.left == 1:
                finished.append(request)
            else:
                lane.join(request, next(self._order))
        lane.chunks = ()
        return finished
