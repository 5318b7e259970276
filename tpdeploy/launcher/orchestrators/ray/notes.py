"""What a deployment needs that is not in its configuration."""

from collections.abc import Iterator

from tpdeploy.launcher.environments import version_in
from tpdeploy.launcher.multi_node_nvlink import needs_imex
from tpdeploy.launcher.orchestrators.base import Task
from tpdeploy.launcher.orchestrators.ray.config import AUTOSCALERS
from tpdeploy.launcher.orchestrators.ray.endpoint import LOOPBACKS
from tpdeploy.launcher.orchestrators.ray.environment import environment_with_ray, made_for
from tpdeploy.launcher.orchestrators.scaling import scaling_of


def notes(task: Task) -> Iterator[str]:
    """One sentence or two for each."""
    plan, order = task.plan, task.order
    if plan.model.path:
        yield f"Each node needs the model at {plan.model.path}."
    else:
        yield "Nodes download the model; a gated one needs HF_TOKEN in their own environment."
    if any(len(place.machines) > 1 for place in plan.placement):
        yield (
            "Ray fills one node after the other with the ranks of a replica: nodes that others use "
            "too may take a tensor-parallel group to more machines than planned."
        )
    if needs_imex(plan):
        yield (
            "Nodes need NVIDIA's IMEX service, and Ray's processes a channel of it: without one "
            "the ranks of a replica do not reach one another over NVLink."
        )
    if order.host not in LOOPBACKS:
        yield f"Whoever reaches {order.host}:{order.port} on the head is let in: there is no key."
    if scaling := scaling_of(task, AUTOSCALERS):
        yield scaling.words
    yield _release_note(task)


def _release_note(task: Task) -> str:
    """Which vLLM is beside which Ray."""
    environment = environment_with_ray(task)
    if environment is None:
        return (
            "Nodes need vLLM, ray[serve] and pyarrow. Not held against Ray's own classes: there is "
            "no Ray here; `tpdeploy backends install vllm --with ray` installs it."
        )
    ray = version_in(environment, "ray")
    wanted, there = made_for(environment)
    note = f"Nodes need Ray {ray} and vLLM {there}"
    if not wanted or wanted == there.partition("+")[0]:
        return f"{note}."
    return f"{note}; ray[llm] of that release pins vLLM {wanted}."
