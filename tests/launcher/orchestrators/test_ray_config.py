"""Plans as applications of Ray Serve, and those that it cannot run."""

from pathlib import Path
from typing import Any

import pytest

from tests.launcher.orchestrators.ray_tasks import (
    RAY,
    application_in,
    model_in,
    over_two_machines,
    task_for,
    two_groups,
)
from tests.launcher.plans import plan_for
from tests.planner.days import day, planned
from tpdeploy.backends.base import Site
from tpdeploy.errors import InputError
from tpdeploy.launcher.orchestrators.ray.arguments import engine_kwargs
from tpdeploy.launcher.orchestrators.ray.config import accelerator_type
from tpdeploy.planner.plan import DeploymentPlan


@pytest.fixture(scope="module")
def plan() -> DeploymentPlan:
    return two_groups()


def test_the_engine_is_told_what_the_adapter_tells_it(plan: DeploymentPlan) -> None:
    """Every option of the adapter but those of its server is there by the same name and value."""
    task = task_for(plan)
    manifest = RAY.render(task)
    command = task.backend.render(plan, plan.placement[0], Site("h", "1", Path("/f")))
    told = engine_kwargs(command.argv[3:])
    left_out = {"host", "port", "served_model_name", "middleware"}
    model = model_in(manifest)
    assert model["engine_kwargs"] == {k: v for k, v in told.items() if k not in left_out}
    assert model["engine_kwargs"]["tensor_parallel_size"] == 8
    assert model["accelerator_type"] == "H100"
    assert model["placement_group_config"]["strategy"] == "STRICT_PACK"
    assert model["deployment_config"] == {"num_replicas": 2}
    assert model["model_loading_config"]["model_id"] == plan.model.id
    assert application_in(manifest)["route_prefix"] == "/prod"


def test_what_a_node_decides_is_not_in_it(plan: DeploymentPlan) -> None:
    """Neither addresses, devices, folders of this machine, nor keys."""
    text = RAY.render(task_for(plan)).text
    for word in ("VLLM_HOST_IP", "PYTHONPATH", "CUDA_VISIBLE", "master", "nnodes", "KEY", "TOKEN"):
        assert word not in text


def test_a_replica_over_machines_is_packed_and_named_in_the_notes(plan: DeploymentPlan) -> None:
    """Ray starts the ranks of both, so that no rank is told where it meets the others."""
    manifest = RAY.render(task_for(over_two_machines(plan)))
    model = model_in(manifest)
    assert model["placement_group_config"] == {
        "bundle_per_worker": {"GPU": 1},
        "strategy": "PACK",
    }
    assert model["engine_kwargs"]["pipeline_parallel_size"] == 2
    assert not {"nnodes", "master_addr", "headless"} & set(model["engine_kwargs"])
    assert any("tensor-parallel group" in note for note in manifest.notes)


def test_trays_of_a_rack_need_a_channel_for_nvlink(plan: DeploymentPlan) -> None:
    """Ray's own processes have to have it; machines on a network need none."""
    rack = plan_for("2x4xGB200", tensor=8, model="llama-405b")
    manifest = RAY.render(task_for(rack))
    assert model_in(manifest)["engine_kwargs"]["tensor_parallel_size"] == 8
    assert model_in(manifest)["placement_group_config"]["strategy"] == "PACK"
    assert any("IMEX" in note for note in manifest.notes)
    assert not any("IMEX" in note for note in RAY.render(task_for(over_two_machines(plan))).notes)


def test_machines_with_gpus_of_several_kinds_are_asked_for_none() -> None:
    """Ray knows a machine by one kind."""
    model = model_in(RAY.render(task_for(plan_for("1x3090+1x3070", model="qwen2.5-0.5b"))))
    assert "accelerator_type" not in model
    assert model["placement_group_config"]["bundle_per_worker"] == {"GPU": 1}


def test_cores_of_a_rank_are_reserved_and_used() -> None:
    """By itself Ray gives a replica one thread."""
    plan = plan_for("1xCPU", model="qwen2.5-0.5b")
    model = model_in(RAY.render(task_for(plan)))
    cores = model["placement_group_config"]["bundle_per_worker"]["CPU"]
    assert model["accelerator_config"] == {"kind": "cpu"}
    assert "accelerator_type" not in model
    assert cores >= 1
    assert model["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == str(cores)
    assert model["deployment_config"]["ray_actor_options"] == {"num_cpus": 0}


def test_the_users_arguments_win(plan: DeploymentPlan) -> None:
    own = ("--load-format=dummy", "--hf-overrides", '{"head_dim": 64}', "--max-num-seqs", "7")
    kwargs = model_in(RAY.render(task_for(plan, engine_args=own)))["engine_kwargs"]
    assert kwargs["load_format"] == "dummy"
    assert kwargs["hf_overrides"] == {"head_dim": 64}
    assert kwargs["max_num_seqs"] == 7


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"keyed": True}, "asks clients for no key"),
        ({"generate_key": True}, "asks clients for no key"),
        ({"key_file": Path("/keys")}, "asks clients for no key"),
        ({"tls_cert": Path("/c")}, "gateway"),
        ({"metrics": True}, "Ray exports"),
        ({"container": "image"}, "image of Ray's nodes"),
        ({"on_options": ("qos=high",)}, "qos=high"),
        ({"on_options": ("autoscale=keda",)}, "known: serve"),
        ({"on_options": ("autoscale=serve",)}, "plan with --daily"),
        ({"engine_args": ("-tp", "2")}, "--name value"),
        ({"engine_args": ("--compilation-config.level", "3")}, "--name value"),
        ({"on": "ray:head:lots"}, "ray:HOST:8265"),
        ({"on": "ray:ray://head:10001"}, "ray:HOST:8265"),
        ({"backend": "tensorrt-llm"}, "--backend vllm"),
    ],
)
def test_what_it_cannot_do_is_refused(
    plan: DeploymentPlan, order: dict[str, Any], words: str
) -> None:
    """In one line that says what works."""
    with pytest.raises(InputError, match=words):
        RAY.check_plan(task_for(plan, **order))


def test_replicas_are_scaled_as_the_day_needs(plan: DeploymentPlan) -> None:
    """All of them to begin with; by requests in flight, as Serve counts them."""
    daily = planned(day(2.0, 9.0, headroom=0.2), 8.0, plan.parallelism)
    made = RAY.render(task_for(plan.changed(daily=daily), on_options=("autoscale=serve",)))
    assert model_in(made)["deployment_config"] == {
        "autoscaling_config": {
            "min_replicas": 1,
            "initial_replicas": 2,
            "max_replicas": 2,
            "target_ongoing_requests": 28.2,
            "upscale_delay_s": 10,
            "downscale_delay_s": 300,
        }
    }
    assert any("From 1 to 2 replicas" in note for note in made.notes)


def test_data_parallel_attention_is_refused(plan: DeploymentPlan) -> None:
    split = plan.parallelism.model_copy(update={"data": 2})
    with pytest.raises(InputError, match="--dp 1"):
        RAY.check_plan(task_for(plan.model_copy(update={"parallelism": split})))


def test_a_plan_that_it_can_run_is_taken(plan: DeploymentPlan) -> None:
    RAY.check_plan(task_for(plan))


@pytest.mark.parametrize(
    ("gpu", "name"),
    [
        ("H100-PCIe-80GB", "H100"),
        ("A100-SXM-40GB", "A100"),
        ("A10G", "A10G"),
        ("A10", None),
        ("L40", None),
        ("L40S", "L40S"),
        ("RTX-PRO-6000-Server", "RTX-PRO-6000"),
        ("RTX-4090", None),
        ("GH200-96GB", None),
        ("MI300X-192GB", None),
    ],
)
def test_gpus_have_rays_names(gpu: str, name: str | None) -> None:
    assert accelerator_type(gpu) == name
