"""The DeepSpeed-MII adapter writes everything a plan says into one file for our server."""

import ast
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tpdeploy.backends.base import Command, Site
from tpdeploy.backends.deepspeed_mii import CONFIG, PROGRAM, DeepSpeedMiiBackend, reserved_bytes
from tpdeploy.backends.meaning import example_plan
from tpdeploy.errors import InputError
from tpdeploy.planner.memory.footprint import DRIVER_BYTES
from tpdeploy.planner.plan import DeploymentPlan

ENGINE = DeepSpeedMiiBackend()
SITE = Site("127.0.0.1", "8001", Path("/deployments/default/replica-0"))


def plan(**changes: dict[str, Any]) -> DeploymentPlan:
    parts = example_plan(ENGINE).model_dump()
    for name, values in changes.items():
        parts[name] |= values
    return DeploymentPlan.model_validate(parts)


def rendered(of: DeploymentPlan) -> Command:
    return ENGINE.render(of, of.placement[0], SITE)


def test_every_limit_of_the_plan_is_in_the_file() -> None:
    """GPUs go by number, since MII ignores CUDA_VISIBLE_DEVICES."""
    made = plan()
    command = ENGINE.render(made, made.placement[0], replace(SITE, devices=(4, 5, 6, 7)))
    config = json.loads(command.files[CONFIG])
    manager = config["serve"]["inference_engine_config"]["state_manager"]
    assert (config["model"], config["served_name"]) == (made.model.id, made.model.id)
    assert command.argv[-2:] == ("127.0.0.1", "8001")
    assert config["devices"] == [4, 5, 6, 7]
    assert config["serve"]["tensor_parallel"] == 4
    assert config["serve"]["max_length"] == made.limits.max_model_len
    assert manager["max_context"] == made.limits.max_model_len
    assert manager["max_ragged_batch_size"] == made.limits.max_num_batched_tokens
    assert manager["max_ragged_sequence_count"] == made.limits.max_num_seqs


def test_each_replica_has_its_own_file_and_cache() -> None:
    """Two replicas of MII on one machine know nothing of each other."""
    command = rendered(plan())
    assert command.argv[:3] == (
        "python",
        str(SITE.folder / PROGRAM.name),
        str(SITE.folder / CONFIG),
    )
    assert command.env["MII_CACHE_PATH"] == str(SITE.folder / "cache")


def test_what_is_kept_free_leaves_the_plans_kv_cache() -> None:
    """MII takes all but so many bytes; what comes later must fit into these."""
    made = plan()
    memory = made.memory_per_gpu
    after_weights = memory.total_bytes - DRIVER_BYTES - memory.weights_bytes - memory.context_bytes
    kv_cache = after_weights - reserved_bytes(ENGINE, made)
    assert kv_cache == pytest.approx(memory.kv_cache_bytes, rel=0.002)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cluster": {"platform": "cpu"}}, "no deepspeed-mii on cpu"),
        ({"cluster": {"compute_capability": 7.0}}, "compute capability 7"),
        ({"model": {"architecture": "Qwen3ForCausalLM"}}, "no Qwen3ForCausalLM"),
        ({"model": {"kv_cache_dtype": "fp8"}}, "no fp8 KV cache"),
        ({"model": {"stored_as": "fp8"}}, "no fp8 checkpoints"),
    ],
)
def test_what_it_cannot_run_is_found_before_it_starts(
    change: dict[str, dict[str, Any]], words: str
) -> None:
    """Each problem comes with its remedy."""
    problems = ENGINE.check(plan(**change))
    assert any(words in problem.what for problem in problems)
    assert all(problem.remedy for problem in problems)


def test_a_sound_plan_has_no_problems() -> None:
    """Its own example."""
    assert ENGINE.check(plan()) == []


def test_it_is_for_nvidia_gpus_and_legacy() -> None:
    """Said before anything is installed."""
    with pytest.raises(InputError, match="NVIDIA GPUs only, not on cpu"):
        ENGINE.environment("cpu")
    assert "March 2025" in ENGINE.legacy


def test_a_ranks_exception_tells_more_than_our_servers() -> None:
    """Ours only when there is no other."""
    ours = "RuntimeError: DeepSpeed-MII did not start: RuntimeError: server crashed"
    theirs = "RuntimeError: Distributed package doesn't have NCCL built in"
    assert ENGINE.failure([theirs, ours]) == theirs
    assert ENGINE.failure(["starting", ours]) == ours
    assert ENGINE.failure([]) is None


def test_our_server_needs_nothing_of_this_package() -> None:
    """It runs in MII's environment."""
    tree = ast.parse(PROGRAM.read_text())
    names = [
        *(a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names),
        *(n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)),
    ]
    assert not [name for name in names if name.startswith("tpdeploy")]
