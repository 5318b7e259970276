"""The front of a deployment in its cluster: Caddy from its public image, before all replicas."""

import json
from pathlib import Path
from typing import Any

from tpdeploy.launcher import front
from tpdeploy.launcher.access import INNER_KEY
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.orchestrators.base import Task
from tpdeploy.launcher.orchestrators.kubernetes.objects import (
    ENGINE_PORT,
    FRONT,
    FRONT_PORT,
    checksum,
    labels,
    match,
    metadata,
    whole_name,
)
from tpdeploy.launcher.orchestrators.kubernetes.pods import CLIENTS, INNER
from tpdeploy.launcher.orchestrators.kubernetes.settings import Settings
from tpdeploy.launcher.runtimes.ports import LOOPBACK

Json = dict[str, Any]

# The release that the tests of the front run with.
IMAGE = "caddy:2.11.7-alpine"
CONFIG, KEYS, DATA = Path("/config"), Path("/keys"), Path("/data")
PROBE_PORT = 8081
USER = 65534  # nobody, of every Linux
# One may be moved while the other serves.
PODS = 2
LEAVE_S, GRACE_S = 10, 60
EVERYWHERE = ""


def is_open(order: Order) -> bool:
    """Whether clients in the cluster reach it: with a key, or because the user insists."""
    return is_keyed(order) or order.insecure


def is_keyed(order: Order) -> bool:
    """Whether it asks clients for a key."""
    return order.keyed or order.key_file is not None


def config(task: Task, settings: Settings) -> dict[str, str]:
    """The files of the front: Caddy's configuration.

    Whether it is there the kubelet asks on a port of its own, where nobody needs a key.
    """
    asked = front.Front(
        host=EVERYWHERE if is_open(task.order) else LOOPBACK,
        port=FRONT_PORT,
        replicas=(),
        health_path=task.backend.health_path,
        keyed=False,
        key_file=KEYS / CLIENTS if is_keyed(task.order) else None,
        service=f"{whole_name(settings.name, 'replicas')}:{ENGINE_PORT}",
        router=task.plan.router,
    )
    found = front.config(asked, DATA)
    alive = {"handle": [{"handler": "static_response", "status_code": 200}]}
    found["apps"]["http"]["servers"]["probe"] = {
        "listen": [f":{PROBE_PORT}"],
        "protocols": ["h1"],
        "automatic_https": {"disable": True},
        "routes": [alive],
    }
    return {front.CONFIG: json.dumps(found, indent=1)}


def deployment(task: Task, settings: Settings) -> Json:
    """Its pods."""
    template: Json = {
        "metadata": {
            "labels": labels(settings.name, FRONT),
            "annotations": checksum(config(task, settings)),
        },
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": LEAVE_S + GRACE_S,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "topologySpreadConstraints": [_spread(settings)],
            "containers": [_container(task, settings)],
            "volumes": _volumes(task, settings),
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(settings, FRONT, FRONT),
        "spec": {
            "replicas": PODS,
            "selector": {"matchLabels": match(settings.name, FRONT)},
            "template": template,
        },
    }


def _spread(settings: Settings) -> Json:
    """On nodes of their own, if there are several."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": match(settings.name, FRONT)},
    }


def _container(task: Task, settings: Settings) -> Json:
    secret = {"name": whole_name(settings.name, "keys"), "key": INNER}
    alive = {"httpGet": {"path": "/", "port": "probe"}, "periodSeconds": 5}
    return {
        "name": "front",
        "image": IMAGE,
        "command": ["caddy"],
        "args": ["run", "--config", str(CONFIG / front.CONFIG)],
        "env": [
            {"name": "XDG_CONFIG_HOME", "value": str(DATA)},
            {"name": "XDG_DATA_HOME", "value": str(DATA)},
            {"name": INNER_KEY, "valueFrom": {"secretKeyRef": secret}},
        ],
        "ports": [
            {"name": "http", "containerPort": FRONT_PORT},
            {"name": "probe", "containerPort": PROBE_PORT},
        ],
        "readinessProbe": alive,
        "livenessProbe": {**alive, "failureThreshold": 6},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(LEAVE_S)]}}},
        "resources": {"requests": {"cpu": "250m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            # The image's program cannot be started without the right to have it, though it is not
            # used (caddyserver/caddy-docker issue 396).
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        },
        "volumeMounts": _mounts(task),
    }


def _mounts(task: Task) -> list[Json]:
    found: list[Json] = [
        {"name": "config", "mountPath": str(CONFIG), "readOnly": True},
        {"name": "data", "mountPath": str(DATA)},
    ]
    if is_keyed(task.order):
        found.append({"name": "keys", "mountPath": str(KEYS), "readOnly": True})
    return found


def _volumes(task: Task, settings: Settings) -> list[Json]:
    """Keys of clients are a file, which the front reads for each request: they can be changed."""
    found: list[Json] = [
        {"name": "config", "configMap": {"name": whole_name(settings.name, FRONT)}},
        {"name": "data", "emptyDir": {}},
    ]
    if is_keyed(task.order):
        keys = [{"key": CLIENTS, "path": CLIENTS}]
        secret = {"secretName": whole_name(settings.name, "keys"), "defaultMode": 0o440}
        found.append({"name": "keys", "secret": {**secret, "items": keys}})
    return found
