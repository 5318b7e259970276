"""Recorded requests simulated: every one of them when it came, shared out and cached as stated."""

from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.planner.inputs import ask
from tests.traces.recordings import BLOCK, recorded, trace_of
from tpdeploy.api.trace import as_recorded
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.request import Router
from tpdeploy.planner.search.evaluation import Prepared, prepare
from tpdeploy.planner.search.recorded import MOST_REPLAYED, under_recording
from tpdeploy.planner.search.search import search
from tpdeploy.planner.serving.over_time import Answered, timeline
from tpdeploy.planner.serving.prefix_cache import PrefixCache, shared_share
from tpdeploy.planner.serving.replay import replay
from tpdeploy.planner.serving.router import POLICIES
from tpdeploy.planner.serving.scheduler import Engine
from tpdeploy.planner.trace import Recorded, Recording, Trace
from tpdeploy.planner.workload import Target, Workload

CHANCE = Random(1)  # noqa: S311 - the same each time
TARGETS = Workload(concurrency=1, ttft=Target(ms=200, at="p99"), tpot=Target(ms=50))


def engine_of(load: Workload, tensor: int = 1, replicas: int = 1) -> Engine:
    inputs = ask("llama-3.1-8b", "8xH100", workload=load)
    ready = prepare(inputs, Parallelism(tensor=tensor, replicas=replicas))
    assert isinstance(ready, Prepared)
    return ready.replica


def simulated(trace: Trace, replicas: int = 1) -> tuple[list[float], Workload]:
    """The arrivals that were simulated, in order, and the load."""
    load = as_recorded(TARGETS, trace)
    served, over_time = replay(engine_of(load), load, trace, replicas)
    assert len(served.ttft_s) == len(trace.requests)
    return [float(w.arrivals) for w in over_time.windows], load


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_planned_came_as_it_was_recorded(seed: int, replicas: int, tmp_path: Path) -> None:
    """Every window has as many arrivals as the recording has in it; bursts are kept."""
    trace = trace_of(tmp_path, recorded(60, seed))
    arrivals, load = simulated(trace, replicas)
    _, over_time = replay(engine_of(load), load, trace, replicas)
    each = over_time.window_s
    meant = [0] * len(arrivals)
    for request in trace.requests:
        meant[min(int(request.at / each), len(meant) - 1)] += 1
    assert arrivals == meant
    assert len(arrivals) <= 12


def test_a_burst_waits_where_the_same_requests_at_random_do_not() -> None:
    """All at one instant: the last first token comes long after the first one."""
    recording = _recording([Recorded(0.0, 4000, 20) for _ in range(32)])
    load = as_recorded(TARGETS, recording)
    served, over_time = replay(engine_of(load), load, recording, 1)
    assert max(served.ttft_s) > 10 * min(served.ttft_s)
    assert over_time.peak_in_flight == 32
    assert over_time.windows[0].missed
    assert over_time.within_targets is not None
    assert over_time.within_targets < 0.5


def test_each_request_goes_to_the_replica_with_the_fewest() -> None:
    """Four at once on four replicas have none beside them: as quick as one alone."""
    four = _recording([Recorded(0.0, 2000, 50) for _ in range(4)])
    one = _recording([Recorded(0.0, 2000, 50)])
    load = as_recorded(TARGETS, four)
    engine = engine_of(load)
    alone, _ = replay(engine, load, one, 1)
    apart, _ = replay(engine, load, four, 4)
    assert apart.e2e_s == pytest.approx(alone.e2e_s * 4)


def test_held_blocks_are_not_computed_again() -> None:
    """The second of two equal prompts is read in less than a quarter of the time."""
    blocks = tuple(range(16))
    same = [Recorded(float(n * 5), 16 * BLOCK, 4, blocks) for n in range(2)]
    other = [same[0], same[1]._replace(blocks=tuple(range(100, 116)))]
    shared, apart = (_recording(requests, BLOCK) for requests in (same, other))
    load = as_recorded(TARGETS, shared)
    engine = engine_of(load)
    quick, over_time = replay(engine, load, shared, 1)
    slow, _ = replay(engine, load, apart, 1)
    assert quick.ttft_s[1] < slow.ttft_s[1] / 4
    assert quick.ttft_s[0] == slow.ttft_s[0]
    assert over_time.cached == pytest.approx(0.5, abs=0.01)


def test_replicas_split_the_cache_and_tensor_parallelism_does_not() -> None:
    """Two equal prompts in flight together go to two replicas, and neither finds anything."""
    blocks = tuple(range(16))
    both = _recording([Recorded(0.01 * n, 16 * BLOCK, 200, blocks) for n in range(2)], BLOCK)
    load = as_recorded(TARGETS, both)
    _, one = replay(engine_of(load, 2), load, both, 1)
    _, two = replay(engine_of(load), load, both, 2)
    assert (one.cached or 0) > 0.4
    assert two.cached == 0


@pytest.mark.parametrize(("router", "hits"), [("cache-aware", 0.4), ("least-in-flight", 0.0)])
def test_a_cache_aware_router_finds_what_one_replica_holds(router: Router, hits: float) -> None:
    """The second of two equal prompts goes to where the first one is, else to the idle replica."""
    blocks = tuple(range(16))
    both = _recording([Recorded(0.01 * n, 16 * BLOCK, 200, blocks) for n in range(2)], BLOCK)
    load = as_recorded(TARGETS, both)
    _, found = replay(engine_of(load), load, both, 2, router)
    assert found.cached == pytest.approx(hits, abs=0.1)


@dataclass
class Behind:
    """A replica that holds so many tokens of every prompt."""

    in_flight: int
    had: int = 0
    held: int = 0

    def holds(self, _: Recorded) -> int:
        return self.held


@pytest.mark.parametrize(
    ("replicas", "chosen"),
    [
        ([Behind(9, held=31), Behind(0)], 0),  # holds more than LEAST_CACHED of the prompt
        ([Behind(9, held=30), Behind(0)], 1),  # not more than that
        ([Behind(65, held=90), Behind(0)], 1),  # overloaded: more than MOST_APART more
        ([Behind(64, held=90), Behind(0)], 0),
        ([Behind(195, held=90), Behind(130)], 0),  # not MOST_TIMES as many
        ([Behind(9, held=50), Behind(3, held=50), Behind(0)], 1),  # of equals the least busy
    ],
)
def test_cache_aware_as_published(replicas: list[Behind], chosen: int) -> None:
    """The thresholds of SGLang's router, each from both sides."""
    assert POLICIES["cache-aware"](replicas, Recorded(0.0, 100, 1), CHANCE) == chosen


def test_round_robin_takes_turns_and_power_of_two_the_less_busy_of_its_two() -> None:
    """Whatever is in flight; of two replicas power of two sees both, of many it may miss some."""
    request = Recorded(0.0, 100, 1)
    assert POLICIES["round-robin"]([Behind(0, 2), Behind(9, 1)], request, CHANCE) == 1
    assert POLICIES["power-of-two"]([Behind(3), Behind(1)], request, CHANCE) == 1
    many = [Behind(number) for number in range(8)]
    taken = {POLICIES["power-of-two"](many, request, CHANCE) for _ in range(200)}
    assert taken == set(range(7))  # the busiest is never the less busy of two


def test_the_least_recently_used_blocks_go_first() -> None:
    """Room for four: a third prompt of two blocks drops the end of the first one's."""
    cache = PrefixCache(4)
    assert [cache.take(blocks) for blocks in ((1, 2), (3, 4), (1, 2), (5, 6))] == [0, 0, 2, 0]
    assert cache.take((3, 4)) == 0
    assert cache.take((1, 2)) == 0  # dropped by 3 and 4, last block first
    assert cache.take((3, 4)) == 2


def test_answers_take_room_too() -> None:
    """An answer of two blocks and a prompt of two fill a cache of four."""
    cache = PrefixCache(4)
    cache.take((1, 2), of_answer=2)
    cache.take((3,))
    assert cache.take((1, 2)) == 2  # the answer's end went first


def test_a_block_counts_only_behind_the_same_beginning() -> None:
    """Without its first block held, later ones are computed again."""
    requests = [Recorded(0.0, 1024, 1, (1, 2)), Recorded(1.0, 1024, 1, (9, 2))]
    assert shared_share(requests, BLOCK) == 0


def test_windows_add_up_to_what_was_answered() -> None:
    """Tokens/s and requests in flight by hand: two requests, in two windows of a second."""
    answered = [Answered(0.0, 0.5, 1.5, 11), Answered(1.0, 0.25, 0.75, 6)]
    load = Workload(rate=1.0, ttft=Target(ms=300))
    found = timeline(answered, 2.0, load)
    assert [w.arrivals for w in found.windows] == [1, 1]
    assert [w.in_flight for w in found.windows] == pytest.approx([1.0, 0.5 + 0.75])
    assert [w.output_tokens_per_s for w in found.windows] == pytest.approx([5.5, 5.5 + 6])
    assert [w.missed for w in found.windows] == [True, False]
    assert (found.within_targets, found.peak_in_flight) == (0.5, 2)
    assert found.e2e_ms.p50 == pytest.approx(1125)


@pytest.mark.slow
def test_the_best_splits_at_the_mean_are_ranked_by_the_recording(tmp_path: Path) -> None:
    """At most MOST_REPLAYED have figures; the others are told as not simulated, none is lost."""
    trace = trace_of(tmp_path, recorded(30))
    inputs = ask("llama-3.1-8b", "8xH100", workload=as_recorded(TARGETS, trace))
    before = search(inputs)
    after = under_recording(inputs, before, trace)
    assert 1 < len(after.ranked) <= MOST_REPLAYED
    assert all(c.prediction.timeline for c in after.ranked)
    assert len(after.ranked) + len(after.estimated) == len(before.ranked) + len(before.estimated)


def _recording(requests: list[Recorded], block_tokens: int | None = None) -> Trace:
    """`requests` with a record of what they are."""
    recording = Recording(
        name="by hand",
        sha256="0" * 64,
        form="by hand",
        seconds=max(1.0, requests[-1].at),
        requests=len(requests),
        peak_per_s=1,
        input_tokens=1,
        output_tokens=1,
        block_tokens=block_tokens,
    )
    return Trace(recording, tuple(requests))
