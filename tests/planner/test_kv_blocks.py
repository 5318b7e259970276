"""KV blocks as tokens come: who is preempted, what it finds again, and how many run at once."""

from dataclasses import replace
from typing import Any, cast

import pytest

from tests.planner.inputs import VLLM, ask
from tests.planner.test_serving import LinearModel, closed
from tpdeploy.planner.engine_rules import KvAllocation
from tpdeploy.planner.lengths import Lengths
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.performance.step_model import StepModel
from tpdeploy.planner.protocol import Protocol
from tpdeploy.planner.search.evaluation import Candidate, Prepared, evaluate, prepare
from tpdeploy.planner.search.overload import overload
from tpdeploy.planner.serving.lanes import Request
from tpdeploy.planner.serving.scheduler import Engine, Scheduler
from tpdeploy.planner.serving.simulation import follow, serve
from tpdeploy.planner.workload import Target, Workload, fields_of

LOAD = Workload(concurrency=1)


def engine(kv_tokens: float, **of: Any) -> Engine:
    return Engine(cast(StepModel, LinearModel()), 64, 512, kv_tokens, **of)


def after(replica: Engine, *requests: tuple[int, int]) -> tuple[Scheduler, list[Request]]:
    """The requests, prompt and answer of each, in the order in which they came at once."""
    scheduler = Scheduler(replica, LOAD)
    ended = follow(scheduler, [(n / 1e6, *request, 0.0) for n, request in enumerate(requests)])
    return scheduler, sorted(ended, key=lambda request: request.arrival)


def test_requests_that_come_at_once_are_read_in_their_order() -> None:
    """Not the short ones first: in a trace, and in the first burst of a closed loop."""
    alone = replace(engine(1e6), max_num_seqs=1)
    pairs = ((400, 5), (50, 5), (200, 5))
    ended = follow(Scheduler(alone, LOAD), [(0.0, *pair, 0.0) for pair in pairs])
    assert [request.prompt for request in ended] == [400, 50, 200]
    burst = Workload(**fields_of(Lengths(name="x", source="x", pairs=pairs)), concurrency=3)
    once = Protocol(requests_per_client=1, fewest_requests=1, warm_up=0, together=True)
    assert min(serve(alone, burst, once).ttft_s) == pytest.approx(ended[0].first_token)


def test_the_request_that_came_last_is_preempted() -> None:
    """Two prompts of 100 fit into 230 tokens, grow by 15 and 14, and then the second waits."""
    scheduler, (first, second) = after(engine(230), (100, 41), (100, 41))
    assert (first.preemptions, second.preemptions, scheduler.preemptions) == (0, 1, 1)
    # It has answered 15, and reads 115 tokens again when the first is done: 10 + 11.5 ms.
    assert second.first_token < first.first_token + 0.1
    left = 41 - 15 - 1
    assert second.end == pytest.approx(first.end + 0.0215 + left * 0.011)


def test_a_preempted_request_finds_what_nobody_has_taken() -> None:
    """The first takes 25 tokens more: 89 of the second's 115 are computed already."""
    _, (_, anew) = after(engine(230), (100, 41), (100, 41))
    _, (_, found) = after(engine(230, reuses_blocks=True), (100, 41), (100, 41))
    assert anew.end - found.end == pytest.approx(0.0001 * 89, abs=0.0002)


def test_whole_requests_are_never_preempted() -> None:
    """Those for which there is no room at their end wait before they begin."""
    scheduler, (first, second) = after(engine(230, whole_requests=True), (100, 41), (100, 41))
    assert scheduler.preemptions == 0
    assert second.first_token > first.end


def test_more_run_at_once_than_whole_requests_fit() -> None:
    """4,000 tokens hold ten whole requests of 400, and sixteen that have answered half of it."""
    load = closed(64, inputs=100, outputs=300, spread=0.2)
    whole, growing = engine(4000, whole_requests=True), engine(4000)
    assert whole.running_limit(load) == 10
    assert growing.running_limit(load) == 15  # long answers run for longer
    some, more = serve(whole, load), serve(growing, load)
    assert some.decode_sequences == pytest.approx(10, rel=0.1)
    assert more.decode_sequences == pytest.approx(15, rel=0.15)
    assert more.requests_per_s > 1.1 * some.requests_per_s


def test_a_question_that_is_short_of_cache_says_what_is_simulated() -> None:
    """Of an engine that takes whole requests fewer run at once, and the words name that number."""
    load = Workload(input_tokens=1000, output_tokens=3000, concurrency=200)
    words = []
    for kv in (VLLM.kv_allocation, KvAllocation(whole_requests=True)):
        inputs = ask("qwen3-30b-a3b", "1xH100", workload=load)
        inputs = replace(inputs, engine=replace(VLLM, kv_allocation=kv))
        found = evaluate(inputs, Parallelism(tensor=1))
        assert isinstance(found, Candidate)
        limit = found.replica.running_limit(load)
        told = overload(inputs, found)
        assert told and told.startswith(f"{limit:,} of your 200 requests")
        words.append(limit)
    assert words[0] > 1.3 * words[1]


def test_states_and_full_windows_are_held_from_the_beginning() -> None:
    """Of a model with windows a short prompt holds more than its share of the whole request."""
    load = Workload(input_tokens=4096, output_tokens=512, concurrency=8)
    found = prepare(ask("gpt-oss-20b", "1xH100", workload=load), Parallelism(tensor=1))
    assert isinstance(found, Prepared)
    replica, fixed = found.replica, found.replica.kv_fixed_tokens
    assert fixed > 0
    held = replica.kv_tokens / (fixed + load.context_tokens)
    assert held == pytest.approx(found.sized.held, rel=0.01)


@pytest.mark.parametrize(("at", "told"), [("p50", False), ("p99", True)])
def test_a_p99_is_told_of_enough_requests(at: Any, told: bool) -> None:
    """368 at least: a target at p99 makes the simulation that long, a median does not."""
    load = Workload(concurrency=8, ttft=Target(ms=500, at=at))
    found = evaluate(ask("llama-8b", "1xH100", workload=load), Parallelism(tensor=1))
    assert isinstance(found, Candidate)
    prediction = found.prediction
    for spread in (prediction.ttft_distribution, prediction.tpot_distribution):
        assert (spread.p99 is not None) is told
        assert ((spread.requests or 0) >= 368) is told
    assert prediction.e2e_distribution
    assert prediction.e2e_distribution.p50 > prediction.ttft_distribution.p50
