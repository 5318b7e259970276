"""Plans for clusters."""

from tests.planner.inputs import ask
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.search import plan, search


def planned(
    model: str, gpus: str, *, tensor: int, pipeline: int = 1, replicas: int = 1
) -> DeploymentPlan:
    """The plan with this split."""
    inputs = ask(model, gpus, tensor=tensor, pipeline=pipeline, replicas=replicas)
    return plan(inputs, search(inputs))
