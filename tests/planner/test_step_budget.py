"""Smaller steps are tried where the usual ones miss a target, and only there."""

from dataclasses import replace

import pytest

from tests.planner.inputs import ask
from tpdeploy.errors import InfeasibleError
from tpdeploy.planner.search.fleet import fewest_devices
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.search.token_budget import fewest_with_steps, search_steps
from tpdeploy.planner.workload import Target, Workload

# Equal requests, which march in step: whole bursts of prompts are read at once.
TOGETHER = Workload(concurrency=32, length_spread=0)


def test_a_target_that_the_usual_steps_miss_is_met_by_smaller_ones() -> None:
    """32 clients in step wait for each other's prompts; the plan has the steps and says why."""
    usual = ask("llama-8b", "1xH100", workload=TOGETHER)
    before = search(usual).ranked[0].prediction.ttft_ms.value
    asked = replace(usual, workload=TOGETHER.model_copy(update={"ttft": Target(ms=before * 0.6)}))
    assert search(asked).best is None
    inputs, outcome = search_steps(asked)
    found = plan(inputs, outcome)
    assert found.limits.max_num_batched_tokens < 8192
    assert found.prediction.ttft_ms.value <= before * 0.6
    assert found.reasons[0].startswith(f"Steps of at most {found.limits.max_num_batched_tokens:,}")


def test_steps_stay_as_they_are_where_they_do_or_were_asked_for() -> None:
    """A target that is met, and steps that the user fixed."""
    easy = ask("llama-8b", "1xH100")
    hard = replace(easy, workload=TOGETHER.model_copy(update={"ttft": Target(ms=1)}))
    for inputs in (easy, replace(hard, max_num_batched_tokens=4096)):
        answered, outcome = search_steps(inputs)
        assert answered is inputs
        assert outcome.remarks == ()


def test_a_target_that_no_steps_meet_is_told_with_the_closest() -> None:
    """1 ms is too little for any; the message has the steps that come nearest."""
    asked = ask("llama-70b", "8xH100", workload=TOGETHER.model_copy(update={"ttft": Target(ms=1)}))
    usual = search(asked)
    inputs, outcome = search_steps(asked)
    assert inputs.max_num_batched_tokens is not None
    first = [o.ranked[0].prediction.ttft_ms.value for o in (usual, outcome)]
    assert first[1] < first[0]
    assert first[0] == min(c.prediction.ttft_ms.value for c in usual.ranked)
    with pytest.raises(InfeasibleError, match=r"in steps of at most [0-9,]+ tokens \(TTFT p50"):
        plan(inputs, outcome)


def test_smaller_steps_may_need_fewer_devices() -> None:
    """64 clients that ask together wait for each other's prompts, or are spread over more GPUs."""
    load = Workload(concurrency=64, ttft=Target(ms=400), length_spread=0)
    asked = ask("llama-70b", "H100", workload=load)
    usual = fewest_devices(asked).outcome.best
    inputs, outcome = fewest_with_steps(asked)
    assert usual is not None
    assert outcome.best is not None
    assert outcome.best.parallelism.devices < usual.parallelism.devices
    tokens = inputs.max_num_batched_tokens
    assert outcome.remarks[0] == (
        f"Steps of at most {tokens:,} tokens: with the usual 8,192, "
        f"{usual.parallelism.devices} GPUs are needed."
    )


def test_steps_that_need_as_many_devices_stay_the_usual_ones() -> None:
    """Smaller ones would be quicker to the first token, which was not asked for."""
    load = Workload(concurrency=8, ttft=Target(ms=5000))
    inputs, outcome = fewest_with_steps(ask("llama-8b", "H100", workload=load))
    assert outcome.best is not None
    assert inputs.max_num_batched_tokens is None


def test_an_open_loop_keeps_its_steps() -> None:
    """Its requests do not come together."""
    load = Workload(rate=4, ttft=Target(ms=300))
    assert fewest_with_steps(ask("llama-8b", "H100", workload=load))[0].max_num_batched_tokens is (
        None
    )
