"""Replicas over machines that share one NVLink domain, as the trays of an NVL72 rack."""

from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.profiles.devices.catalog import find_fabric


def needs_imex(plan: DeploymentPlan) -> bool:
    """Whether a replica's ranks reach one another's memory over NVLink from machine to machine.

    NVIDIA's IMEX service, on every machine, then has to give its processes a channel: without one
    NCCL goes over the network (NVIDIA, Multi-Node NVLink Systems IMEX Service Guide).
    """
    apart = plan.request is not None and plan.request.network is not None
    over = any(len(place.machines) > 1 for place in plan.placement)
    return over and not apart and find_fabric(plan.cluster.fabric).spans_machines
