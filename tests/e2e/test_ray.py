"""A plan on a real Ray cluster of one machine: Ray's classes, a completion, and a clean end."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.launcher.plans import plan_for
from tpdeploy.backends.vllm import VllmBackend
from tpdeploy.errors import InputError
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.environments import Environment, find_environment
from tpdeploy.launcher.orchestrators.base import Task, View
from tpdeploy.launcher.orchestrators.ray import schema
from tpdeploy.launcher.orchestrators.ray.dashboard import Dashboard
from tpdeploy.launcher.orchestrators.ray.environment import with_ray
from tpdeploy.launcher.orchestrators.ray.orchestrator import Ray
from tpdeploy.launcher.runtimes.ports import free_ports
from tpdeploy.launcher.small_model import engine_python, prepare_smollm2
from tpdeploy.planner.plan import DeploymentPlan

pytestmark = pytest.mark.engine

RAY, ENGINE = Ray(), VllmBackend()
READY_WITHIN_S = 600.0


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster: its dashboard's port, one for clients, and the process it ends with."""

    port: int
    clients: int
    process: psutil.Process

    @property
    def engines(self) -> list[psutil.Process]:
        """Processes of vLLM that belong to it."""
        return [p for p in self.process.children(recursive=True) if "VLLM" in name_of(p)]


def name_of(process: psutil.Process) -> str:
    try:
        lives = process.status() != psutil.STATUS_ZOMBIE
        return " ".join(process.cmdline()) if lives else ""
    except psutil.NoSuchProcess:
        return ""


@pytest.fixture(scope="module")
def environment() -> Environment:
    found = find_environment(with_ray(ENGINE.environment("cpu")))
    assert found, "run: tpdeploy backends install vllm --with ray"
    return found


@pytest.fixture
def cluster(environment: Environment) -> Iterator[Cluster]:
    """One that nobody else uses; `ray stop` would end others on this machine too."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # names of sockets must be short
    gcs, dashboard, agent, clients = free_ports("127.0.0.1", 4)
    command = [str(environment.python), str(environment.program("ray")), "start", "--head"]
    command += ["--block", "--port", str(gcs), "--dashboard-port", str(dashboard)]
    command += ["--dashboard-agent-listen-port", str(agent), "--temp-dir", folder]
    command += ["--num-cpus", "4", "--object-store-memory", "100000000", "--disable-usage-stats"]
    # By itself Ray gives its workers way to everything else on the machine.
    variables = {**os.environ, "RAY_worker_niceness": "0"}
    with Path(folder, "log").open("wb") as log:
        started = subprocess.Popen(command, env=variables, stdout=log, stderr=subprocess.STDOUT)
    process = psutil.Process(started.pid)
    try:
        eventually(lambda: answers(dashboard), 120)
        yield Cluster(dashboard, clients, process)
    finally:
        everything = [process, *process.children(recursive=True)]
        for each in everything:  # the one first that would start others anew
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(everything, timeout=30)
        started.wait()
        shutil.rmtree(folder, ignore_errors=True)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/version").status_code == 200
    except httpx.HTTPError:
        return False


def eventually(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def task_for(plan: DeploymentPlan, on: str, port: int, engine_args: tuple[str, ...] = ()) -> Task:
    order = Order(
        name="e2e-ray",
        backend=ENGINE.name,
        host="127.0.0.1",
        port=port,
        on=on,
        startup_timeout_s=READY_WITHIN_S,
        engine_args=engine_args,
    )
    return Task(plan, ENGINE, order)


def ready(reference: str) -> View:
    """How it is once it is no longer starting."""
    deadline = time.monotonic() + READY_WITHIN_S
    while (view := RAY.observe(reference)).phase == "starting":
        assert time.monotonic() < deadline, view.reason
        time.sleep(1)
    return view


def test_rays_own_classes_take_a_plan_for_gpus(environment: Environment) -> None:
    """They place as many ranks, on GPUs of that name, as the plan has."""
    task = task_for(plan_for("2x8xH100", tensor=8, model="llama-70b"), "ray", 8000)
    strategy, bundles = schema.check(environment, RAY.render(task).text).split(" ", 1)
    assert strategy == "STRICT_PACK"
    assert bundles == str([{"GPU": 1.0, "accelerator_type:H100": 0.001}] * 8)


def test_a_plan_is_served_on_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    """What vLLM would not take is refused first; then it answers, and stop leaves nothing of it."""
    plan = plan_for("1xCPU", model=str(prepare_smollm2(engine_python())))
    on = f"ray:127.0.0.1:{cluster.port}"
    with pytest.raises(InputError, match=r"Ray 2\.60\.0 refuses .*no_such_option"):
        RAY.check(task_for(plan, on, cluster.clients, ("--no-such-option=1",)))
    task = task_for(plan, on, cluster.clients)
    (manifest := tmp_path / "serve.yaml").write_text(RAY.render(task).text)
    reference = RAY.submit(task, manifest, {})
    view = ready(reference)
    assert (view.phase, view.reason) == ("ready", "")
    assert [(m.label, m.phase) for m in view.members] == [
        ("replica-0", "ready"),
        ("front", "ready"),
    ]
    with RAY.reach(reference) as url:
        asked = {"model": plan.model.id, "prompt": "The capital of France is", "max_tokens": 1}
        answer = httpx.post(f"{url}/v1/completions", json={**asked, "temperature": 0}, timeout=60)
    assert answer.json()["choices"][0]["text"] == " Paris"
    told = "\n".join(RAY.logs(reference, "replica-0", 1000, follow=False))
    assert "(EngineCore pid=" in told
    assert cluster.engines
    RAY.stop(reference)
    assert RAY.observe(reference).phase == "stopped"
    assert Dashboard(f"http://127.0.0.1:{cluster.port}").details().http_options is None
    eventually(lambda: not cluster.engines, 30)
