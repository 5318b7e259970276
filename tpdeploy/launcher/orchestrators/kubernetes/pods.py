"""Pods of replicas: the engine's container, what it needs of its node, and how it is watched."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tpdeploy.backends.base import Command, Site
from tpdeploy.errors import InputError
from tpdeploy.launcher.commands import parts_of
from tpdeploy.launcher.orchestrators.base import Task
from tpdeploy.launcher.orchestrators.kubernetes import probe
from tpdeploy.launcher.orchestrators.kubernetes.compute_domain import with_channel
from tpdeploy.launcher.orchestrators.kubernetes.objects import (
    ENGINE_PORT,
    REPLICA,
    checksum,
    labels,
    whole_name,
)
from tpdeploy.launcher.orchestrators.kubernetes.settings import Settings
from tpdeploy.launcher.orchestrators.kubernetes.words import late, written
from tpdeploy.launcher.runtimes.base import Parts
from tpdeploy.profiles.devices.catalog import find_accelerator
from tpdeploy.profiles.devices.labels import LABELS, RESOURCES, product_labels

Json = dict[str, Any]

FOLDER, PROBE, HUB = "/tpdeploy", "probe.py", "/hub"
MEETING_PORT = 29500
POD_IP, LEADER, RANK = late("POD_IP"), late("LWS_LEADER_ADDRESS"), late("LWS_WORKER_INDEX")
# What the Secret of a deployment holds: between front and replicas, of the hub, of clients.
INNER, HUB_TOKEN, CLIENTS = "inner", "hub", "clients"
# A judgement: the API server, the engine's loop, and a process for each device, on a core each.
CORES, CORES_A_DEVICE = 2, 1
# Likewise: libraries and buffers of a process; shared memory counts only as far as it is used.
HOST_GIB, HOST_GIB_A_DEVICE, SHARED_GIB_A_DEVICE = 8, 8, 2
READY_EVERY_S, STARTED_EVERY_S = 5, 10
# One look for a sign of life, which is given up a little before the kubelet does.
LIVE_EVERY_S, TOKEN_TIMEOUT_S = 30, 15
# Before an engine is asked to end, so that nobody sends it requests any more.
LEAVE_S, GRACE_S = 10, 20


def machines_of(task: Task) -> int:
    """How many machines a replica takes."""
    return len(task.plan.placement[0].machines)


def image_of(task: Task) -> str:
    """The engine's image: the user's, else a public one of the adapter's release.

    Raises:
        InputError: there is neither.
    """
    platform = task.plan.cluster.platform
    image = task.order.container or task.backend.images.get(platform)
    if image is None:
        raise InputError(
            f"no public image with {task.backend.name} for {platform} is known; "
            "name one: --container IMAGE"
        )
    return image


def parts_for(task: Task) -> Parts:
    """What leader and workers of a replica run."""

    def site(rank: str) -> Site:
        ports = range(MEETING_PORT, MEETING_PORT + task.backend.spare_ports)
        return Site(
            host="0.0.0.0",  # noqa: S104 - the network policy says who reaches it
            port=str(ENGINE_PORT),
            folder=Path(FOLDER),
            spare_ports=tuple(map(str, ports)),
            cpus=("nobind",),
            address=POD_IP,
            head=LEADER,
            rank=rank,
        )

    place = task.plan.placement[0]
    parts = [parts_of(task.plan, place, task.backend, task.order, site(r)) for r in ("0", RANK)]
    return Parts(parts[0].leader, parts[1].worker)


def files_of(parts: Parts) -> dict[str, str]:
    """What is mounted into every pod of a replica."""
    own = Path(probe.__file__).read_text(encoding="utf-8")
    return {**parts.leader.files, PROBE: own}


def pod(task: Task, settings: Settings, parts: Parts, *, worker: bool = False) -> Json:
    """The template of a pod: of a replica or its leader, or of the other machines of one."""
    command = parts.worker if worker and parts.worker else parts.leader
    files = files_of(parts)
    container = _container(task, settings, command, files, serves=not worker)
    spec: Json = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": LEAVE_S + round(task.backend.stop_grace_s) + GRACE_S,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        **nodes(task),
        "containers": [container],
        "volumes": _volumes(task, settings),
    }
    found = {"labels": labels(settings.name, REPLICA), "annotations": checksum(files)}
    return {"metadata": found, "spec": with_channel(task, settings, spec)}


def nodes(task: Task) -> Json:
    """On which nodes it may be: with the plan's device, if its product label is known."""
    platform = task.plan.cluster.platform
    resource = RESOURCES.get(platform)
    if resource is None:
        return {}
    tolerated = {"tolerations": [{"key": resource, "operator": "Exists", "effect": "NoSchedule"}]}
    values = values_of(task)
    if len(values) == 1:
        return {"nodeSelector": {LABELS[platform]: values[0]}, **tolerated}
    if not values:
        return tolerated
    wanted = {"key": LABELS[platform], "operator": "In", "values": list(values)}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [wanted]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    return {"affinity": affinity, **tolerated}


def values_of(task: Task) -> tuple[str, ...]:
    """The product labels of nodes with the plan's device; none if a node has several kinds."""
    if task.plan.cluster.kinds:
        return ()
    try:
        return product_labels(find_accelerator(task.plan.cluster.gpu))
    except InputError:
        return ()


def resources(task: Task) -> Json:
    """What a pod asks of its node."""
    place = task.plan.placement[0]
    here = len(place.devices) // len(place.machines)
    if resource := RESOURCES.get(task.plan.cluster.platform):
        asked = {
            "cpu": str(CORES + CORES_A_DEVICE * here),
            "memory": f"{HOST_GIB + HOST_GIB_A_DEVICE * here}Gi",
        }
        return {"requests": {**asked, resource: str(here)}, "limits": {resource: str(here)}}
    return {"requests": {"cpu": str(_cores(place.cpus) or here)}}


def _cores(cpus: tuple[str, ...]) -> int:
    return sum(len(each.split(",")) for each in cpus)


def _container(
    task: Task, settings: Settings, command: Command, files: Mapping[str, str], *, serves: bool
) -> Json:
    program, *arguments = map(written, command.argv)
    found: Json = {
        "name": "engine",
        "image": image_of(task),
        "command": [program],
        "args": arguments,
        "env": _variables(task, settings, command, serves=serves),
        "resources": resources(task),
        # Images of engines are made for root, who may write to volumes of others only by that.
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["DAC_OVERRIDE"]},
        },
        "volumeMounts": [*_mounts(task, settings), *_files(files)],
    }
    return {**found, **_serving(task)} if serves else found


def _variables(task: Task, settings: Settings, command: Command, *, serves: bool) -> list[Json]:
    """Its own address first: later ones may name it."""
    secret = whole_name(settings.name, "keys")

    def of_secret(name: str, key: str, *, optional: bool) -> Json:
        source: Json = {"name": secret, "key": key}
        if optional:
            source["optional"] = True
        return {"name": name, "valueFrom": {"secretKeyRef": source}}

    found: list[Json] = [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    ]
    found += [{"name": name, "value": written(value)} for name, value in command.env.items()]
    if serves and task.backend.api_key_variable:
        found.append(of_secret(task.backend.api_key_variable, INNER, optional=False))
    if task.plan.model.path is None:
        found.append({"name": "HF_HOME", "value": HUB})
        found.append(of_secret("HF_TOKEN", HUB_TOKEN, optional=True))
    return found


def _serving(task: Task) -> Json:
    """What only the part has that serves clients."""
    health = {"httpGet": {"path": task.backend.health_path, "port": "http"}}
    times = round(task.order.startup_timeout_s / STARTED_EVERY_S)
    return {
        "ports": [{"name": "http", "containerPort": ENGINE_PORT}],
        "startupProbe": {
            **health,
            "periodSeconds": STARTED_EVERY_S,
            "timeoutSeconds": STARTED_EVERY_S // 2,
            "failureThreshold": max(1, times),
        },
        "readinessProbe": {
            **health,
            "periodSeconds": READY_EVERY_S,
            "timeoutSeconds": READY_EVERY_S,
            "failureThreshold": 2,
        },
        "livenessProbe": {
            "exec": {"command": probe_command(task)},
            "periodSeconds": LIVE_EVERY_S,
            "timeoutSeconds": LIVE_EVERY_S,
            "failureThreshold": max(1, int(task.order.hang_timeout_s // LIVE_EVERY_S)),
        },
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(LEAVE_S)]}}},
    }


def probe_command(task: Task) -> list[str]:
    """What shows that an engine generates: exec does not replace variables, nor needs it to."""
    names = task.backend.metrics
    counter = names.values.get("generated_tokens", "") if names else ""
    counters = {counter, f"{names.prefix}{counter}"} if names and counter else set()
    return [
        *("python3", f"{FOLDER}/{PROBE}", str(ENGINE_PORT), task.plan.model.id),
        *(str(TOKEN_TIMEOUT_S), task.backend.api_key_variable or ""),
        *(names.path if names and counters else "", ",".join(sorted(counters))),
    ]


def noticed_within_s(task: Task) -> int:
    """Seconds after which the kubelet knows that an engine generates no longer."""
    return LIVE_EVERY_S * (1 + max(1, int(task.order.hang_timeout_s // LIVE_EVERY_S)))


def _volumes(task: Task, settings: Settings) -> list[Json]:
    place = task.plan.placement[0]
    here = len(place.devices) // len(place.machines)
    shared = {"medium": "Memory", "sizeLimit": f"{SHARED_GIB_A_DEVICE * here}Gi"}
    return [
        {"name": "work", "emptyDir": {}},
        {"name": "files", "configMap": {"name": whole_name(settings.name, REPLICA)}},
        {"name": "shm", "emptyDir": shared},
        {"name": "weights", **weights(settings)},
    ]


def weights(settings: Settings) -> Json:
    """The source of the volume with the weights; without one they are downloaded by every pod."""
    volume = settings.volume
    if volume is None:
        return {"emptyDir": {}}
    if volume.claim:
        return {"persistentVolumeClaim": {"claimName": volume.claim}}
    return {"hostPath": {"path": volume.folder, "type": "Directory"}}


def _mounts(task: Task, settings: Settings) -> list[Json]:
    folder: Json = {"name": "weights", "mountPath": task.plan.model.path or HUB}
    if settings.volume and settings.volume.claim and settings.volume.folder:
        folder["subPath"] = settings.volume.folder
    if task.plan.model.path:
        folder["readOnly"] = True
    return [
        {"name": "work", "mountPath": FOLDER},
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - there processes share memory
        folder,
    ]


def _files(files: Mapping[str, str]) -> list[Json]:
    """Each by itself: engines write beside them."""
    return [
        {"name": "files", "mountPath": f"{FOLDER}/{name}", "subPath": name, "readOnly": True}
        for name in files
    ]
