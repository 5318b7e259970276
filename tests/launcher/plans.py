"""Plans for machines that are stated, and for this one's CPU."""

from tests.planner.inputs import VLLM
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model


def plan_for(gpus: str, *, tensor: int = 1, model: str = "llama-8b") -> DeploymentPlan:
    """The plan that fills these devices with replicas of `tensor` ranks."""
    shape, cluster = load_model(model), parse_gpus(gpus)
    load, replicas = Workload(concurrency=4), cluster.count // tensor
    inputs = PlanInputs(shape, cluster, load, VLLM, shape.dtype, replicas=replicas, tensor=tensor)
    return plan(inputs, search(inputs))
