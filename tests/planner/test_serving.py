"""The simulated scheduler: every request served once, and load never makes it faster."""

from dataclasses import replace
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpdeploy.planner.serving import Engine, Protocol, serve
from tpdeploy.planner.step import Step
from tpdeploy.planner.step_model import StepModel
from tpdeploy.planner.workload import Speculation, Workload


class LinearModel:
    """A step takes 10 ms, plus 1 ms a decoding sequence and 0.1 ms a prompt token."""

    def time(self, step: Step) -> Any:
        seconds = 0.010 + 0.001 * step.decode_sequences + 0.0001 * step.prefill_tokens
        return SimpleNamespace(total=seconds)


def engine(*, sequences: int = 64, batched: int = 512, kv_requests: int = 64) -> Engine:
    return Engine(cast(StepModel, LinearModel()), sequences, batched, kv_requests)


def closed(clients: int, inputs: int = 100, outputs: int = 11) -> Workload:
    return Workload(input_tokens=inputs, output_tokens=outputs, concurrency=clients)


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
    waiting = serve(engine(kv_requests=1), closed(2))
    assert waiting.requests_per_s == pytest.approx(alone.requests_per_s)
    assert min(waiting.ttft_s) > 0.130


def test_a_single_output_token_has_no_tpot() -> None:
    """One output token ends with the prefill: the time per further token is zero."""
    served = serve(engine(), closed(2, outputs=1))
    assert set(served.tpot_s) == {0.0}


def test_what_comes_during_a_step_waits_for_another_where_steps_are_made_ready_ahead() -> None:
    """Whoever finds another being decoded waits for one more of its steps of 11 ms."""
    load = Workload(input_tokens=100, output_tokens=400, rate=0.2)
    later = replace(engine(), steps_ahead=True)
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
    """At a tenth of what it can do, a replica serves what arrives and answers quickly."""
    served = serve(engine(), Workload(input_tokens=100, output_tokens=11, rate=1.0))
    assert served.keeps_up
    assert served.requests_per_s == pytest.approx(1.0, rel=0.2)


def test_an_open_loop_above_capacity_does_not_keep_up() -> None:
    """At ten times what it can do, the queue grows and the answer says so."""
    served = serve(engine(), Workload(input_tokens=100, output_tokens=11, rate=500.0))
    assert not served.keeps_up


def test_a_cold_start_counts_the_first_burst() -> None:
    """Eight clients at once wait for each other's prompts; without a warm-up that is counted."""
    warm = serve(engine(batched=64), closed(8))
    cold = serve(engine(batched=64), closed(8), Protocol(requests_per_client=10, warm_up=False))
    assert len(cold.ttft_s) == 80
    assert max(cold.ttft_s) > max(warm.ttft_s)


def test_drawn_lengths_are_shorter_and_differ() -> None:
    """With a spread of 0.2 answers have 80 to 100 tokens: so clients fall out of step."""
    spread = Protocol(length_spread=0.2)
    fixed = serve(engine(), closed(8, outputs=100))
    drawn = serve(engine(), closed(8, outputs=100), spread)
    assert len(set(drawn.tpot_s)) > len(set(fixed.tpot_s))
    assert drawn.requests_per_s > fixed.requests_per_s
    assert serve(engine(), closed(8, outputs=100), spread) == drawn


def test_prompts_first_interrupts_decoding() -> None:
    """Engines that run prompts in steps of their own reach a first token sooner, the rest later."""
    mixed = serve(engine(batched=64), closed(8, inputs=500, outputs=40))
    first = serve(
        replace(engine(batched=64), prompts_first=True), closed(8, inputs=500, outputs=40)
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
    """Three free drafts, all accepted, give four tokens a step: a quarter of the TPOT."""
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
    plain, slower = serve(engine(), closed(2)), serve(replace(engine(), request_s=0.005), closed(2))
    assert slower.ttft_s == pytest.approx([t + 0.005 for t in plain.ttft_s])
    assert slower.tpot_s == plain.tpot_s
