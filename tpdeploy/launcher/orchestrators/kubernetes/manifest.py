"""The manifest of a deployment: every object of it, in the order in which they are made."""

from typing import Any

import yaml

from tpdeploy.launcher.multi_node_nvlink import needs_imex
from tpdeploy.launcher.orchestrators.base import Manifest, Task
from tpdeploy.launcher.orchestrators.kubernetes import autoscale, compute_domain, front
from tpdeploy.launcher.orchestrators.kubernetes.objects import (
    FRONT,
    REPLICA,
    config_map,
    disruption_budget,
    front_service,
    match,
    metadata,
    replicas_policy,
    replicas_service,
    whole_name,
)
from tpdeploy.launcher.orchestrators.kubernetes.pods import (
    CLIENTS,
    HUB_TOKEN,
    INNER,
    files_of,
    image_of,
    machines_of,
    noticed_within_s,
    parts_for,
    pod,
    values_of,
)
from tpdeploy.launcher.orchestrators.kubernetes.settings import Settings
from tpdeploy.launcher.runtimes.base import Parts
from tpdeploy.profiles.devices.labels import LABELS

Json = dict[str, Any]

LWS = "leaderworkerset.x-k8s.io"


class Dumper(yaml.SafeDumper):
    """YAML for people: texts of several lines as blocks, lists indented, no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Each stands by itself."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Also of lists."""
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Dumper.add_representer(str, _text)


def dumped(objects: list[Json]) -> str:
    """The objects as one file."""
    return yaml.dump_all(
        objects, Dumper=Dumper, sort_keys=False, width=100, explicit_start=True, allow_unicode=True
    )


def plain(task: Task, settings: Settings) -> Manifest:
    """Objects that every cluster has, and LeaderWorkerSet for replicas over several machines."""
    return Manifest(dumped(objects(task, settings)), tuple(_notes(task, settings)))


def objects(task: Task, settings: Settings) -> list[Json]:
    """All but the Secret, whose keys stand in no manifest."""
    groups = machines_of(task) > 1
    parts = parts_for(task)
    replicas = _groups(task, settings, parts) if groups else _single(task, settings, parts)
    return [
        config_map(settings, REPLICA, files_of(parts)),
        config_map(settings, FRONT, front.config(task, settings)),
        replicas_service(settings, groups=groups),
        front_service(settings, task.order.port),
        replicas_policy(settings, groups=groups),
        disruption_budget(settings, REPLICA),
        disruption_budget(settings, FRONT),
        *compute_domain.domains(task, settings),
        replicas,
        front.deployment(task, settings),
        *autoscale.scalers(task, settings),
    ]


def _single(task: Task, settings: Settings, parts: Parts) -> Json:
    """One pod per replica; the old one ends before the new one starts: no devices are spare."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(settings, REPLICA, REPLICA),
        "spec": {
            "replicas": task.plan.parallelism.replicas,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
            },
            "selector": {"matchLabels": match(settings.name, REPLICA)},
            "template": pod(task, settings, parts),
        },
    }


def _groups(task: Task, settings: Settings, parts: Parts) -> Json:
    """One group of pods per replica, which start and end together."""
    return {
        "apiVersion": f"{LWS}/v1",
        "kind": "LeaderWorkerSet",
        "metadata": metadata(settings, REPLICA, REPLICA),
        "spec": {
            "replicas": task.plan.parallelism.replicas,
            "startupPolicy": "LeaderCreated",
            "leaderWorkerTemplate": {
                "size": machines_of(task),
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": pod(task, settings, parts),
                "workerTemplate": pod(task, settings, parts, worker=True),
            },
        },
    }


def _notes(task: Task, settings: Settings) -> list[str]:
    """What it needs, and what it will do."""
    found = [
        f"Images: {image_of(task)} and {front.IMAGE}.",
        _secret_note(task, settings),
        f"An engine that generates no longer is noticed within {noticed_within_s(task)} s, and "
        f"one that has ended at once.",
    ]
    if machines_of(task) > 1:
        found.append(f"The cluster needs LeaderWorkerSet ({LWS}/v1).")
        found += compute_domain.notes(task)
        if task.plan.cluster.network and not needs_imex(task.plan):
            found.append(
                f"The plan counts on {task.plan.cluster.network} between machines; pods have it "
                "only if the cluster gives it to them."
            )
    found += _node_notes(task, settings)
    found += autoscale.notes(task, settings)
    if not front.is_open(task.order):
        found.append("Without a key it is reached by kubectl port-forward alone.")
    return found


def _node_notes(task: Task, settings: Settings) -> list[str]:
    found = []
    label = LABELS.get(task.plan.cluster.platform)
    if label and not values_of(task):
        found.append(f"Any node may be taken: the {label} of {task.plan.cluster.gpu} is not known.")
    if settings.volume is None:
        found.append(
            "Every pod downloads the weights when it starts, within --startup-timeout; --volume "
            "keeps them."
        )
    elif not task.plan.model.path and machines_of(task) * task.plan.parallelism.replicas > 1:
        found.append("Every pod writes to the volume: a claim must be ReadWriteMany.")
    return found


def _secret_note(task: Task, settings: Settings) -> str:
    keys = [f"{INNER} (any text on one line, between front and replicas)"]
    if front.is_keyed(task.order):
        keys.append(f"{CLIENTS} (keys of clients, one per line)")
    if task.plan.model.path is None:
        keys.append(f"{HUB_TOKEN} (a token of the hub, if the model needs one)")
    name = whole_name(settings.name, "keys")
    return f"launch creates the Secret {name}; who applies this without it: {', '.join(keys)}."
