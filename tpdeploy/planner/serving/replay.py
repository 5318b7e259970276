"""Replay: all replicas under requests as they were recorded, behind a router that shares them out.

Where prompts have blocks, each data rank of a replica has a prefix cache as large as its KV cache,
and a prompt's held blocks are not computed again.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from math import inf
from random import Random

from tpdeploy.planner.plan import Timeline
from tpdeploy.planner.request import DEFAULT_ROUTER, Router
from tpdeploy.planner.serving.lanes import Request
from tpdeploy.planner.serving.over_time import Answered, timeline
from tpdeploy.planner.serving.prefix_cache import PrefixCache, cached_tokens
from tpdeploy.planner.serving.router import POLICIES
from tpdeploy.planner.serving.scheduler import Engine, Scheduler, Seen
from tpdeploy.planner.serving.simulation import SEED, Served, served_of
from tpdeploy.planner.trace import Recorded, Trace
from tpdeploy.planner.workload import Workload


@dataclass
class _Replica:
    """One replica, and how many requests it has and has had."""

    scheduler: Scheduler
    caches: tuple[PrefixCache, ...]
    block_tokens: int | None
    done: list[Request] = field(default_factory=list)
    in_flight: int = 0
    had: int = 0

    def run_until(self, when: float) -> None:
        """Advance to the first step that begins at `when` or later, or until nothing is left."""
        while self.in_flight and self.scheduler.ready < when:
            ended = self.scheduler.advance(when)
            self.in_flight -= len(ended)
            self.done += ended

    @property
    def _cache(self) -> PrefixCache:
        """That of the data rank which is next."""
        return self.caches[self.had % len(self.caches)]

    def holds(self, request: Recorded) -> int:
        """Prompt tokens of `request` that its prefix cache holds."""
        return self._cache.holds(request.blocks) * (self.block_tokens or 0)

    def take(self, request: Recorded, outside: float) -> int | None:
        """Queue `request`; how many of its tokens are cached, None without blocks."""
        each, cached = self.block_tokens, None
        if each:
            cached = cached_tokens(self._cache, request, each)
        at = request.at + outside
        if self.scheduler.idle:
            self.scheduler.skip_to(at)
        self.scheduler.arrive(at, request.prompt, request.answer, outside, cached)
        self.in_flight += 1
        self.had += 1
        return cached


def replay(
    engine: Engine,
    workload: Workload,
    trace: Trace,
    replicas: int,
    router: Router = DEFAULT_ROUTER,
) -> tuple[Served, Timeline]:
    """What each of `replicas` serves on average behind `router`, and all of them over time."""
    crew = [_replica(engine, workload, trace) for _ in range(replicas)]
    pick, chance, cached = POLICIES[router], Random(SEED), 0  # noqa: S311 - reproducible load
    for request in trace.requests:
        for replica in crew:
            replica.run_until(request.at + engine.request_s)
        chosen = crew[pick(crew, request, chance)]
        cached += chosen.take(request, engine.request_s) or 0
    for replica in crew:
        replica.run_until(inf)
    done = [request for replica in crew for request in replica.done]
    asked = sum(r.prompt for r in trace.requests)
    hits = cached / asked if trace.recording.block_tokens else None
    answered = [_answered(request) for request in done]
    over_time = timeline(answered, trace.recording.seconds, workload, hits)
    return _served(crew, done, replicas), over_time


def _replica(engine: Engine, workload: Workload, trace: Trace) -> _Replica:
    blocks = int(engine.kv_tokens // (trace.recording.block_tokens or 1))
    caches = tuple(PrefixCache(blocks) for _ in range(engine.data))
    return _Replica(Scheduler(engine, workload), caches, trace.recording.block_tokens)


def _answered(request: Request) -> Answered:
    at = request.arrival - request.outside
    return Answered(at, request.first_token - at, request.end - at, request.answer)


def _served(crew: Sequence[_Replica], done: Sequence[Request], replicas: int) -> Served:
    """The latencies of all requests, and the rates of one replica, up to the last answer."""
    seen = [replica.scheduler.seen for replica in crew]
    together = Seen(*(sum(values) for values in zip(*map(astuple, seen), strict=True)))
    return served_of(together, done, max(request.end for request in done) * replicas)
