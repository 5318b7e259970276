"""The fraction of memory an engine is told, so that it has the plan's KV cache."""

from tpdeploy.backends.base import Backend
from tpdeploy.planner.memory.footprint import fraction_for
from tpdeploy.planner.plan import DeploymentPlan


def memory_fraction(engine: Backend, plan: DeploymentPlan) -> float:
    """What `engine` calls its fraction of memory.

    As the plan says if it was made for this engine; else the one that by this engine's own rule
    leaves as much KV cache as the plan counts on, since no two rules mean the same by a number.
    """
    if plan.backend == engine.name:
        return plan.limits.memory_fraction
    return fraction_for(plan.memory_per_gpu, engine.memory_rule(plan.cluster.platform).of)
