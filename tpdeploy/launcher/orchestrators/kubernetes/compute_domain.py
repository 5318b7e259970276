"""What pods of several machines need to reach one another over NVLink: a ComputeDomain.

Of NVIDIA's DRA driver for GPUs: it starts an IMEX daemon on each node that a pod with a claim comes
to, and gives the pod a channel. `numNodes` is deprecated; 0 is for driver 25.8 and later.
"""

from typing import Any

from tpdeploy.launcher.multi_node_nvlink import needs_imex
from tpdeploy.launcher.orchestrators.base import Task
from tpdeploy.launcher.orchestrators.kubernetes.objects import (
    GROUP,
    REPLICA,
    match,
    metadata,
    whole_name,
)
from tpdeploy.launcher.orchestrators.kubernetes.settings import Settings

Json = dict[str, Any]

API = "resource.nvidia.com"
NVLINK = "nvlink"  # what the claim is called in a pod
CLIQUE = "nvidia.com/gpu.clique"  # the label of nodes of one NVLink domain


def domains(task: Task, settings: Settings) -> list[Json]:
    """The object, if the plan's replicas need it."""
    if not needs_imex(task.plan):
        return []
    spec = {
        "numNodes": 0,
        "channel": {
            "allocationMode": "Single",
            "resourceClaimTemplate": {"name": _template(settings)},
        },
    }
    return [
        {
            "apiVersion": f"{API}/v1beta1",
            "kind": "ComputeDomain",
            "metadata": metadata(settings, REPLICA, NVLINK),
            "spec": spec,
        }
    ]


def with_channel(task: Task, settings: Settings, spec: Json) -> Json:
    """The spec of a pod that claims a channel, beside the others of its replica."""
    if not needs_imex(task.plan):
        return spec
    claim = {"name": NVLINK, "resourceClaimTemplateName": _template(settings)}
    containers = [
        {**each, "resources": {**each["resources"], "claims": [{"name": NVLINK}]}}
        for each in spec["containers"]
    ]
    affinity = {**spec.get("affinity", {}), "podAffinity": _together(settings)}
    return {**spec, "affinity": affinity, "containers": containers, "resourceClaims": [claim]}


def notes(task: Task) -> list[str]:
    """What the cluster has to have for it."""
    if not needs_imex(task.plan):
        return []
    return [
        f"The cluster needs NVIDIA's DRA driver with ComputeDomains ({API}/v1beta1): without an "
        "IMEX channel the pods of a replica do not reach one another over NVLink."
    ]


def _template(settings: Settings) -> str:
    return whole_name(settings.name, NVLINK, "channel")


def _together(settings: Settings) -> Json:
    """Every pod of a group in the domain of the first."""
    term = {
        "labelSelector": {"matchLabels": match(settings.name, REPLICA)},
        "matchLabelKeys": [GROUP],
        "topologyKey": CLIQUE,
    }
    return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
