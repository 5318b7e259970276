"""Autoscalers in Kubernetes: what they are told of the plan's day, and what a cluster takes."""

import re
from typing import Any

import pytest
import yaml

from tests.launcher.orchestrators.cluster import Cluster
from tests.launcher.orchestrators.schemas import check
from tests.planner.days import day, planned
from tpdeploy.backends.registry import load_backend
from tpdeploy.planner.plan import DeploymentPlan

Json = dict[str, Any]
PROMETHEUS = ("--prometheus", "http://prometheus.monitoring.svc:9090")
KEDA = ("--autoscale", "keda", *PROMETHEUS)


def for_a_day(plan: DeploymentPlan) -> DeploymentPlan:
    """From one to two replicas of eight requests/s, at which each has 57 in flight."""
    return plan.changed(daily=planned(day(2.0, 9.0, headroom=0.2), 8.0, plan.parallelism))


@pytest.fixture
def daily(cluster: Cluster, one_machine_each: DeploymentPlan) -> Cluster:
    """A cluster, and a plan for a day."""
    cluster.plan(for_a_day(one_machine_each))
    return cluster


def rendered(cluster: Cluster, *args: str) -> list[Json]:
    done = cluster.launch("--dry-run", *args)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def only(objects: list[Json], kind: str) -> Json:
    (found,) = [o for o in objects if o["kind"] == kind]
    return found


def test_keda_scales_by_the_rate_and_by_requests_in_flight(daily: Cluster) -> None:
    """By the engine's own names; where Prometheus tells nothing, nothing changes."""
    objects = rendered(daily, *KEDA, "--namespace", "serving")
    scaler = only(objects, "ScaledObject")
    check(scaler)
    spec, (rate, flight) = scaler["spec"], scaler["spec"]["triggers"]
    assert spec["scaleTargetRef"]["name"] == "tpdeploy-default-replica"
    assert spec["scaleTargetRef"]["kind"] == "Deployment"
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 2)
    assert (rate["metadata"]["threshold"], flight["metadata"]["threshold"]) == ("6.67", "57.2")
    assert rate["metadata"]["ignoreNullValues"] == "false"
    names = load_backend("vllm").metrics
    assert names
    where = '{pod=~"tpdeploy-default-replica-.*",namespace="serving"}'
    ended = f"{names.histograms['e2e']}_count{where}"
    assert rate["metadata"]["query"] == f"sum(rate({ended}[2m]))"
    assert flight["metadata"]["query"] == " + ".join(
        f"sum(avg_over_time({names.values[each]}{where}[1m]))" for each in ("running", "waiting")
    )


def test_a_prefix_that_some_releases_have_may_be_there(daily: Cluster) -> None:
    """TensorRT-LLM's."""
    query = only(rendered(daily, *KEDA, "--backend", "tensorrt-llm"), "ScaledObject")
    told = query["spec"]["triggers"][1]["metadata"]["query"]
    running, waiting = re.findall(r'__name__=~"([^"]*)"', told)
    for prefix in ("", "trtllm_"):
        assert re.fullmatch(running, f"{prefix}num_requests_running")
        assert re.fullmatch(waiting, f"{prefix}num_requests_waiting")


def test_the_autoscaler_of_kubernetes_asks_for_external_metrics(daily: Cluster) -> None:
    """Stderr says how to make them."""
    done = daily.launch("--dry-run", "--autoscale", "hpa", *PROMETHEUS)
    scaler = only(list(yaml.safe_load_all(done.stdout)), "HorizontalPodAutoscaler")
    check(scaler)
    for metric, threshold in zip(scaler["spec"]["metrics"], ("6.67", "57.2"), strict=True):
        target = {"type": "AverageValue", "averageValue": threshold}
        assert metric["external"]["target"] == target
        name = metric["external"]["metric"]["name"]
        assert f"the external metric {name} as sum(" in " ".join(done.stderr.split())


def test_prometheus_reaches_replicas_of_a_scaled_deployment_alone(daily: Cluster) -> None:
    """By the namespace of its Service."""
    plain = only(rendered(daily), "NetworkPolicy")
    policy = only(rendered(daily, *KEDA), "NetworkPolicy")
    check(policy)
    (added,) = [r for r in policy["spec"]["ingress"] if r not in plain["spec"]["ingress"]]
    (source,) = added["from"]
    assert source["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "monitoring"
    }


def test_groups_of_machines_are_scaled_whole(
    cluster: Cluster, two_machines: DeploymentPlan
) -> None:
    """A LeaderWorkerSet has replicas as a Deployment has."""
    cluster.plan(for_a_day(two_machines))
    scaler = only(rendered(cluster, *KEDA), "ScaledObject")
    check(scaler)
    assert scaler["spec"]["scaleTargetRef"]["kind"] == "LeaderWorkerSet"


@pytest.mark.slow
def test_what_is_launched_is_deleted(daily: Cluster) -> None:
    """The autoscaler too, of either kind."""
    done = daily.launch("--detach", *KEDA)
    assert done.returncode == 0, done.stderr
    assert "ScaledObject" in {o["kind"] for o in daily.objects()}
    assert daily.run("stop").returncode == 0
    assert daily.objects() == []
    assert "delete horizontalpodautoscalers" in daily.commands()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--autoscale", "keda"), "say where Prometheus answers, as --prometheus http"),
        (("--autoscale", "kedda", *PROMETHEUS), "--autoscale kedda: did you mean keda?"),
        (PROMETHEUS, "--prometheus: is for --autoscale"),
        (("--autoscale", "keda", "--prometheus", "prom:9090"), "give a Service with its namespace"),
        ((*KEDA, "--format", "kserve"), "--autoscale: not with --format kserve"),
        ((*KEDA, "--backend", "deepspeed-mii"), "deepspeed-mii does not tell its requests"),
    ],
)
def test_what_cannot_be_scaled_is_refused(daily: Cluster, args: tuple[str, ...], said: str) -> None:
    """In a line, with what works."""
    done = daily.launch("--dry-run", "--container", "image", *args)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_plan_for_no_day_is_refused(cluster: Cluster) -> None:
    """Nothing tells how many replicas."""
    done = cluster.launch("--dry-run", *KEDA)
    assert done.returncode == 2
    assert "the plan is not for a day; plan with --daily FILE" in done.stderr


@pytest.mark.slow
def test_a_cluster_without_keda_is_told(daily: Cluster) -> None:
    """Before anything is made."""
    daily.set("no-keda")
    done = daily.launch("--detach", *KEDA)
    assert done.returncode == 2
    assert "the cluster has no ScaledObject (keda.sh/v1alpha1), which --autoscale" in done.stderr
    assert daily.objects() == []


def test_others_do_not_scale(daily: Cluster) -> None:
    """Processes of one machine have nothing that would."""
    done = daily.run("launch", "--dry-run", "--autoscale", "keda")
    assert done.returncode == 2
    assert "--autoscale is for --on kubernetes or --on ray" in done.stderr
