"""Lanes: requests in the batches of one data rank, and the KV blocks that they hold."""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Optional

from tpdeploy.planner.performance.step import Step


@dataclass(slots=True, eq=False)
class Request:
    """One request on its way through the engine; times in seconds of the simulation."""

    arrival: float  # at the engine
    prompt: int  # tokens to read before the next one; after a preemption what was answered too
    answer: int
    cached: int = 0  # tokens of it that are in the cache of prefixes
    outside: float = 0.0  # seconds before it arrived here
    started: float | None = None  # the first step that read of its prompt
    first_token: float = 0.0
    end: float = 0.0
    left: int = 0  # tokens of its answer to come
    prompt_left: int = 0  # tokens to compute before the next one
    lane: Optional["Lane"] = None  # while it runs
    joined: int = -1  # decode steps of its lane when it began to decode; -1: it is being read
    phase: int = 0  # of Lane.phases, then
    grown: float = 0.0  # context at its end: its prompt, and what its decode steps added
    preemptions: int = 0
    holds: int = 0  # blocks, while it is being read
    kept: int = 0  # tokens whose KV it had when it was preempted
    lost_from: int = 0  # blocks that its rank had taken when the first of those was taken again

    @property
    def context(self) -> int:
        """Tokens it holds at its end."""
        return self.prompt + self.left


Chunks = Sequence[tuple[Request, int]]


@dataclass(slots=True, eq=False)
class Rank:
    """The KV blocks of one data rank, and the requests that hold them."""

    blocks: int
    block_tokens: int
    fixed_tokens: int = 0  # that a request holds beside its own
    most_grown: int = 1  # blocks that a sequence takes in a step at most
    most_read: int = 0  # and the prompts of a step
    whole_requests: bool = False  # blocks are taken for all of a request when it is admitted
    used: int = 0
    taken: int = 0  # blocks, since the beginning
    running: int = 0  # requests with a place
    lanes: list["Lane"] = field(default_factory=list)
    admitted: list[Request] = field(default_factory=list)  # in order; those that ended linger

    def blocks_of(self, tokens: int) -> int:
        """Blocks that a request with KV of so many tokens holds."""
        return -(-(tokens + self.fixed_tokens) // self.block_tokens)

    def needed(self, request: Request) -> int:
        """Blocks that must be free for it to be admitted."""
        return self.blocks_of(request.context if self.whole_requests else request.prompt)

    def is_full(self) -> bool:
        """Whether the running requests lack blocks for their next decode step.

        Alone one always has them.
        """
        if self.blocks - self.used >= self.most_grown * self.running + self.most_read:
            return False  # as _has_free would find
        return self.running > 1 and not self._has_free(0)

    def has_room(self, request: Request) -> bool:
        """Whether it fits beside what the running ones take next; alone one always does."""
        return not self.running or self._has_free(self.needed(request))

    def _has_free(self, blocks: int) -> bool:
        """Whether so many are free beside those that the next decode step of every lane takes."""
        free = self.blocks - self.used - blocks
        if free < 0 or self.whole_requests:
            return free >= 0
        # What it takes at most, which is quicker to tell.
        most = self.most_grown * self.running
        if free >= most + self.most_read:
            return True
        taken = 0
        for lane in self.lanes:
            if lane.prefilling:
                taken += lane.reading()
        if free >= most + taken:
            return True
        for lane in self.lanes:
            taken += lane.growth(1)
        return taken <= free

    def admit(self, request: Request, lane: "Lane", *, reuses: bool) -> None:
        """Give it a place in `lane`; with `reuses` it finds what is left of its own blocks."""
        found = 0
        if request.kept and reuses:
            lost = max(0, self.taken - request.lost_from)
            found = max(0, self.blocks_of(request.kept) - lost)
            kept = min(request.kept, found * self.block_tokens)
            request.cached = max(request.cached, kept - kept % self.block_tokens)
        cached = min(request.cached, request.prompt - 1)
        left = request.prompt_left = request.prompt - cached
        read = request.context if self.whole_requests else cached + min(left, lane.room())
        request.holds = self.blocks_of(read)
        self.used += request.holds
        self.taken += max(0, request.holds - found)
        self.running += 1
        request.lane = lane
        self.admitted.append(request)
        lane.prefilling.append(request)
        lane.unread += left

    def preempt(self) -> Request:
        """Take the place of the request that was admitted last; all its blocks are free again.

        It begins anew with its prompt and what it has answered.
        """
        request = self.admitted.pop()
        while request.lane is None:
            request = self.admitted.pop()
        free = self.blocks - self.used
        request.kept = request.lane.remove(request)
        request.lost_from = self.taken + max(0, free)
        request.preemptions += 1
        return request

    def steps_to_full(self, steps: int, gain: float) -> int:
        """Of the next so many decode steps of all lanes, those that there are free blocks for."""
        free, sequences = self.blocks - self.used, 0
        for lane in self.lanes:
            sequences += len(lane.decoding)
        if (steps * gain / self.block_tokens + 1) * sequences <= free or self.running == 1:
            return steps
        whole = max(0, free) // sequences  # each sequence takes one block in so many tokens
        left, tokens = free - whole * sequences, whole * self.block_tokens
        for further in range(self.block_tokens):
            for lane in self.lanes:
                left -= lane.boundaries(further)
            if left < 0:
                break
            tokens += 1
        return max(1, min(steps, int(tokens / gain)))


@dataclass(slots=True, eq=False)
class Lane:
    """One batch in flight of one data rank, each of them on another stage."""

    rank: Rank
    stage: int  # the lanes of all ranks with the same one take their steps together
    gain: float  # tokens of a sequence in a decode step
    budget: int  # tokens of a step
    beside: int  # tokens that a decoding sequence takes of a step that reads
    steps: int = 0  # that decoded
    context: float = 0.0  # tokens of context of all its decoding sequences together
    unread: int = 0  # prompt tokens to compute
    prefilling: deque[Request] = field(default_factory=deque)
    decoding: list[tuple[int, int, Request]] = field(default_factory=list)  # heap by last step
    chunks: Chunks = ()  # that the coming step reads
    step: Step = field(default_factory=Step)  # the coming one
    decode: Step = field(default_factory=Step)  # the one of its decoding sequences alone
    # Decoding sequences by how many tokens the lane has decoded, modulo those of a block, when
    # they take their next one.
    phases: list[int] = field(default_factory=list)

    def running(self) -> int:
        """Requests in it."""
        return len(self.prefilling) + len(self.decoding)

    def room(self) -> int:
        """Tokens that its next step has left, beside what its requests take."""
        return self.budget - self.beside * len(self.decoding) - self.unread

    def reading(self, *, take: bool = False) -> int:
        """Blocks that the next chunks of its prompts need; `take` takes them."""
        left, blocks = self.budget - self.beside * len(self.decoding), 0
        for request in self.prefilling:
            chunk = min(request.prompt_left, left)
            if chunk <= 0:
                break
            left -= chunk
            read = request.prompt - request.prompt_left + chunk
            missing = max(0, self.rank.blocks_of(read) - request.holds)
            blocks += missing
            if take:
                request.holds += missing
        if take:
            self.rank.used += blocks
            self.rank.taken += blocks
        return blocks

    def decode_step(self) -> Step:
        """The coming step, if it reads nothing: always the same object."""
        step, sequences = self.decode, len(self.decoding)
        step.decode_sequences, step.elsewhere = sequences, 0
        step.decode_context = self.context / sequences if sequences else 0.0
        return step

    def boundaries(self, tokens: int) -> int:
        """Blocks that are taken with the token after so many further ones of each sequence."""
        return self.phases[(int(self.gain * self.steps) + tokens) % self.rank.block_tokens]

    def growth(self, steps: int) -> int:
        """Blocks that the next so many decode steps take."""
        at = int(self.gain * self.steps)
        tokens, size = int(self.gain * (self.steps + steps)) - at, self.rank.block_tokens
        first, phases = at % size, self.phases
        if tokens == 1:
            return phases[first]
        whole, rest = divmod(tokens, size)
        taken = whole * len(self.decoding) + sum(phases[first : first + rest])
        beyond = first + rest - size
        return taken + sum(phases[:beyond]) if beyond > 0 else taken

    def decoded(self, steps: int) -> None:
        """So many steps have decoded all its sequences."""
        rank = self.rank
        if not rank.whole_requests:
            grown = self.growth(steps)
            rank.used += grown
            rank.taken += grown
        self.context += steps * self.gain * len(self.decoding)
        self.steps += steps

    def join(self, request: Request, order: int) -> None:
        """Decode a request whose prompt has been read; its first token is in no KV yet."""
        steps = ceil((request.left - 1) / self.gain)
        request.joined = self.steps
        request.grown = request.prompt + 1 + steps * self.gain
        heapq.heappush(self.decoding, (self.steps + steps, order, request))
        self.context += request.prompt + 1
        fixed, size = self.rank.fixed_tokens, self.rank.block_tokens
        request.phase = (int(self.gain * self.steps) - request.prompt - fixed) % size
        self.phases[request.phase] += 1

    def finish_decodes(self) -> list[Request]:
        """The requests whose last token this step was."""
        finished: list[Request] = []
        while self.decoding and self.decoding[0][0] <= self.steps:
            finished.append(heapq.heappop(self.decoding)[2])
        if finished:
            left = self.context - sum([request.grown for request in finished])
            self.context = left if self.decoding else 0.0
        return finished

    def leave(self, request: Request) -> int:
        """Free the blocks of a request that is in no queue of it any more; tokens of its KV."""
        rank, tokens = self.rank, request.prompt - request.prompt_left
        if request.joined >= 0:
            tokens += int(self.gain * self.steps) - int(self.gain * request.joined)
            self.phases[request.phase] -= 1
            if not rank.whole_requests:
                request.holds = rank.blocks_of(tokens)
        rank.used -= request.holds
        rank.running -= 1
        request.lane, request.joined = None, -1
        return tokens

    def remove(self, request: Request) -> int:
        """Take out one that has not ended; tokens of KV that it had."""
        if request.joined < 0:
            self.prefilling.remove(request)
            self.unread -= request.prompt_left
            return self.leave(request)
        self.decoding = [entry for entry in self.decoding if entry[2] is not request]
        heapq.heapify(self.decoding)
        held = request.prompt + 1 + (self.steps - request.joined) * self.gain
        self.context = self.context - held if self.decoding else 0.0
        tokens = self.leave(request)
        given = min(tokens - request.prompt + 1, request.left - 1)
        request.prompt += given
        request.left -= given
        return tokens
