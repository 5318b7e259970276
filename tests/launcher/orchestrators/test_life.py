"""A deployment in a cluster, from launch to stop, by the commands that users know."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.harness.plans import small_plan
from tests.harness.standin import StandIn, serving
from tests.launcher.orchestrators.cluster import Cluster
from tpdeploy.files import write_whole
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.workload import Workload
from tpdeploy.records import dump_record

pytestmark = pytest.mark.processes

KEY = "sk-very-secret"


@pytest.fixture
def launched(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """One that is ready, in the context that kubectl uses now."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # those of the tests' own process
    done = cluster.launch("--detach", "--namespace", "serving", TPDEPLOY_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    return cluster


def test_it_is_launched_seen_asked_and_ended(launched: Cluster) -> None:
    """As on one machine: and nothing of it is left in the cluster."""
    seen = launched.run("status")
    assert seen.returncode == 0, seen.stdout
    assert "at http://tpdeploy-default.serving.svc:8000/v1" in seen.stdout
    assert "replica-1" in seen.stdout
    with serving(StandIn(words=("Paris.",))) as server:
        launched.set("endpoint", server.url.rpartition(":")[2])
        answer = launched.run("query", "Which?", TPDEPLOY_API_KEY=KEY)
    assert (answer.returncode, answer.stdout) == (0, "Paris.\n"), answer.stderr
    assert server.first.key == f"Bearer {KEY}"
    forwarder = int((launched.folder / "forwarder").read_text())
    assert not Path(f"/proc/{forwarder}").exists()
    done = launched.run("stop")
    assert done.returncode == 0, done.stderr
    assert launched.objects() == []
    assert "Nothing is running" in launched.run("status").stdout


def test_validate_measures_through_kubectl(launched: Cluster) -> None:
    """Against the plan that is named."""
    plan = launched.home / "small.yaml"
    write_whole(plan, dump_record(small_plan(Workload(concurrency=2))))
    with serving(StandIn(itl_s=0.001)) as server:
        launched.set("endpoint", server.url.rpartition(":")[2])
        options = ("--requests", "4", "--warmup", "0", "--json")
        done = launched.run("validate", str(plan), *options, TPDEPLOY_API_KEY=KEY)
    assert done.returncode in {0, 1}, done.stderr
    assert len(json.loads(done.stdout)["requests"]) == 4


def test_validate_measures_from_a_pod(launched: Cluster) -> None:
    """Which is gone afterwards; the key is on no command line, and the report is kept here."""
    plan = launched.home / "small.yaml"
    write_whole(plan, dump_record(small_plan(Workload(concurrency=2))))
    options = ("--inside", "--requests", "4", "--warmup", "0", "--json")
    with serving(StandIn(itl_s=0.001)) as server:
        launched.set("endpoint", server.url.rpartition(":")[2])
        done = launched.run("validate", str(plan), *options, TPDEPLOY_API_KEY=KEY)
    assert done.returncode in {0, 1}, done.stderr
    assert len(json.loads(done.stdout)["requests"]) == 4
    assert server.first.key == f"Bearer {KEY}"
    assert KEY not in launched.commands()
    assert "port-forward" not in launched.commands()
    assert (launched.folder / "image").read_text() == "python:3.13-slim"
    names = [each["metadata"]["name"] for each in launched.objects() if each["kind"] == "Pod"]
    assert not [name for name in names if "client" in name]


def test_a_pod_that_cannot_run_says_so(launched: Cluster) -> None:
    """And is gone as well; the image is the one that was named."""
    launched.set("no-client")
    image = ("--client-image", "registry.example/tpdeploy:1")
    done = launched.run("validate", "--inside", *image, TPDEPLOY_API_KEY=KEY)
    assert done.returncode == 1
    assert "the client has failed: error: timed out waiting for the condition" in done.stderr
    assert '"command": ["tpdeploy", "client"]' in launched.commands()
    assert not [o for o in launched.objects() if "client" in o["metadata"]["name"]]


def test_inside_needs_a_front_that_listens_to_others(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key it does not; the message says what would work."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert cluster.launch("--detach").returncode == 0
    done = cluster.run("validate", "--inside")
    assert done.returncode == 2
    assert "--inside: deployment default: without a key it listens inside its pod" in done.stderr


def test_the_key_reaches_no_command_line_and_no_manifest(launched: Cluster) -> None:
    """It is in the cluster's Secret alone, which kubectl has from stdin."""
    assert KEY not in launched.commands()
    files = [path for path in launched.home.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY in path.read_text()]
    (secret,) = [each for each in launched.objects() if each["kind"] == "Secret"]
    assert secret["stringData"]["clients"] == KEY
    assert len(secret["stringData"]["inner"]) > 20


def test_logs_name_their_members(launched: Cluster) -> None:
    """All together with their members in front, one alone without; an unknown one is refused."""
    together = launched.run("logs", "-n", "2").stdout.splitlines()
    assert [line.partition(" |")[0] for line in together] == [
        *("replica-0", "replica-0", "replica-1", "replica-1"),
        *["front    "] * 4,
    ]
    alone = launched.run("logs", "replica-1", "-n", "3").stdout.splitlines()
    assert alone == [f"line {n} of tpdeploy-default-replica-00001" for n in (7, 8, 9)]
    refused = launched.run("logs", "replica-9")
    assert refused.returncode == 2
    assert "did you mean replica-" in refused.stderr


def test_logs_are_followed_until_ctrl_c(launched: Cluster) -> None:
    """As they grow, and kubectl ends with them."""
    follower = launched.started("logs", "replica-0", "-f")
    assert follower.stdout
    lines = [follower.stdout.readline() for _ in range(14)]
    assert lines[-1] == "one more of tpdeploy-default-replica-00000\n"
    follower.send_signal(signal.SIGINT)
    assert follower.wait(timeout=90) == 130


@pytest.mark.parametrize(
    "words",
    [("scale", "--replicas", "1"), ("restart",), ("metrics", "--dashboard"), ("supervise",)],
)
def test_what_the_cluster_does_itself_is_left_to_it(launched: Cluster, words: list[str]) -> None:
    """In one line that says with what."""
    done = launched.run(*words)
    assert done.returncode == 2
    assert "kubernetes supervises deployment default; use kubectl" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_replica_that_ends_shows(launched: Cluster) -> None:
    """With how it ended; the exit code says that not all is well."""
    launched.set("crashing")
    seen = launched.run("status", "--json")
    assert seen.returncode == 1
    (deployment,) = json.loads(seen.stdout)["deployments"]
    assert (deployment["phase"], deployment["serving"]) == ("down", False)
    assert deployment["members"][0]["last_end"] == "ended with code 1"
    refused = launched.run("query", "Which?")
    assert refused.returncode == 2
    assert "deployment default is down: replica-0: ended with code 1" in refused.stderr


def test_a_cluster_that_does_not_answer_is_no_deployment_that_has_ended(launched: Cluster) -> None:
    """It is there again when the cluster is."""
    launched.set("unreachable")
    seen = launched.run("status")
    assert seen.returncode == 1
    assert "cannot be reached" in seen.stdout
    assert launched.run("stop").returncode == 1
    launched.unset("unreachable")
    assert launched.run("status").returncode == 0


def test_what_others_have_deleted_has_failed(launched: Cluster) -> None:
    """It is said, and the name is free again."""
    launched.set("objects.json", "[]")
    assert "it is no longer in the namespace serving" in launched.run("status").stdout
    refused = launched.run("stop", "--name", "default")
    assert refused.returncode == 2
    assert "has failed" in refused.stderr


def test_ctrl_c_while_it_starts_leaves_nothing(cluster: Cluster) -> None:
    """Neither objects in the cluster nor a deployment that runs."""
    cluster.set("slow")
    launch = cluster.started("launch", "--on", "kubernetes")
    assert launch.stderr
    assert any("starts the engine" in line for line in launch.stderr)
    launch.send_signal(signal.SIGINT)
    assert launch.wait(timeout=90) == 130
    assert cluster.objects() == []
    assert "Nothing is running" in cluster.run("status").stdout


def test_ctrl_c_after_it_is_ready_ends_it(cluster: Cluster) -> None:
    """Without --detach it lives as long as its command."""
    launch = cluster.started("launch", "--on", "kubernetes")
    assert launch.stdout
    assert launch.stdout.readline().startswith("Ready: ")
    os.kill(launch.pid, signal.SIGTERM)
    assert launch.wait(timeout=90) == 130
    assert cluster.objects() == []


def test_its_command_ends_with_it(cluster: Cluster) -> None:
    """When another one stops it: that is no failure."""
    launch = cluster.started("launch", "--on", "kubernetes")
    assert launch.stdout
    assert launch.stdout.readline().startswith("Ready: ")
    assert cluster.run("stop").returncode == 0
    assert launch.wait(timeout=90) == 0
    assert "Nothing is running" in cluster.run("status").stdout


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("no-image", "replica-0: ImagePullBackOff: Back-off pulling image"),
        ("crashing", "replica-0: ended with code 1"),
    ],
)
def test_what_will_not_start_fails_and_leaves_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, file: str, words: str
) -> None:
    """At once, with the reason."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    cluster.set(file)
    done = cluster.launch("--detach")
    assert done.returncode == 1
    assert f"launch failed: {words}" in done.stderr
    assert cluster.objects() == []


def test_the_time_to_start_begins_with_its_place(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for nodes is shown and takes as long as it takes; starting does not."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    cluster.set("slow")
    done = cluster.launch("--detach", "--startup-timeout", "1")
    assert done.returncode == 1
    assert "not ready in 1 s" in done.stderr
    cluster.set("pending")
    waiting = cluster.started("launch", "--on", "kubernetes", "--startup-timeout", "1")
    assert waiting.stderr
    assert any("waits for a node: 0/3 nodes are available" in line for line in waiting.stderr)
    time.sleep(3)
    assert waiting.poll() is None
    waiting.terminate()
    assert waiting.wait(timeout=90) == 130


def test_groups_of_pods_are_one_replica(
    cluster: Cluster, two_trays: DeploymentPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ranks are seen as one member, and told apart in logs; its ComputeDomain ends with it."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    cluster.plan(two_trays)
    done = cluster.launch("--detach", "--json")
    assert done.returncode == 0, done.stderr
    members = [member["label"] for member in json.loads(done.stdout)["members"]]
    assert members == ["replica-0", "front"]
    text = cluster.run("logs", "replica-0", "-n", "1").stdout
    assert "line 9 of tpdeploy-default-replica-0\n" in text
    assert "replica-0/1 | line 9 of tpdeploy-default-replica-0-1\n" in text
    assert cluster.run("stop").returncode == 0
    assert cluster.objects() == []
