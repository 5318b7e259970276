"""TensorRT-LLM's life cycle, with a stand-in that refuses what its contract does not list."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launcher.test_launch import eventually, nothing_left
from tpdeploy.backends import tensorrt_llm
from tpdeploy.backends.metrics import EngineMetrics, Summed, read_metrics
from tpdeploy.launcher.environments import MARKER
from tpdeploy.launcher.ports import free_ports
from tpdeploy.launcher.state import Deployment, log_of

HERE = Path(__file__).parent
CONTRACT = Path(tensorrt_llm.__file__).parent / "contracts" / "tensorrt-llm.yaml"


class Machine:
    """Two H100, as NVML tells of them, and the stand-in installed where the engine would be."""

    def __init__(self, folder: Path) -> None:
        self.home, packages = folder / "home", folder / "packages"
        packages.mkdir()
        shutil.copy(HERE / "standin_nvml.py", packages / "pynvml.py")
        spec = tensorrt_llm.ENVIRONMENT
        programs = self.home / "environments" / f"{spec.name}-{spec.version}" / "bin"
        programs.mkdir(parents=True)
        source = (HERE / "standin_trtllm.py").read_text()
        target = programs / spec.executable
        target.write_text(source.replace("/usr/bin/env python3", sys.executable, 1))
        target.chmod(0o755)
        (programs / "python").symlink_to(sys.executable)
        (programs.parent / MARKER).write_text("")
        ours = {"TPDEPLOY_HOME": str(self.home), "PYTHONPATH": str(packages), "COLUMNS": "80"}
        self.env = {**os.environ, **ours, "TRTLLM_CONTRACT": str(CONTRACT)}

    def run(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tpdeploy", *args],
            env={**self.env, **env},
            capture_output=True,
            text=True,
            check=False,
        )

    def launched(self) -> Deployment:
        (port,) = free_ports("127.0.0.1", 1)
        done = self.run("launch", "--detach", "--json", "--port", str(port))
        assert done.returncode == 0, done.stderr
        return Deployment.model_validate_json(done.stdout)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    load = ["--concurrency", "2", "--input-tokens", "64", "--output-tokens", "8"]
    where = ["--gpus", "auto", "--tp", "2", "--backend", "tensorrt-llm"]
    done = made.run("plan", "llama-8b", *where, *load)
    assert done.returncode == 0, done.stderr
    yield made
    if (made.home / "deployments").exists():
        made.run("stop")


def test_planned_launched_asked_measured_and_stopped(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way; every argument and option is one that the contract lists."""
    deployment = machine.launched()
    asked = machine.run("query", "hello")
    assert "word" in asked.stdout, asked.stderr
    measured = machine.run("validate", "--requests", "8", "--warmup", "2", "--json")
    assert measured.returncode == 0, measured.stderr
    assert json.loads(measured.stdout)["measured"]["requests"] == 8
    monkeypatch.setenv("TPDEPLOY_HOME", str(machine.home))
    assert "TensorRT LLM version" in log_of("default", "replica-0").read_text()
    assert machine.run("stop").returncode == 0
    assert nothing_left(deployment)


def test_a_killed_server_leaves_no_worker(machine: Machine) -> None:
    """Its child is ended with it, and the port is free."""
    deployment = machine.launched()
    (leader,) = (m.leader for m in deployment.members if m.leader)
    os.kill(leader.pid, signal.SIGKILL)
    eventually(lambda: nothing_left(deployment))


def test_its_own_words_tell_why_it_ended(machine: Machine) -> None:
    """The engine's last error, not the last line of a log."""
    done = machine.run("launch", "--detach", STANDIN_FAILS="1")
    assert done.returncode == 1
    assert "Executor worker returned error: out of stand-in memory" in done.stderr


def test_an_option_that_is_not_in_every_release_is_refused_by_the_stand_in(
    machine: Machine,
) -> None:
    """The contract bites: click's words reach the user."""
    done = machine.run("launch", "--detach", "--engine-arg=--telemetry")
    assert done.returncode == 1
    assert "No such option: --telemetry" in done.stderr


def test_a_key_it_cannot_ask_for_is_no_protection(machine: Machine) -> None:
    """It has no API key: launching with one set would leave the endpoint open."""
    done = machine.run("launch", "--detach", TPDEPLOY_API_KEY="secret")
    assert done.returncode == 2
    assert "tensorrt-llm has no API key" in done.stderr


def test_metrics_come_in_names_of_ours() -> None:
    """What it does not tell is None."""
    text = (HERE / "standin_trtllm.py").read_text().split('METRICS = """\\\n')[1].split('"""')[0]
    assert read_metrics(text, tensorrt_llm.METRICS) == EngineMetrics(
        kv_cache_usage=0.25, ttft=Summed(count=4, sum=0.5)
    )
