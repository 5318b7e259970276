"""Clusters that do not take a deployment say why in one line, and nothing of it is left."""

import json

import pytest

from tests.launcher.orchestrators.cluster import Cluster
from tpdeploy.planner.plan import DeploymentPlan


def refused(cluster: Cluster, *args: str, code: int = 2, **env: str) -> str:
    done = cluster.launch("--detach", *args, **env)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert cluster.objects() == []
    assert not list(cluster.home.glob("deployments/*/state.yaml"))
    return done.stderr


def test_without_kubectl(cluster: Cluster) -> None:
    """It is named."""
    words = "--on kubernetes needs kubectl, which is not installed"
    assert words in refused(cluster, PATH=str(cluster.home))


def test_a_cluster_out_of_reach(cluster: Cluster) -> None:
    """With its context and the reason."""
    cluster.set("unreachable")
    said = refused(cluster, "--on", "kubernetes:staging")
    assert "the cluster of context staging cannot be reached" in said
    assert "i/o timeout" in said


def test_a_context_that_is_unknown(cluster: Cluster) -> None:
    """The known ones are offered."""
    said = refused(cluster, "--on", "kubernetes:stagin")
    assert "--on kubernetes:stagin: kubectl knows the contexts production, staging" in said


def test_a_user_without_the_right(cluster: Cluster) -> None:
    """In the cluster's own words."""
    cluster.set("forbidden")
    said = refused(cluster)
    assert "the cluster forbids it" in said
    assert 'User "ann" cannot list resource' in said


@pytest.mark.slow
def test_a_namespace_that_is_not_there(cluster: Cluster) -> None:
    """It is not made: that is an administrator's."""
    said = refused(cluster, "--namespace", "missing")
    assert 'namespaces "missing" not found; create it, or name another: --namespace' in said


@pytest.mark.slow
def test_groups_without_leader_worker_set(cluster: Cluster, two_machines: DeploymentPlan) -> None:
    """The kind that is missing is named; plans with a machine for each replica need it not."""
    cluster.set("no-lws")
    cluster.plan(two_machines)
    assert "the cluster has no LeaderWorkerSet" in refused(cluster)


@pytest.mark.slow
def test_trays_without_compute_domains(cluster: Cluster, two_trays: DeploymentPlan) -> None:
    """What brings them is named."""
    cluster.set("no-dra")
    cluster.plan(two_trays)
    said = refused(cluster)
    assert "the cluster has no ComputeDomain (resource.nvidia.com/v1beta1)" in said
    assert "NVIDIA's DRA driver for GPUs brings it" in said


def test_a_name_that_is_taken(cluster: Cluster) -> None:
    """Also by somebody else's deployment."""
    label = {"app.kubernetes.io/instance": "default", "app.kubernetes.io/managed-by": "tpdeploy"}
    meta = {"name": "tpdeploy-default-replica", "namespace": "serving", "labels": label}
    cluster.set("objects.json", json.dumps([{"kind": "Deployment", "metadata": meta}]))
    done = cluster.launch("--detach")
    assert done.returncode == 2
    assert "the cluster has a deployment called default already" in done.stderr
    assert len(cluster.objects()) == 1


def test_kserve_is_printed_only(cluster: Cluster) -> None:
    """There is nobody to observe it."""
    assert "--format kserve is printed only" in refused(cluster, "--format", "kserve")


def test_an_unknown_runtime_is_offered_the_known_ones(cluster: Cluster) -> None:
    """Runtimes and orchestrators alike."""
    done = cluster.run("launch", "--on", "kubernets", "--dry-run")
    assert done.returncode == 2
    assert "did you mean kubernetes?" in done.stderr
