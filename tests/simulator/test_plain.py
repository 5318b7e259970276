"""The plain simulator against what can be worked out by hand."""

from dataclasses import dataclass, field
from random import Random
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator.plain import (
    Engine,
    EngineLimits,
    Lengths,
    Request,
    Run,
    capacity,
    closed_loop,
    fewest_replicas,
    open_loop,
    percentile,
)
from tpdeploy.planner.performance.step import Step


def constant(_: Step) -> float:
    """10 ms, whatever a step does."""
    return 0.010


def linear(step: Step) -> float:
    """10 ms, plus 1 ms for each decoding sequence and 0.1 ms for each prompt token."""
    return 0.010 + 0.001 * step.decode_sequences + 0.0001 * step.prefill_tokens


@dataclass
class Recorder:
    """A constant step time that keeps every step."""

    steps: list[Step] = field(default_factory=list)

    def __call__(self, step: Step) -> float:
        self.steps.append(step)
        return 0.010

    @property
    def contents(self) -> list[tuple[int, int]]:
        """Sequences decoded and prompt tokens of each step."""
        return [(step.decode_sequences, step.prefill_tokens) for step in self.steps]


def limits(
    *,
    sequences: int = 64,
    batched: int = 512,
    kv_tokens: float = 1e9,
    prefill_priority: bool = False,
    async_scheduling: bool = False,
    **kv: Any,
) -> EngineLimits:
    return EngineLimits(sequences, batched, kv_tokens, prefill_priority, async_scheduling, **kv)


def served(engine: Engine, *requests: Request) -> tuple[Request, ...]:
    """The requests, once all of them have their answers."""
    for request in requests:
        engine.send(request)
    ended = 0
    while ended < len(requests):
        ended += len(engine.run_step())
    return requests


def test_one_client_gets_the_bare_step_times() -> None:
    """100 tokens in: 10 + 10 ms; ten more out: 11 ms each; 130 ms a request."""
    run = closed_loop(Engine(linear, limits()), Lengths(100, 11), 1)
    assert run.ttft == pytest.approx([0.020] * 6)
    assert run.tpot == pytest.approx([0.011] * 6)
    assert run.requests_per_s == pytest.approx(1 / 0.130)
    assert run.tokens_per_s == pytest.approx(11 / 0.130)


def test_a_long_prompt_takes_several_steps() -> None:
    """1,000 tokens in steps of 512: 10 + 51.2 and 10 + 48.8 ms."""
    (request,) = served(Engine(linear, limits()), Request(0.0, 1000, 2))
    assert request.ttft == pytest.approx(0.120)


def test_prompts_fill_what_decoding_leaves_first_come_first_served() -> None:
    """One decodes; of two prompts of 300 with room for 511 the second waits for 89 tokens."""
    steps = Recorder()
    served(
        Engine(steps, limits()),
        Request(0.0, 100, 4),
        Request(0.005, 300, 1),
        Request(0.006, 300, 1),
    )
    assert steps.contents == [(0, 100), (1, 511), (1, 89), (1, 0)]


def test_prompts_first_stop_decoding() -> None:
    """While a prompt is read nobody is decoded."""
    steps = Recorder()
    served(
        Engine(steps, limits(prefill_priority=True)), Request(0.0, 100, 3), Request(0.005, 700, 2)
    )
    assert steps.contents == [(0, 100), (0, 512), (0, 188), (2, 0), (1, 0)]


def test_context_grows_by_a_token_a_step() -> None:
    """The first decode step of a prompt of 100 reads 101 tokens, the next 102."""
    steps = Recorder()
    served(Engine(steps, limits()), Request(0.0, 100, 3))
    assert [step.decode_context for step in steps.steps] == [0, 101, 102]
    assert [step.prefill_context for step in steps.steps] == [50.5, 0, 0]
    assert [step.prefills_done for step in steps.steps] == [1, 0, 0]


def test_whoever_has_no_room_waits_for_the_whole_request_before() -> None:
    """With KV for one request, or one sequence, the second begins when the first has ended."""
    for full in (limits(kv_tokens=220, whole_requests=True), limits(sequences=1)):
        first, second = served(Engine(constant, full), Request(0.0, 100, 11), Request(0.0, 100, 11))
        assert first.end == pytest.approx(0.110)
        assert second.first_token == pytest.approx(0.120)


def test_a_large_request_holds_up_those_behind_it() -> None:
    """The queue is served in order, though the third would fit beside the first."""
    requests = served(
        Engine(constant, limits(kv_tokens=300, whole_requests=True)),
        Request(0.0, 100, 11),
        Request(0.0, 200, 11),
        Request(0.0, 50, 11),
    )
    assert [r.first_token for r in requests] == pytest.approx([0.010, 0.120, 0.120])


@pytest.mark.parametrize(("async_scheduling", "first_token"), [(False, 0.030), (True, 0.040)])
def test_what_comes_during_a_step_waits_for_another_if_steps_are_ahead(
    async_scheduling: bool, first_token: float
) -> None:
    """It comes 15 ms after the first, in its second step: the third or the fourth reads it."""
    engine = Engine(constant, limits(async_scheduling=async_scheduling))
    _, late = served(engine, Request(0.0, 100, 9), Request(0.015, 100, 2))
    assert late.first_token == pytest.approx(first_token)


def test_steps_ahead_change_nothing_for_who_is_alone() -> None:
    """One client after the other finds an idle engine."""
    runs = [
        closed_loop(Engine(linear, limits(async_scheduling=ahead)), Lengths(1000, 11), 1)
        for ahead in (False, True)
    ]
    assert runs[0].ttft == pytest.approx(runs[1].ttft)
    assert runs[0].tpot == pytest.approx(runs[1].tpot)


def test_time_outside_the_steps_is_in_ttft_and_in_the_cycle() -> None:
    """110 ms in the engine, 20 before it and 30 before the next request: 160 ms a request."""
    engine = Engine(constant, limits(), request_s=0.020)
    run = closed_loop(engine, Lengths(100, 11), 1, turnaround_s=0.030)
    assert run.ttft == pytest.approx([0.030] * 6)
    assert run.requests_per_s == pytest.approx(1 / 0.160)


@pytest.mark.parametrize("utilization", [0.3, 0.6, 0.8])
@pytest.mark.slow
def test_one_token_answers_one_at_a_time_are_the_textbook_queue(utilization: float) -> None:
    """Poisson arrivals, constant service D: the mean wait is D x u / (2 (1 - u))."""
    engine = Engine(constant, limits(sequences=1))
    run = open_loop(
        engine, Lengths(100, 1), utilization / 0.010, warm_up_s=10, measured_s=1000, seed=3
    )
    wait = 0.010 * utilization / (2 * (1 - utilization))
    assert fmean(run.ttft) == pytest.approx(0.010 + wait, rel=0.03)
    assert run.requests_per_s == pytest.approx(utilization / 0.010, rel=0.01)


def test_capacity_is_what_full_steps_serve() -> None:
    """Four sequences at most, 11 steps of 10 ms for each: 4 / 110 ms, less while prompts wait."""
    assert capacity(Engine(constant, limits(sequences=4)), Lengths(100, 11)) == pytest.approx(
        4 / 0.110, rel=0.01
    )


def test_drawn_lengths_spread_to_both_sides_of_their_mean() -> None:
    """With 0.2, prompts of 80 to 120 and answers of 8 to 12 tokens, 100 and 10 in the mean."""
    run = closed_loop(Engine(linear, limits()), Lengths(100, 10, 0.2), 32, measured=50)
    prompts, answers = [r.prompt for r in run.requests], [r.answer for r in run.requests]
    assert (min(prompts), max(prompts)) == (80, 120)
    assert (min(answers), max(answers)) == (8, 12)
    assert fmean(prompts) == pytest.approx(100, rel=0.02)
    assert fmean(answers) == pytest.approx(10, rel=0.02)


@given(
    clients=st.integers(1, 12),
    prompt=st.integers(1, 900),
    answer=st.integers(1, 12),
    sequences=st.integers(1, 8),
    room=st.integers(1, 4),
    prefill_priority=st.booleans(),
    async_scheduling=st.booleans(),
    whole_requests=st.booleans(),
)
@pytest.mark.slow
def test_every_token_is_computed_once_and_kv_is_never_overdrawn(
    clients: int,
    prompt: int,
    answer: int,
    sequences: int,
    room: int,
    prefill_priority: bool,
    async_scheduling: bool,
    whole_requests: bool,
) -> None:
    """Prompt and answer tokens of all steps are those of the requests, within every limit.

    Whoever was preempted reads them again instead of decoding them.
    """
    kv_tokens = room * 1.2 * (prompt + answer) + 16  # the last block of the longest is not full
    bounds = EngineLimits(
        sequences, 256, kv_tokens, prefill_priority, async_scheduling, whole_requests=whole_requests
    )
    steps, lengths = Recorder(), Lengths(prompt, answer, 0.2)
    engine = Engine(steps, bounds)
    source = [
        Request(0.001 * i, *lengths.draw(Random(i)))  # noqa: S311
        for i in range(clients)
    ]
    requests = served(engine, *source)
    read = sum(step.prefill_tokens for step in steps.steps) - sum(r.prompt for r in requests)
    decoded = sum(step.decode_sequences for step in steps.steps)
    decoded += sum(step.prefills_done for step in steps.steps)
    assert decoded == sum(r.answer for r in requests)
    assert (read > 0) == (engine.preemptions > 0)
    assert not (whole_requests and engine.preemptions)
    assert max(step.tokens for step in steps.steps) <= 256
    assert max(step.decode_sequences for step in steps.steps) <= sequences
    assert engine.most_held <= kv_tokens


@settings(max_examples=25)
@given(clients=st.integers(1, 40), spread=st.sampled_from([0.0, 0.2]), turnaround=st.floats(0, 0.1))
@pytest.mark.slow
def test_clients_are_all_accounted_for(clients: int, spread: float, turnaround: float) -> None:
    """Little's law: requests in the system and clients that pause are all of the clients."""
    engine = Engine(linear, limits(sequences=16), request_s=0.005)
    run = closed_loop(
        engine, Lengths(100, 20, spread), clients, turnaround_s=turnaround, measured=40
    )
    pausing = run.requests_per_s * turnaround
    assert run.in_system + pausing == pytest.approx(clients, rel=0.05)


def test_the_same_seed_gives_the_same_run() -> None:
    """And another seed another one."""

    def run(seed: int) -> Run:
        engine = Engine(linear, limits())
        return open_loop(engine, Lengths(100, 20, 0.2), 20, warm_up_s=5, measured_s=20, seed=seed)

    assert run(1).ttft == run(1).ttft != run(2).ttft


@pytest.mark.slow
def test_as_many_replicas_as_the_rate_and_the_target_need() -> None:
    """One sequence of 110 ms each: 20 requests/s are 2.2 replicas; waiting little takes more."""

    def fewest(most_wait_s: float) -> int | None:
        return fewest_replicas(
            lambda: Engine(constant, limits(sequences=1)),
            Lengths(100, 11),
            20,
            lambda run: percentile(run.ttft, 0.5) <= most_wait_s,
            warm_up_s=20,
            measured_s=50,
            most=8,
        )

    assert fewest(10.0) == 3
    assert (fewest(0.012) or 0) > 3
    assert fewest(0.009) is None


def test_percentiles_are_values_that_were_seen() -> None:
    """Of 1 to 10 half do not exceed 5, and nine in ten do not exceed 9."""
    values = [float(v) for v in range(10, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.9, 1.0)] == [5, 9, 10]
