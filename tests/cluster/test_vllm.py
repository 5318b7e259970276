"""Real vLLM over two hosts, tensor parallel: a token of each rank's work, and one that is killed.

On CPUs: what ranks say to each other goes through Gloo, not NCCL.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.cluster.hosts import Host, need
from tests.cluster.sshd import sshd
from tests.e2e.tiny import make_tiny_model
from tests.launcher.machine import eventually, launch_arguments
from tpdeploy.launcher.seen import Seen
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.records import dump_record, read_record

pytestmark = [pytest.mark.cluster, pytest.mark.engine]

START_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Launcher:
    """The first of three hosts, from which a replica over the others is launched."""

    hosts: list[Host]
    variables: dict[str, str]
    on: str
    name: str

    def run(self, *args: str) -> "subprocess.CompletedProcess[str]":
        return self.hosts[0].run(sys.executable, "-m", "tpdeploy", *args, **self.variables)

    def status(self) -> Seen:
        (one,) = json.loads(self.run("status", "--json", "--name", self.name).stdout)["deployments"]
        return Seen.model_validate(one)

    def completion(self, url: str, model: str) -> str:
        """The status of a request for eight tokens."""
        asked = json.dumps({"model": model, "prompt": "one two", "max_tokens": 8})
        sent = ("--json", asked, "--max-time", "60", f"{url}/v1/completions")
        told = ("--silent", "--output", "/dev/null", "--write-out", "%{http_code}")
        return self.hosts[0].run("curl", *told, *sent).stdout

    def engines(self, host: int) -> list[psutil.Process]:
        """What vLLM runs on a host, servers first."""
        found = [p for p in self.hosts[host].processes() if "vllm" in _words(p).lower()]
        return sorted(found, key=lambda process: "vllm serve" not in _words(process))


@pytest.fixture(params=["slurm", "ssh:h1,h2"])
def launcher(
    request: pytest.FixtureRequest, cluster: list[Host], tmp_path: Path
) -> Iterator[Launcher]:
    """Of a deployment that is stopped in any case."""
    name = f"wide-{request.param[:3]}"
    if request.param == "slurm":
        made = Launcher(cluster, request.getfixturevalue("slurm_variables"), request.param, name)
        yield made
    else:
        need("ssh", "sshd")
        home = {"TPDEPLOY_HOME": os.environ["TPDEPLOY_HOME"]}
        with sshd(cluster[1:], tmp_path, home) as own:
            path = f"{own}{os.pathsep}{os.environ['PATH']}"
            made = Launcher(cluster, {"PATH": path}, request.param, name)
            yield made
            made.run("stop", "--name", name)
        return
    made.run("stop", "--name", name)


def plan_over_two(model: Path, folder: Path) -> Path:
    """A plan of one replica with a rank on each of two machines."""
    path = folder / "plan.yaml"
    load = ["--concurrency", "2", "--input-tokens", "64", "--output-tokens", "16"]
    split = ["--gpus", "2xCPU", "--tp", "2"]
    program = [sys.executable, "-m", "tpdeploy", "plan", str(model), *split, *load, "-o", str(path)]
    subprocess.run(program, check=True, capture_output=True)
    parts = read_record(path, DeploymentPlan).model_dump(mode="json")
    parts["cluster"] |= {"nodes": 2, "domain": 1}
    parts["placement"][0] |= {"devices": [0, 0], "nodes": [0, 1]}
    path.write_text(dump_record(DeploymentPlan.model_validate(parts)))
    return path


def test_a_replica_over_two_hosts_answers_and_comes_back(
    launcher: Launcher, tmp_path: Path
) -> None:
    """The death of the rank that serves nobody ends the other, and both start anew."""
    model = make_tiny_model(tmp_path)
    plan = plan_over_two(model, tmp_path)
    options = ["--on", launcher.on, "--name", launcher.name, "--engine-arg=--load-format=dummy"]
    done = launcher.run(*launch_arguments("--detach", *options, str(plan)))
    assert done.returncode == 0, done.stderr
    before = launcher.status()
    assert launcher.completion(before.url, before.model) == "200"
    assert launcher.engines(1)
    assert launcher.engines(2)
    os.kill(launcher.engines(2)[0].pid, signal.SIGKILL)
    eventually(lambda: launcher.status().members[0].restarts == 1, START_TIMEOUT_S)
    eventually(lambda: launcher.status().phase == "ready", START_TIMEOUT_S)
    assert launcher.completion(before.url, before.model) == "200"
    done = launcher.run("stop", "--name", launcher.name)
    assert done.returncode == 0, done.stderr
    assert launcher.engines(1) == launcher.engines(2) == []


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
