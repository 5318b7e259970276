"""Autoscalers: a ScaledObject of KEDA, or a HorizontalPodAutoscaler with prometheus-adapter."""

from collections.abc import Iterator
from typing import Any

from tpdeploy.errors import InputError
from tpdeploy.launcher.orchestrators.base import Task
from tpdeploy.launcher.orchestrators.kubernetes.objects import REPLICA, metadata, whole_name
from tpdeploy.launcher.orchestrators.kubernetes.pods import INNER, machines_of
from tpdeploy.launcher.orchestrators.kubernetes.settings import AUTOSCALERS, Settings
from tpdeploy.launcher.orchestrators.scaling import Scaling, scaling_of

Json = dict[str, Any]

KEDA = "keda.sh"
NEEDED = {"running", "waiting", "e2e"}


def check(task: Task, settings: Settings) -> None:
    """Return if the plan and its engine tell what an autoscaler needs.

    Raises:
        InputError: they do not.
    """
    if scaling_of(task, AUTOSCALERS) and settings.format != "plain":
        raise InputError(f"--autoscale: not with --format {settings.format}; leave one out")
    if settings.autoscale:
        queries(task, settings)


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
        for name, query in queries(task, settings).items():
            yield (
                "prometheus-adapter has to give the external metric "
                f"{_metric(settings, name)} as {query}"
            )


def queries(task: Task, settings: Settings) -> dict[str, str]:
    """Of all replicas together, as PromQL: requests/s, and requests in flight.

    The rate alone tells how many replicas are needed for requests as planned; more of them make it
    no lower. Requests in flight tell that they are longer, or that what runs is overloaded.

    Raises:
        InputError: the engine does not show them.
    """
    names = task.backend.metrics
    if names is None or NEEDED - names.values.keys() - names.histograms.keys():
        raise InputError(f"--autoscale: {task.backend.name} does not tell its requests")
    pods = f'pod=~"{whole_name(settings.name, REPLICA)}-.*"'
    where = f'{pods},namespace="{settings.namespace}"' if settings.namespace else pods

    def named(name: str) -> str:
        # Some releases put the prefix before its name, and others do not.
        if not names.prefix:
            return f"{name}{{{where}}}"
        return f'{{__name__=~"({names.prefix})?{name}",{where}}}'

    running, waiting = (named(names.values[each]) for each in ("running", "waiting"))
    ended = named(f"{names.histograms['e2e']}_count")
    return {
        "requests_per_second": f"sum(rate({ended}[2m]))",
        "requests_in_flight": f"sum(avg_over_time({running}[1m])) + "
        f"sum(avg_over_time({waiting}[1m]))",
    }


def _thresholds(scaling: Scaling) -> dict[str, str]:
    """Of each replica, by the names of the queries."""
    return {
        "requests_per_second": f"{scaling.requests_per_s:g}",
        "requests_in_flight": f"{scaling.most_in_flight:g}",
    }


def _metric(settings: Settings, query: str) -> str:
    return whole_name(settings.name, query).replace("-", "_")


def _target(task: Task, settings: Settings) -> Json:
    """What is scaled: both kinds have the subresource scale."""
    version, kind = "apps/v1", "Deployment"
    if machines_of(task) > 1:
        version, kind = "leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"
    return {"apiVersion": version, "kind": kind, "name": whole_name(settings.name, REPLICA)}


def _behavior(scaling: Scaling) -> Json:
    return {"scaleDown": {"stabilizationWindowSeconds": scaling.held_s}}


def _keda(task: Task, settings: Settings, scaling: Scaling) -> Json:
    """The trigger that asks for the most replicas decides."""
    triggers = [
        _trigger(settings, query, _thresholds(scaling)[name])
        for name, query in queries(task, settings).items()
    ]
    return {
        "apiVersion": f"{KEDA}/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(settings, REPLICA, REPLICA),
        "spec": {
            "scaleTargetRef": _target(task, settings),
            "minReplicaCount": scaling.least,
            "maxReplicaCount": scaling.most,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior(scaling)}},
            "triggers": triggers,
        },
    }


def _trigger(settings: Settings, query: str, threshold: str) -> Json:
    """Where Prometheus tells nothing, replicas stay as they are (`ignoreNullValues`)."""
    asked = {
        "serverAddress": settings.prometheus,
        "query": query,
        "threshold": threshold,
        "ignoreNullValues": "false",
    }
    return {"type": "prometheus", "metricType": "AverageValue", "metadata": asked}


def _hpa(task: Task, settings: Settings, scaling: Scaling) -> Json:
    """The metric that asks for the most replicas decides."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(settings, REPLICA, REPLICA),
        "spec": {
            "scaleTargetRef": _target(task, settings),
            "minReplicas": scaling.least,
            "maxReplicas": scaling.most,
            "metrics": [
                _external(_metric(settings, name), threshold)
                for name, threshold in _thresholds(scaling).items()
            ],
            "behavior": _behavior(scaling),
        },
    }


def _external(name: str, threshold: str) -> Json:
    target = {"type": "AverageValue", "averageValue": threshold}
    return {"type": "External", "external": {"metric": {"name": name}, "target": target}}
