"""Autoscalers: a ScaledObject of KEDA, or a HorizontalPodAutoscaler with prometheus-adapter."""

from collections.abc import Iterator
from typing import Any

from tpdeploy.backends.metrics import MetricNames
from tpdeploy.errors import InputError
from tpdeploy.launcher.orchestrators.base import Task
from tpdeploy.launcher.orchestrators.kubernetes.objects import REPLICA, metadata, whole_name
from tpdeploy.launcher.orchestrators.kubernetes.pods import INNER, machines_of
from tpdeploy.launcher.orchestrators.kubernetes.settings import AUTOSCALERS, Settings
from tpdeploy.launcher.orchestrators.scaling import Scaling, scaling_of

Json = dict[str, Any]

KEDA = "keda.sh"


def check(task: Task, settings: Settings) -> None:
    """Return if the plan and its engine tell what an autoscaler needs.

    Raises:
        InputError: they do not.
    """
    if scaling_of(task, AUTOSCALERS) and settings.format != "plain":
        raise InputError(f"--autoscale: not with --format {settings.format}; leave one out")
    if settings.autoscale:
        query(task, settings)


def scalers(task: Task, settings: Settings) -> list[Json]:
    """The autoscaler of the replicas; none where none was asked for."""
    scaling = scaling_of(task, AUTOSCALERS)
    if scaling is None:
        return []
    return [(_keda if scaling.by == "keda" else _hpa)(task, settings, scaling)]


def notes(task: Task, settings: Settings) -> Iterator[str]:
    """What it does, and what it needs of the cluster."""
    scaling = scaling_of(task, AUTOSCALERS)
    if scaling is None or task.backend.metrics is None:
        return
    yield scaling.words
    yield (
        f"Prometheus has to read {task.backend.metrics.path} of the replicas (port http), with "
        f"{INNER} of the Secret {whole_name(settings.name, 'keys')} as bearer token."
    )
    if scaling.by == "keda":
        yield f"The cluster needs KEDA ({KEDA}/v1alpha1)."
    else:
        yield (
            f"prometheus-adapter has to give the external metric {_metric(settings)} as "
            f"{query(task, settings)}"
        )


def query(task: Task, settings: Settings) -> str:
    """Requests in all replicas, running and waiting, as PromQL: the mean of a minute.

    Raises:
        InputError: the engine does not show them.
    """
    names = task.backend.metrics
    if names is None or not {"running", "waiting"} <= names.values.keys():
        raise InputError(f"--autoscale: {task.backend.name} does not tell its requests in flight")
    pods = f'pod=~"{whole_name(settings.name, REPLICA)}-.*"'
    where = f'{pods},namespace="{settings.namespace}"' if settings.namespace else pods
    found = [_named(names, each, where) for each in ("running", "waiting")]
    return " + ".join(f"sum(avg_over_time({each}[1m]))" for each in found)


def _named(names: MetricNames, which: str, where: str) -> str:
    """A metric; some releases put the prefix before its name, and others do not."""
    name = names.values[which]
    if not names.prefix:
        return f"{name}{{{where}}}"
    return f'{{__name__=~"({names.prefix})?{name}",{where}}}'


def _metric(settings: Settings) -> str:
    return whole_name(settings.name, "in", "flight").replace("-", "_")


def _target(task: Task, settings: Settings) -> Json:
    """What is scaled: both kinds have the subresource scale."""
    groups = machines_of(task) > 1
    kind = (
        ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet") if groups else ("apps/v1", "Deployment")
    )
    version, name = kind
    return {"apiVersion": version, "kind": name, "name": whole_name(settings.name, REPLICA)}


def _behavior(scaling: Scaling) -> Json:
    return {"scaleDown": {"stabilizationWindowSeconds": scaling.held_s}}


def _keda(task: Task, settings: Settings, scaling: Scaling) -> Json:
    """Where Prometheus does not answer, replicas stay as they are (`ignoreNullValues`)."""
    trigger = {
        "serverAddress": settings.prometheus,
        "query": query(task, settings),
        "threshold": f"{scaling.in_flight:g}",
        "ignoreNullValues": "false",
    }
    return {
        "apiVersion": f"{KEDA}/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(settings, REPLICA, REPLICA),
        "spec": {
            "scaleTargetRef": _target(task, settings),
            "minReplicaCount": scaling.least,
            "maxReplicaCount": scaling.most,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior(scaling)}},
            "triggers": [{"type": "prometheus", "metricType": "AverageValue", "metadata": trigger}],
        },
    }


def _hpa(task: Task, settings: Settings, scaling: Scaling) -> Json:
    in_flight = {"type": "AverageValue", "averageValue": f"{scaling.in_flight:g}"}
    external = {"metric": {"name": _metric(settings)}, "target": in_flight}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(settings, REPLICA, REPLICA),
        "spec": {
            "scaleTargetRef": _target(task, settings),
            "minReplicas": scaling.least,
            "maxReplicas": scaling.most,
            "metrics": [{"type": "External", "external": external}],
            "behavior": _behavior(scaling),
        },
    }
