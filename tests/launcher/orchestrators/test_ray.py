"""A cluster of Ray that is asked and told of applications."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.launcher.orchestrators.ray_tasks import RAY, task_for, two_groups
from tests.launcher.standin_ray import StandInRay
from tpdeploy.backends.registry import load_backend
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.launcher.orchestrators.base import Task
from tpdeploy.launcher.orchestrators.ray.checks import check_proxy
from tpdeploy.launcher.orchestrators.ray.dashboard import address_of
from tpdeploy.launcher.orchestrators.ray.details import Details
from tpdeploy.launcher.orchestrators.ray.environment import with_ray
from tpdeploy.launcher.orchestrators.ray.orchestrator import Ray
from tpdeploy.launcher.orchestrators.registry import ORCHESTRATORS
from tpdeploy.planner.plan import DeploymentPlan

EVERYWHERE = "0.0.0.0"  # noqa: S104 - only named


@pytest.fixture(scope="module")
def plan() -> DeploymentPlan:
    return two_groups()


@pytest.fixture
def cluster() -> Iterator[StandInRay]:
    made = StandInRay()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def task(plan: DeploymentPlan, cluster: StandInRay) -> Task:
    return task_for(plan, on=f"ray:127.0.0.1:{cluster.port}", port=cluster.port)


def submitted(task: Task, folder: Path) -> str:
    path = folder / "serve.yaml"
    path.write_text(RAY.render(task).text)
    return RAY.submit(task, path, {})


def other(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "route_prefix": path, "import_path": "shop:app"}


def test_it_is_found_by_its_entry_point() -> None:
    assert isinstance(ORCHESTRATORS.load("ray"), Ray)


@pytest.mark.parametrize(
    ("on", "url"),
    [
        ("ray", "http://127.0.0.1:8265"),
        ("ray:head", "http://head:8265"),
        ("ray:10.0.0.1:9000", "http://10.0.0.1:9000"),
        ("ray:https://ray.example", "https://ray.example:443"),
        ("ray:[::1]:9", "http://[::1]:9"),
    ],
)
def test_the_dashboard_is_named_in_short(
    monkeypatch: pytest.MonkeyPatch, on: str, url: str
) -> None:
    monkeypatch.delenv("RAY_DASHBOARD_ADDRESS", raising=False)
    assert address_of(on) == url


def test_without_an_address_it_is_where_serve_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_DASHBOARD_ADDRESS", "http://there:1")
    assert address_of("ray") == "http://there:1"


def test_its_environment_is_one_of_its_own_beside_the_engines() -> None:
    own = load_backend("vllm").environment("cpu")
    made = with_ray(own)
    assert made.name != own.name
    assert set(own.requirements) < set(made.requirements)
    assert made.disk_bytes > own.disk_bytes


def test_the_note_names_the_release_that_ray_pins(plan: DeploymentPlan, tmp_path: Path) -> None:
    """Read from the metadata in the environment; nothing of it is run."""
    (bin_ := tmp_path / "bin").mkdir()
    python = bin_ / "python"
    python.write_text("#!/bin/false\n")
    python.chmod(0o755)
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    metadata = {
        "ray-2.60.0": "Requires-Dist: vllm[audio]==0.29.0 ; extra == 'llm'\n",
        "vllm-0.33.0": "",
    }
    for name, lines in metadata.items():
        project, _, version = name.partition("-")
        (folder := packages / f"{name}.dist-info").mkdir(parents=True)
        text = f"Metadata-Version: 2.4\nName: {project}\nVersion: {version}\n{lines}"
        (folder / "METADATA").write_text(text)
    notes = " ".join(RAY.render(task_for(plan, python=python)).notes)
    assert "vLLM 0.33.0" in notes
    assert "ray[llm] of that release pins vLLM 0.29.0" in notes


def test_it_is_declared_beside_what_is_there_and_leaves_that(
    cluster: StandInRay, task: Task, tmp_path: Path
) -> None:
    """Serve ends every declared application that a configuration leaves out."""
    cluster.put({"http_options": {"host": "127.0.0.1", "port": cluster.port}, "applications": []})
    cluster.add(other("shop", "/shop"), "declarative")
    cluster.add(other("script", "/script"), "imperative")
    RAY.check(task)
    reference = submitted(task, tmp_path)
    assert set(cluster.applications) == {"shop", "script", "tpdeploy-prod"}
    RAY.stop(reference)
    assert set(cluster.applications) == {"shop", "script"}
    assert cluster.options is not None
    RAY.stop(reference)


@pytest.mark.parametrize("shared", [False, True])
def test_serve_ends_with_the_deployment_that_started_it(
    cluster: StandInRay, task: Task, tmp_path: Path, *, shared: bool
) -> None:
    """Unless somebody else has come to use it."""
    reference = submitted(task, tmp_path)
    assert cluster.options == {"host": "127.0.0.1", "port": cluster.port}
    if shared:
        cluster.add(other("shop", "/shop"), "declarative")
    RAY.stop(reference)
    assert (cluster.options is not None) == shared
    assert RAY.observe(reference).phase == "stopped"


def test_a_name_or_path_that_is_taken_is_refused(
    cluster: StandInRay, task: Task, tmp_path: Path
) -> None:
    submitted(task, tmp_path)
    with pytest.raises(InputError, match="tpdeploy-prod already"):
        RAY.check(task)
    with pytest.raises(TpdeployError, match="tpdeploy-prod already"):
        submitted(task, tmp_path)
    cluster.applications = {}
    cluster.add(other("shop", "/prod"), "declarative")
    with pytest.raises(InputError, match="shop has /prod"):
        RAY.check(task)


def test_a_loopback_that_is_not_ours_is_refused(plan: DeploymentPlan) -> None:
    """Nobody here would reach Serve there, not even to see that it is ready."""
    with pytest.raises(InputError, match="give the --host that Serve is to listen on"):
        check_proxy(task_for(plan, on="ray:head"), Details())
    check_proxy(task_for(plan, on="ray:head", host="10.0.0.7"), Details())


def test_another_port_than_serves_is_refused(cluster: StandInRay, task: Task) -> None:
    cluster.options = {"host": EVERYWHERE, "port": 8000}
    with pytest.raises(InputError, match=r"--host 0\.0\.0\.0 --port 8000"):
        RAY.check(task)


@pytest.mark.parametrize(
    ("status", "states", "completion", "phase"),
    [
        ("DEPLOYING", ["STARTING"], 200, "starting"),
        ("RUNNING", ["RUNNING", "RUNNING"], 200, "ready"),
        ("RUNNING", ["RUNNING", "RUNNING"], 404, "starting"),
        ("RUNNING", ["RUNNING", "RUNNING"], 500, "down"),
        ("UNHEALTHY", ["RUNNING", "STARTING"], 200, "degraded"),
        ("RUNNING", ["RUNNING", "STARTING"], 200, "degraded"),
        ("UNHEALTHY", ["STARTING", "STARTING"], 200, "down"),
        ("DEPLOY_FAILED", [], 200, "failed"),
        ("DELETING", ["STOPPING"], 200, "stopping"),
    ],
)
@pytest.mark.slow
def test_ready_is_what_completes_a_token(
    cluster: StandInRay,
    task: Task,
    tmp_path: Path,
    status: str,
    states: list[str],
    completion: int,
    phase: str,
) -> None:
    """Serve calls an application running whose requests fail."""
    reference = submitted(task, tmp_path)
    cluster.status, cluster.states, cluster.completion = status, states, completion
    view = RAY.observe(reference)
    assert view.phase == phase
    assert [m.label for m in view.members] == [f"replica-{n}" for n in range(len(states))] + [
        "front"
    ]


def test_what_it_waits_for_is_told_in_one_line(
    cluster: StandInRay, task: Task, tmp_path: Path
) -> None:
    reference = submitted(task, tmp_path)
    cluster.status, cluster.message = "DEPLOYING", "2 replicas wait:\n  GPU: 8"
    assert RAY.observe(reference).reason == "2 replicas wait: GPU: 8"


def test_of_a_traceback_the_error_is_told(cluster: StandInRay, task: Task, tmp_path: Path) -> None:
    reference = submitted(task, tmp_path)
    trace = "app failed:\nTraceback (most recent call last):\n  File x\nValueError: no x\n"
    cluster.status, cluster.message = "DEPLOY_FAILED", trace
    view = RAY.observe(reference)
    assert (view.phase, view.reason) == ("failed", "ValueError: no x")


def test_clients_reach_it_at_the_head(cluster: StandInRay, task: Task, tmp_path: Path) -> None:
    reference = submitted(task, tmp_path)
    with RAY.reach(reference) as url:
        assert url == f"http://127.0.0.1:{cluster.port}/prod"
    cluster.options = {"host": EVERYWHERE, "port": 8000}
    with RAY.reach(reference) as url:
        assert url == "http://127.0.0.1:8000/prod"
    assert RAY.endpoint("http://head:8265#tpdeploy-prod", task.order) == (
        f"http://head:{cluster.port}/prod"
    )
    cluster.applications = {}
    with pytest.raises(TpdeployError, match="no application tpdeploy-prod any more"):
        RAY.reach(reference)


def test_logs_are_those_of_the_process_in_the_order_of_time(
    cluster: StandInRay, task: Task, tmp_path: Path
) -> None:
    """Engine and Serve write to two files."""
    reference = submitted(task, tmp_path)
    told = list(RAY.logs(reference, "replica-0", 3, follow=False))
    assert all(line.startswith("replica-0 | ") for line in told)
    assert [line.split()[-1] for line in told] == ["first", "starts", "last"]
    with pytest.raises(InputError, match="replica-7"):
        list(RAY.logs(reference, "replica-7", 3, follow=False))


def test_logs_are_followed_from_all_of_its_outputs(
    cluster: StandInRay, task: Task, tmp_path: Path
) -> None:
    """A process without a node yet has none."""
    told = RAY.logs(submitted(task, tmp_path), None, 3, follow=True)
    words = {line.split()[-1] for line in islice(told, 4)}
    assert words == {":job_id:01", "starts", "first", "last"}


def test_nothing_of_ours_runs_inside(task: Task) -> None:
    """Who asks for it is told from where to measure."""
    with pytest.raises(InputError, match="measure from here, without --inside"):
        RAY.client("http://head:8265#tpdeploy-prod", task.order, "")


def test_a_refusal_of_serve_is_one_line(cluster: StandInRay, task: Task, tmp_path: Path) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text("applications:\n- name: x\n  route_prefix: /x\n")
    with pytest.raises(TpdeployError, match="says 400: ValidationError: import_path"):
        RAY.submit(task, path, {})


def test_the_clusters_token_is_taken_from_where_ray_has_it(
    cluster: StandInRay, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable, or a file; without it the message names the variable."""
    monkeypatch.setenv("HOME", str(tmp_path))
    cluster.token = "secret"  # noqa: S105 - nobody's
    with pytest.raises(InputError, match="RAY_AUTH_TOKEN"):
        RAY.check(task)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret\n")
    RAY.check(task)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "other")
    with pytest.raises(InputError, match="asks for the cluster's token"):
        RAY.check(task)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    RAY.check(task)


def test_without_a_dashboard_it_says_what_starts_one(task: Task) -> None:
    lost = replace(task, order=task.order.changed(on="ray:127.0.0.1:9"))
    with pytest.raises(InputError, match="ray start --head"):
        RAY.check(lost)
