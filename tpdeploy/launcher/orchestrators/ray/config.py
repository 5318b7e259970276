"""A plan as a configuration of Ray Serve: an application that Ray Serve LLM builds."""

from pathlib import Path
from typing import Any

from tpdeploy.backends.base import Site
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.orchestrators.base import Task
from tpdeploy.launcher.orchestrators.ray.arguments import engine_kwargs
from tpdeploy.launcher.orchestrators.scaling import scaling_of
from tpdeploy.profiles.machine.cores import cores_in

ENGINE = "vllm"  # the one that Ray Serve LLM runs from a configuration
BUILDER = "ray.serve.llm:build_openai_app"
PREFIX = "tpdeploy-"
AUTOSCALERS = ("serve",)
# Serve looks every 10 s; its own 30 s would come on top of a replica's start.
UPSCALE_DELAY_S = 10
# GPUs as ray.util.accelerators of 2.60 has them. Ray finds the name of a node's GPU by itself, and
# tells no SXM from PCIe, nor a size of memory from another.
ACCELERATORS = (
    *("A100", "A10G", "B200", "B300", "GB200", "GB300", "H100", "H20", "H200", "L4", "L40S"),
    *("RTX-PRO-6000", "T4", "V100"),
)
# What Ray Serve decides itself: where replicas listen, and on which machine each rank runs.
SERVERS_OPTIONS = frozenset({"host", "port", "served_model_name", "middleware"})
NODES_VARIABLES = frozenset({"PYTHONPATH", "VLLM_HOST_IP"})


def application_of(order: Order) -> str:
    """What Serve calls the deployment."""
    return f"{PREFIX}{order.name}"


def serve_config(task: Task) -> dict[str, Any]:
    """What `serve deploy` takes: schema ServeDeploySchema of ray.serve.schema.

    Raises:
        InputError: an argument for the engine that Ray Serve cannot pass on.
    """
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": task.order.host, "port": task.order.port},
        "applications": [
            {
                "name": application_of(task.order),
                "route_prefix": f"/{task.order.name}",
                "import_path": BUILDER,
                "args": {"llm_configs": [llm_config(task)]},
            }
        ],
    }


def llm_config(task: Task) -> dict[str, Any]:
    """The model, its engine and its replicas: schema LLMConfig of ray.serve.llm."""
    model = task.plan.model
    kwargs, env = _engine(task)
    return {
        "model_loading_config": {"model_id": model.id, "model_source": model.path or model.id},
        **_devices(task),
        "deployment_config": {
            **_replicas(task),
            **({"ray_actor_options": {"num_cpus": 0}} if _cores(task) else {}),
        },
        "engine_kwargs": kwargs,
        "runtime_env": {"env_vars": env},
    }


def _replicas(task: Task) -> dict[str, Any]:
    """How many: as many as planned, or as Serve finds by their requests."""
    scaling = scaling_of(task, AUTOSCALERS)
    if scaling is None:
        return {"num_replicas": task.plan.parallelism.replicas}
    asked = {
        "min_replicas": scaling.least,
        "initial_replicas": scaling.most,
        "max_replicas": scaling.most,
        "target_ongoing_requests": scaling.in_flight,
        "upscale_delay_s": UPSCALE_DELAY_S,
        "downscale_delay_s": scaling.held_s,
    }
    return {"autoscaling_config": asked}


def accelerator_type(gpu: str) -> str | None:
    """What Ray calls a GPU of the catalog; None: it has no name for it.

    >>> accelerator_type("H100-SXM-80GB")
    'H100'
    """
    return next((name for name in ACCELERATORS if f"{gpu}-".startswith(f"{name}-")), None)


def _engine(task: Task) -> tuple[dict[str, object], dict[str, str]]:
    """The engine's arguments and variables, from its adapter.

    As for a replica on one machine: over several Ray starts the ranks itself.
    """
    place = task.plan.placement[0].changed(nodes=())
    site = Site(host="", port="", folder=Path(), cpus=("nobind",))
    command = task.backend.render(task.plan, place, site)
    options = command.argv[len(("vllm", "serve", "MODEL")) :]
    kwargs = engine_kwargs(options) | engine_kwargs(task.order.engine_args)
    env = {name: value for name, value in command.env.items() if name not in NODES_VARIABLES}
    if cores := _cores(task):
        env["OMP_NUM_THREADS"] = str(cores)  # else Ray says how many, and it would be one
    return {name: kwargs[name] for name in kwargs if name not in SERVERS_OPTIONS}, env


def _devices(task: Task) -> dict[str, Any]:
    """What each rank takes, and where: all of a replica on one machine, if it fits there."""
    one_machine = all(len(place.machines) == 1 for place in task.plan.placement)
    strategy = "STRICT_PACK" if one_machine else "PACK"
    if task.plan.cluster.platform == "cpu":
        each = {"bundle_per_worker": {"CPU": _cores(task)}, "strategy": strategy}
        return {"accelerator_config": {"kind": "cpu"}, "placement_group_config": each}
    name = None if task.plan.cluster.kinds else accelerator_type(task.plan.cluster.gpu)
    return {
        **({"accelerator_type": name} if name else {}),
        "placement_group_config": {"bundle_per_worker": {"GPU": 1}, "strategy": strategy},
    }


def _cores(task: Task) -> int:
    """Cores of each rank; none where ranks have other devices."""
    if task.plan.cluster.platform != "cpu":
        return 0
    return len(cores_in(task.plan.placement[0].cpus[0])) if task.plan.placement[0].cpus else 1
