"""The simulated scheduler: every request served once, and load never makes it faster."""

from dataclasses import replace
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiers import tiered
from tpdeploy.planner.performance.step import Step
from tpdeploy.planner.performance.step_model import StepModel
from tpdeploy.planner.protocol import Protocol
from tpdeploy.planner.serving.scheduler import Engine
from tpdeploy.planner.serving.simulation import saturated, serve
from tpdeploy.planner.workload import Speculation, Workload


class LinearModel:
    """A step takes 10 ms, plus 1 ms a decoding sequence and 0.1 ms a prompt token.

    Two equal stages take half of it each.
    """

    def seconds(self, step: Step) -> float:
        return 0.010 + 0.001 * step.decode_sequences + 0.0001 * step.prefill_tokens

    def time(self, step: Step) -> Any:
        return SimpleNamespace(total=self.seconds(step))

    def stage_seconds(self, _: Step, alone: float) -> tuple[float, float]:
        return alone / 2, alone / 2


def engine(
    *, sequences: int = 64, batched: int = 512, kv_tokens: int = 1 << 20, lanes: int = 1
) -> Engine:
    return Engine(cast(StepModel, LinearModel()), sequences, batched, kv_tokens, lanes)


def closed(clients: int, inputs: int = 100, outputs: int = 11, spread: float = 0.0) -> Workload:
    return Workload(
        input_tokens=inputs, output_tokens=outputs, concurrency=clients, length_spread=spread
    )


def arriving(rate: float, inputs: int = 100, outputs: int = 11) -> Workload:
    return Workload(input_tokens=inputs, output_tokens=outputs, rate=rate)


def test_a_full_replica_is_simulated_once_whatever_the_rate() -> None:
    """What it serves at most does not depend on what arrives."""
    steps: list[Step] = []

    class Counted(LinearModel):
        def seconds(self, step: Step) -> float:
            steps.append(step)
            return super().seconds(step)

    replica = replace(engine(), model=cast(StepModel, Counted()))
    most = saturated(replica, arriving(1.0))
    run = len(steps)
    assert run > 0
    assert saturated(replica, arriving(20.0)) == most
    assert len(steps) == run


def test_one_client_gets_the_bare_step_times() -> None:
    """Alone, TTFT is one prefill step (10 + 100 x 0.1 ms) and TPOT one decode step (11 ms)."""
    served = serve(engine(), closed(1))
    assert served.ttft_s == pytest.approx([0.020] * len(served.ttft_s))
    assert served.tpot_s == pytest.approx([0.011] * len(served.tpot_s))
    assert served.requests_per_s == pytest.approx(1 / 0.130)


def test_a_long_prompt_is_prefilled_in_chunks() -> None:
    """1,000 tokens in steps of at most 512 take two steps: 10 + 51.2 and 10 + 48.8 ms."""
    served = serve(engine(batched=512), closed(1, inputs=1000))
    assert served.ttft_s[0] == pytest.approx(0.120)


def test_requests_wait_when_the_kv_cache_is_full() -> None:
    """With room for one request at a time the second client waits for the whole first request."""
    alone = serve(engine(), closed(1))
    waiting = serve(engine(kv_tokens=111), closed(2))
    assert waiting.requests_per_s == pytest.approx(alone.requests_per_s)
    assert min(waiting.ttft_s) > 0.130


def test_a_single_output_token_has_no_tpot() -> None:
    """One output token ends with the prefill: the time per further token is zero."""
    served = serve(engine(), closed(2, outputs=1))
    assert set(served.tpot_s) == {0.0}


def test_what_comes_during_a_step_waits_for_another_where_steps_are_made_ready_ahead() -> None:
    """Whoever finds another being decoded waits for one more of its steps of 11 ms."""
    load = Workload(input_tokens=100, output_tokens=400, rate=0.2, length_spread=0)
    later = replace(engine(), async_scheduling=True)
    now, ahead = serve(engine(), load).ttft_s, serve(later, load).ttft_s
    waits = [longer - shorter for shorter, longer in zip(now, ahead, strict=True)]
    assert min(waits) == pytest.approx(0.0)  # nothing ran when it came
    assert median(wait for wait in waits if wait > 0.001) == pytest.approx(0.011, rel=0.1)


@settings(max_examples=25, deadline=None)
@given(clients=st.integers(1, 48), inputs=st.integers(1, 1500), outputs=st.integers(2, 40))
def test_more_clients_never_lower_tpot(clients: int, inputs: int, outputs: int) -> None:
    """TPOT at any concurrency is at least the lone client's."""
    lone = serve(engine(), closed(1, inputs, outputs))
    many = serve(engine(), closed(clients, inputs, outputs))
    assert min(many.tpot_s) >= lone.tpot_s[0] * (1 - 1e-9)
    assert len(many.tpot_s) >= 2 * clients


def test_an_open_loop_below_capacity_keeps_up() -> None:
    """At a fraction of what it can do, a replica serves what arrives and answers quickly."""
    served = serve(engine(), arriving(1.0))
    assert served.keeps_up
    assert served.requests_per_s == 1.0
    assert max(served.ttft_s) < 0.2


@pytest.mark.parametrize(("share", "keeps_up"), [(0.8, True), (0.98, False), (1.05, False)])
@pytest.mark.parametrize("outputs", [1, 11, 300])
@pytest.mark.slow
def test_capacity_decides_what_is_kept_up_with(share: float, keeps_up: bool, outputs: int) -> None:
    """80 % of what a full replica serves is served, 105 % is not, however slowly a queue grows."""
    most = saturated(engine(), arriving(1.0, outputs=outputs)).requests_per_s
    served = serve(engine(), arriving(share * most, outputs=outputs))
    assert served.keeps_up is keeps_up
    assert served.requests_per_s == pytest.approx(min(share, 1.0) * most)


@pytest.mark.parametrize("share", tiered([0.3, 0.8, 0.95], [0.3, 0.95]))
@pytest.mark.parametrize("outputs", [1, 11, 300])
def test_a_longer_simulation_tells_the_same(
    share: float, outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the length moves no median by 5 %, or the rate is near capacity and refused."""
    most = saturated(engine(), arriving(1.0, outputs=outputs)).requests_per_s
    load = arriving(share * most, outputs=outputs)
    short = serve(engine(), load)
    if not short.keeps_up:
        assert share >= 0.95
        return
    monkeypatch.setattr("tpdeploy.planner.serving.simulation.FIRST_WINDOW", 2 * len(short.ttft_s))
    monkeypatch.setattr("tpdeploy.planner.serving.simulation.MOST_ARRIVALS", 1 << 20)
    twice = serve(engine(), load, Protocol(settled=1.0))
    assert len(twice.ttft_s) >= 2 * len(short.ttft_s)
    assert median(short.ttft_s) == pytest.approx(median(twice.ttft_s), rel=0.05)
    assert median(short.tpot_s) == pytest.approx(median(twice.tpot_s), rel=0.05)


@settings(max_examples=25, deadline=None)
@given(
    clients=st.integers(1, 48),
    inputs=st.integers(1, 1500),
    outputs=st.integers(1, 40),
    spread=st.sampled_from([0.0, 0.2, 0.5]),
    outside=st.sampled_from([0.0, 0.03]),
)
def test_littles_law(
    clients: int, inputs: int, outputs: int, spread: float, outside: float
) -> None:
    """Requests/s times the time of a client's cycle are the clients."""
    replica = replace(engine(), request_s=outside, turnaround_s=0.002)
    served = serve(replica, closed(clients, inputs, outputs, spread))
    assert served.requests_per_s * (served.mean_e2e_s + 0.002) == pytest.approx(clients)


@pytest.mark.parametrize("spread", [0.0, 0.2])
def test_a_long_queue_is_waited_through(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,500 clients, 64 of which run: the counted queue is what a simulation of all shows."""
    load = closed(1500, spread=spread)
    counted = serve(engine(), load)
    monkeypatch.setattr("tpdeploy.planner.serving.simulation.FEWEST_QUEUED", 10_000)
    simulated = serve(engine(), load)
    assert len(simulated.ttft_s) > 2 * len(counted.ttft_s)
    assert median(counted.ttft_s) == pytest.approx(median(simulated.ttft_s), rel=0.03)
    assert median(counted.tpot_s) == pytest.approx(median(simulated.tpot_s), rel=0.03)
    assert counted.requests_per_s == pytest.approx(simulated.requests_per_s, rel=0.03)
    assert counted.requests_per_s * counted.mean_e2e_s == pytest.approx(1500)


def test_one_client_is_never_served_faster_than_one_at_a_time() -> None:
    """One token: 20 ms of the step and 30 outside of it are 20 requests/s."""
    served = serve(replace(engine(), request_s=0.030), closed(1, outputs=1))
    assert served.requests_per_s == pytest.approx(1 / 0.050)


def test_stages_wait_for_each_other() -> None:
    """Two stages serve at most what two replicas would, and less where prompts are in the way."""
    alone = serve(engine(), closed(8, inputs=400, spread=0.2))
    staged = serve(engine(lanes=2), closed(16, inputs=400, spread=0.2))
    assert staged.requests_per_s < 0.95 * 2 * alone.requests_per_s
    decoding = serve(engine(lanes=2), closed(16, inputs=1, outputs=1000))
    free = serve(engine(), closed(8, inputs=1, outputs=1000))
    assert decoding.requests_per_s == pytest.approx(2 * free.requests_per_s, rel=0.02)


def test_stages_share_one_kv_cache() -> None:
    """With room for one request at a time a second stage brings nothing."""
    one = serve(engine(kv_tokens=111), closed(4))
    assert serve(engine(kv_tokens=111, lanes=4), closed(4)).requests_per_s == pytest.approx(
        one.requests_per_s
    )


def data_ranks(replica: Engine, data: int) -> Engine:
    return replace(replica, lanes=data, data=data)


def test_data_ranks_serve_what_as_many_replicas_do_while_none_reads_prompts() -> None:
    """In lock-step, with the same work each, nobody waits; experts cost nothing more here."""
    free = serve(engine(), closed(8, inputs=1, outputs=1000))
    both = serve(data_ranks(engine(), 2), closed(16, inputs=1, outputs=1000))
    assert both.requests_per_s == pytest.approx(2 * free.requests_per_s, rel=0.02)
    assert both.decode_sequences == pytest.approx(free.decode_sequences, rel=0.02)


def test_a_data_rank_waits_for_one_that_reads_a_prompt() -> None:
    """The experts of each layer need the tokens of all ranks: the slowest decides."""
    alone = serve(engine(), closed(8, inputs=400, spread=0.2))
    both = serve(data_ranks(engine(), 2), closed(16, inputs=400, spread=0.2))
    assert both.requests_per_s < 0.95 * 2 * alone.requests_per_s
    assert median(both.tpot_s) > median(alone.tpot_s)


def test_each_data_rank_has_a_kv_cache_and_sequences_of_its_own() -> None:
    """With room for one request, or sequence, each, four ranks run four at once."""
    for one in (engine(kv_tokens=111), engine(sequences=1)):
        four = data_ranks(one, 4)
        assert (one.running_limit(closed(4)), four.running_limit(closed(4))) == (1, 4)
        assert serve(four, closed(4)).waiting_s == 0
        assert serve(one, closed(4)).waiting_s > 0


def test_a_step_counts_the_tokens_of_the_other_data_ranks() -> None:
    """If every token of any rank costs as much, two ranks of 4 take as long as one of 8."""

    class Experts(LinearModel):
        def seconds(self, step: Step) -> float:
            return 0.010 + 0.001 * (step.tokens + step.elsewhere)

    one = replace(engine(), model=cast(StepModel, Experts()))
    alone = serve(one, closed(8, inputs=1, outputs=200))
    both = serve(data_ranks(one, 2), closed(8, inputs=1, outputs=200))
    assert median(both.tpot_s) == pytest.approx(median(alone.tpot_s), rel=1e-6)
    assert both.decode_sequences == pytest.approx(4, rel=0.02)


def test_prompts_wait_for_the_other_data_ranks_as_many_steps_as_they_are_told() -> None:
    """Ranks that read their prompts together hold each other up less, and start them later."""
    load = closed(32, inputs=400, outputs=60, spread=0.2)
    now = serve(data_ranks(engine(), 4), load)
    later = serve(replace(data_ranks(engine(), 4), prompt_wait_steps=40), load)
    assert median(later.tpot_s) < 0.9 * median(now.tpot_s)
    assert later.waiting_s > now.waiting_s
    bounded = serve(replace(data_ranks(engine(), 4), prompt_wait_steps=1), load)
    assert now.waiting_s <= bounded.waiting_s < later.waiting_s


def test_a_prompt_never_waits_for_data_ranks_that_have_nothing_to_do() -> None:
    """One client of four ranks: the others do not decode, so that nobody waits for them."""
    replica = replace(data_ranks(engine(), 4), prompt_wait_steps=40)
    assert serve(replica, closed(1)).ttft_s == serve(data_ranks(engine(), 4), closed(1)).ttft_s


def test_data_ranks_of_several_stages_have_a_lane_for_each() -> None:
    """Four lanes of two ranks: as two pipelines in lock-step, each with its own KV cache."""
    staged = serve(engine(lanes=2), closed(8, inputs=1, outputs=1000))
    both = serve(replace(engine(), lanes=4, data=2), closed(16, inputs=1, outputs=1000))
    assert both.requests_per_s == pytest.approx(2 * staged.requests_per_s, rel=0.02)


def test_a_drafting_step_is_no_larger_than_the_cap() -> None:
    """16 tokens in a step are 4 sequences of 3 drafts and one token each; the others wait."""
    draft = Speculation(tokens=3, acceptance=0.5)
    load = closed(16, outputs=200).model_copy(update={"speculation": draft})
    served = serve(engine(batched=16), load)
    assert served.decode_sequences <= 4


def test_a_cold_start_counts_the_first_burst() -> None:
    """Eight clients at once wait for each other's prompts; without a warm-up that is counted."""
    warm = serve(engine(batched=64), closed(8))
    cold = serve(
        engine(batched=64), closed(8), Protocol(requests_per_client=10, warm_up=0, together=True)
    )
    assert len(cold.ttft_s) == 80
    assert max(cold.ttft_s) > max(warm.ttft_s)


def test_drawn_lengths_keep_clients_out_of_step() -> None:
    """Of 80 to 120 tokens each, prompts come one by one: a first token waits for no others."""
    fixed = serve(engine(), closed(8, outputs=100))
    drawn = serve(engine(), closed(8, outputs=100, spread=0.2))
    assert median(drawn.ttft_s) < 0.5 * median(fixed.ttft_s)
    assert drawn.requests_per_s == pytest.approx(fixed.requests_per_s, rel=0.05)
    assert drawn.output_tokens_per_s == pytest.approx(100 * drawn.requests_per_s, rel=0.02)
    assert serve(engine(), closed(8, outputs=100, spread=0.2)) == drawn


def test_prompts_first_interrupts_decoding() -> None:
    """Engines that run prompts in steps of their own reach a first token sooner, the rest later."""
    mixed = serve(engine(batched=64), closed(8, inputs=500, outputs=40))
    first = serve(
        replace(engine(batched=64), prefill_priority=True), closed(8, inputs=500, outputs=40)
    )
    assert sum(first.tpot_s) / len(first.tpot_s) > sum(mixed.tpot_s) / len(mixed.tpot_s)


@given(rate=st.floats(0, 1))
@settings(max_examples=15, deadline=None)
def test_cached_prefixes_never_lengthen_ttft(rate: float) -> None:
    """What is found in the cache is not computed: alone, nobody waits longer for it."""
    without = serve(engine(), closed(1, inputs=400))
    cached = serve(engine(), closed(1, inputs=400).model_copy(update={"prefix_hit_rate": rate}))
    assert max(cached.ttft_s) <= max(without.ttft_s) * (1 + 1e-9)
    assert cached.tpot_s == pytest.approx(without.tpot_s)


def test_drafts_divide_tpot_by_the_tokens_they_gain() -> None:
    """Three free drafts, all accepted, give four tokens per step: a quarter of the TPOT."""
    draft = Speculation(tokens=3, acceptance=1.0, draft_cost=0.0)
    plain = serve(engine(), closed(1, outputs=41))
    drafted = serve(engine(), closed(1, outputs=41).model_copy(update={"speculation": draft}))
    assert drafted.tpot_s[0] == pytest.approx(plain.tpot_s[0] / 4)


def test_drafting_costs_its_share_of_a_step() -> None:
    """Two drafts that are never accepted, each a tenth of a step: 20 % more for each token."""
    draft = Speculation(tokens=2, acceptance=0.0, draft_cost=0.1)
    plain = serve(engine(), closed(1))
    drafted = serve(engine(), closed(1).model_copy(update={"speculation": draft}))
    assert drafted.tpot_s[0] == pytest.approx(1.2 * plain.tpot_s[0])


def test_time_outside_the_steps_is_part_of_ttft_alone() -> None:
    """5 ms of HTTP and tokens before the first one."""
    plain, slower = serve(engine(), closed(1)), serve(replace(engine(), request_s=0.005), closed(1))
    assert slower.ttft_s == pytest.approx([t + 0.005 for t in plain.ttft_s])
    assert slower.tpot_s == pytest.approx(plain.tpot_s)
