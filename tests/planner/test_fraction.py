"""A fraction of memory in another engine's words leaves the same KV cache."""

from dataclasses import replace
from typing import Literal

import pytest

from tests.planner.inputs import VLLM
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.memory.footprint import fraction_for, room_for_kv
from tpdeploy.planner.memory.sizing import step_size, tightest_stage, usable_bytes
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model

RULES: list[Literal["total", "free after weights"]] = ["total", "free after weights"]


@pytest.mark.parametrize("made_for", RULES)
@pytest.mark.parametrize("told", RULES)
def test_the_kv_cache_is_the_plans_by_either_rule(
    made_for: Literal["total", "free after weights"], told: Literal["total", "free after weights"]
) -> None:
    """vLLM's fraction and TensorRT-LLM's are different numbers for one and the same cache."""
    shape, cluster = load_model("llama-70b"), parse_gpus("8xH100")
    rules = replace(VLLM, memory_fraction=0.88, fraction_of=made_for)
    inputs = PlanInputs(shape, cluster, Workload(concurrency=8), rules, shape.dtype, tensor=4)
    made = plan(inputs, search(inputs))
    split = Parallelism(tensor=4, replicas=2)
    needs = tightest_stage(inputs, split, step_size(inputs, split)).needs
    fraction = fraction_for(made.memory_per_gpu, told)
    room = room_for_kv(needs, usable_bytes(inputs), fraction, told)
    assert room == pytest.approx(made.memory_per_gpu.kv_cache_bytes, rel=0.005)
    assert (told == made_for) == (fraction == pytest.approx(0.88, abs=0.0011))
