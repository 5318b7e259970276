"""Smaller steps are tried where the usual ones miss a target, and only there."""

from dataclasses import replace

from tests.planner.questions import LOAD, ask
from tpdeploy.planner.search import plan, search
from tpdeploy.planner.step_budget import search_steps
from tpdeploy.planner.workload import Target


def test_a_target_that_the_usual_steps_miss_is_met_by_smaller_ones() -> None:
    """32 clients in step wait for each other's prompts; the plan has the steps and says why."""
    usual = ask("llama-8b", "1xH100")
    before = search(usual).ranked[0].prediction.ttft_ms.value
    asked = replace(usual, workload=LOAD.model_copy(update={"ttft": Target(ms=before * 0.6)}))
    assert search(asked).best is None
    question, outcome = search_steps(asked)
    found = plan(question, outcome)
    assert found.limits.max_num_batched_tokens < 8192
    assert found.prediction.ttft_ms.value <= before * 0.6
    assert found.reasons[0].startswith(f"Steps of at most {found.limits.max_num_batched_tokens:,}")


def test_steps_stay_as_they_are_where_they_do_or_were_asked_for() -> None:
    """A target that is met, one that no step meets, and steps that the user fixed."""
    easy = ask("llama-8b", "1xH100")
    hard = replace(easy, workload=LOAD.model_copy(update={"ttft": Target(ms=1)}))
    fixed = replace(hard, max_num_batched_tokens=4096)
    for question in (easy, hard, fixed):
        answered, outcome = search_steps(question)
        assert answered is question
        assert outcome.remarks == ()
