"""Tasks for Ray, and what stands in the manifest of one."""

from typing import Any

import yaml

from tests.launcher.plans import plan_for
from tpdeploy.backends.registry import load_backend
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.orchestrators.base import Manifest, Task
from tpdeploy.launcher.orchestrators.ray.orchestrator import Ray
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import DeploymentPlan

RAY = Ray()


def two_groups() -> DeploymentPlan:
    """Two replicas of eight GPUs each."""
    return plan_for("2x8xH100", tensor=8, model="llama-70b")


def task_for(plan: DeploymentPlan, backend: str = "vllm", **order: Any) -> Task:
    stated = {"host": "127.0.0.1", "port": 8000, "on": "ray", "startup_timeout_s": 60.0} | order
    return Task(plan, load_backend(backend), Order(name="prod", backend=backend, **stated))


def application_in(manifest: Manifest) -> dict[str, Any]:
    (found,) = yaml.safe_load(manifest.text)["applications"]
    assert isinstance(found, dict)
    return found


def model_in(manifest: Manifest) -> dict[str, Any]:
    (found,) = application_in(manifest)["args"]["llm_configs"]
    assert isinstance(found, dict)
    return found


def over_two_machines(plan: DeploymentPlan) -> DeploymentPlan:
    """One replica over both machines of `plan`, which has one on each."""
    first, second = plan.placement
    nodes = (0,) * len(first.devices) + (1,) * len(second.devices)
    devices = first.devices + second.devices
    place = first.model_copy(update={"devices": devices, "nodes": nodes})
    split = Parallelism.of(plan.parallelism.tensor, pipeline=2)
    return plan.model_copy(update={"placement": (place,), "parallelism": split})
