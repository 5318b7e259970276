"""What objects of Kubernetes have in common, and those that hold no pods."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tpdeploy.launcher.orchestrators.kubernetes.settings import Settings

Json = dict[str, Any]

OWNER = "tpdeploy"
REPLICA, FRONT = "replica", "front"
NAME, INSTANCE = "app.kubernetes.io/name", "app.kubernetes.io/instance"
COMPONENT, MANAGER = "app.kubernetes.io/component", "app.kubernetes.io/managed-by"
# LeaderWorkerSet writes these on its pods.
GROUP = "leaderworkerset.sigs.k8s.io/group-index"
RANK = "leaderworkerset.sigs.k8s.io/worker-index"
CHECKSUM = "tpdeploy/config"
ENGINE_PORT, FRONT_PORT = 8000, 8080


def whole_name(name: str, *parts: str) -> str:
    """What an object of the deployment `name` is called."""
    return "-".join((OWNER, name, *parts))


def selector(name: str) -> Mapping[str, str]:
    """The labels by which everything of a deployment is found, and nothing else."""
    return {INSTANCE: name, MANAGER: OWNER}


def labels(name: str, component: str) -> dict[str, str]:
    """Those of an object or a pod."""
    return {NAME: OWNER, INSTANCE: name, COMPONENT: component, MANAGER: OWNER}


def match(name: str, component: str) -> dict[str, str]:
    """The labels of the pods of a component, which never change."""
    return {INSTANCE: name, COMPONENT: component}


def metadata(settings: Settings, component: str, *parts: str) -> Json:
    """The metadata of an object; without a stated namespace kubectl's own takes it."""
    found: Json = {"name": whole_name(settings.name, *parts)}
    if settings.namespace:
        found["namespace"] = settings.namespace
    return {**found, "labels": labels(settings.name, component)}


def config_map(settings: Settings, component: str, files: Mapping[str, str]) -> Json:
    """Files that are mounted into the pods of a component."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(settings, component, component),
        "data": dict(files),
    }


def checksum(files: Mapping[str, str]) -> dict[str, str]:
    """An annotation of pods that changes with their files: then they are started anew."""
    text = json.dumps(dict(files), sort_keys=True)
    return {CHECKSUM: hashlib.sha256(text.encode()).hexdigest()[:16]}


def replicas_service(settings: Settings, *, groups: bool) -> Json:
    """A name that has the address of every replica that is ready; of a group that of its leader."""
    chosen = match(settings.name, REPLICA)
    if groups:
        chosen[RANK] = "0"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(settings, REPLICA, "replicas"),
        "spec": {
            "clusterIP": "None",
            "selector": chosen,
            "ports": [{"name": "http", "port": ENGINE_PORT, "targetPort": "http"}],
        },
    }


def front_service(settings: Settings, port: int) -> Json:
    """Where clients in the cluster find the deployment."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(settings, FRONT),
        "spec": {
            "selector": match(settings.name, FRONT),
            "ports": [{"name": "http", "port": port, "targetPort": "http"}],
        },
    }


def replicas_policy(settings: Settings, *, groups: bool) -> Json:
    """The front alone reaches replicas, Prometheus if it scales them, and ranks one another."""

    def pods(component: str) -> list[Json]:
        return [{"podSelector": {"matchLabels": match(settings.name, component)}}]

    ingress: list[Json] = [
        {"from": pods(FRONT), "ports": [{"protocol": "TCP", "port": ENGINE_PORT}]}
    ]
    if namespace := settings.prometheus_namespace:
        there = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
        ingress.append({"from": [there], "ports": [{"protocol": "TCP", "port": ENGINE_PORT}]})
    if groups:
        ingress.append({"from": pods(REPLICA)})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(settings, REPLICA, "replicas"),
        "spec": {
            "podSelector": {"matchLabels": match(settings.name, REPLICA)},
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    }


def disruption_budget(settings: Settings, component: str) -> Json:
    """Of the pods of a component one at a time may be moved, as when nodes are emptied."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(settings, component, component),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": match(settings.name, component)},
        },
    }
