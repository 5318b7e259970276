"""Data-parallel attention: for models with experts, on engines that have it, where it pays."""

from dataclasses import replace

import pytest

from tests.planner.inputs import VLLM, ask
from tpdeploy.errors import InputError
from tpdeploy.planner.engine_rules import EngineRules
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.layouts import splits
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.search.turning_points import turning_points
from tpdeploy.planner.workload import Workload

ABLE = replace(VLLM, data_parallel=True)
MANY = Workload(concurrency=1024)


def kinds(inputs: PlanInputs) -> set[tuple[int, int]]:
    """Tensor ranks of a data rank, and data ranks, of every split with more than one of these."""
    found = splits(inputs)
    return {(s.tensor, s.data) for s in found if s.data_parallel}


def answer(inputs: PlanInputs) -> DeploymentPlan:
    return plan(inputs, search(inputs))


def test_it_is_looked_at_on_all_gpus_of_a_machine_and_their_even_parts() -> None:
    """Every even division of eight GPUs into data ranks and their tensor ranks, experts whole."""
    inputs = ask("deepseek-v3", "8xH200", engine=ABLE)
    assert kinds(inputs) == {(1, 2), (1, 4), (1, 8), (2, 2), (2, 4), (4, 2)}
    assert all(s.expert == s.stage_ranks for s in splits(inputs) if s.data_parallel)


@pytest.mark.parametrize(
    ("model", "engine"),
    [
        ("llama-70b", ABLE),  # has no experts: as many replicas
        ("deepseek-v3", VLLM),  # an engine without
        ("deepseek-v3", replace(ABLE, data_parallel=True, expert_parallel=False)),
    ],
)
@pytest.mark.slow
def test_nobody_is_offered_what_cannot_be_had(model: str, engine: EngineRules) -> None:
    """Dense models, engines without data-parallel attention or without expert parallelism."""
    ranked = search(ask(model, "8xH200", engine=engine, workload=MANY)).ranked
    assert ranked
    assert not any(c.parallelism.data_parallel for c in ranked)


def test_an_engine_whose_attention_is_either_is_asked_for_no_mixture() -> None:
    """TensorRT-LLM makes every rank a data rank."""
    either = replace(ABLE, data_or_tensor=True)
    assert kinds(ask("deepseek-v3", "8xH200", engine=either)) == {(1, 2), (1, 4), (1, 8)}
    with pytest.raises(InputError, match=r"--tp 2 --dp 4: .*either data-parallel or tensor"):
        search(ask("mixtral-8x7b", "8xH200", tensor=2, data=4, engine=either))


def test_what_was_asked_for_is_all_that_is_looked_at() -> None:
    """Only so many data ranks; 1 is none, and a model without experts has none to share."""
    assert kinds(ask("deepseek-v3", "8xH200", data=4, engine=ABLE)) == {(1, 4), (2, 4)}
    assert kinds(ask("deepseek-v3", "8xH200", data=1, engine=ABLE)) == set()
    dense = search(ask("llama-70b", "8xH200", data=2, engine=ABLE))
    assert not dense.ranked
    assert all("as many replicas" in r.reason for r in dense.refused)
    with pytest.raises(InputError, match=r"--tp 4 --dp 4: .*--tp x --dp up to 8"):
        splits(ask("deepseek-v3", "8xH200", tensor=4, data=4, engine=ABLE))


def test_stages_of_data_ranks_are_planned_where_both_are_asked_for() -> None:
    """Two stages of two data ranks of two GPUs each."""
    made = answer(ask("mixtral-8x7b", "8xH100", tensor=2, pipeline=2, data=2, engine=ABLE))
    assert made.parallelism.words == "attention DP 2 x TP 2 x PP 2 + EP"
    assert len(made.placement[0].devices) == 8


@pytest.mark.slow
def test_it_is_chosen_under_a_load_that_fills_the_kv_cache_and_says_why() -> None:
    """Of DeepSeek's latent, tensor ranks hold a copy each, and data ranks their own requests."""
    heavy = answer(ask("deepseek-v3", "8xH200", workload=MANY, engine=ABLE))
    assert heavy.parallelism.data_parallel
    (why,) = [r for r in heavy.reasons if r.startswith("Attention is data-parallel")]
    assert "TP 8 x 1 instead: -" in why
    light = answer(ask("deepseek-v3", "8xH200", workload=Workload(concurrency=8), engine=ABLE))
    assert light.parallelism.words == "TP 8"


@pytest.mark.slow
def test_the_answer_tells_up_to_which_load_tensor_parallelism_is_better() -> None:
    """From the comparison of both at lighter and heavier loads."""
    inputs = ask("deepseek-v3", "8xH200", workload=MANY, engine=ABLE)
    (words,) = turning_points(inputs, search(inputs).ranked)
    assert words.startswith("Up to")
    assert words.index("TP 8 x 1") < words.index("attention DP")


def test_data_ranks_stay_on_one_machine() -> None:
    """Two machines of eight are two replicas, each with its data ranks on one of them."""
    made = answer(ask("deepseek-v3", "2x8xH200", data=8, tensor=1, engine=ABLE))
    assert made.parallelism.replicas == 2
    assert [p.machines for p in made.placement] == [(0,), (1,)]


@pytest.mark.slow
def test_a_rate_needs_as_few_replicas_of_it_as_carry_the_load() -> None:
    """An open loop, and a count left open, see it too."""
    rate = Workload(rate=4.0)
    made = answer(ask("qwen3-30b-a3b", "4xH100", data=2, tensor=1, workload=rate, engine=ABLE))
    assert made.prediction.requests_per_s.value == pytest.approx(4.0, rel=0.01)
    cost = ask(
        "qwen3-30b-a3b", "4xH100", data=2, tensor=1, workload=rate, optimize="cost", engine=ABLE
    )
    assert answer(cost).parallelism.replicas == 1
