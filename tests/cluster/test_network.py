"""All-reduces between real hosts, by Slurm and by ssh, over Gloo."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.cluster.hosts import Host, need
from tests.cluster.sshd import sshd
from tests.launcher.machine import eventually
from tpdeploy.backends.registry import load_backend
from tpdeploy.launcher.environments import find_environment
from tpdeploy.profiles.devices.networks import MeasuredNetwork

pytestmark = [pytest.mark.cluster, pytest.mark.engine]

Calibrate = Callable[..., "subprocess.CompletedProcess[str]"]
LEFT = "network.py"


@pytest.fixture(params=["slurm", "ssh:h1,h2"])
def calibrate(
    request: pytest.FixtureRequest, cluster: list[Host], tmp_path: Path
) -> Iterator[Calibrate]:
    """The command on the first of three hosts, with a home of its own and vLLM's Python."""
    environment = find_environment(load_backend("vllm").environment("cpu"))
    assert environment is not None, "run: tpdeploy backends install vllm"
    home = {"TPDEPLOY_HOME": str(tmp_path / "home")}

    def run(*args: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        on = ("--on", request.param, "--gpus", "CPU", "--python", str(environment.python))
        program = (sys.executable, "-m", "tpdeploy", "calibrate", *on, *args)
        return cluster[0].run(*program, **home, **variables)

    if request.param == "slurm":
        variables = request.getfixturevalue("slurm_variables")
        yield lambda *args: run(*args, **variables)
        return
    need("ssh", "sshd")
    with sshd(cluster[1:], tmp_path, {}) as own:
        yield lambda *args: run(*args, PATH=f"{own}{os.pathsep}{os.environ['PATH']}")


def left(cluster: list[Host]) -> list[str]:
    """What still runs of the measuring program on the hosts."""
    words = [_words(each) for host in cluster[1:] for each in host.processes()]
    return [line for line in words if LEFT in line]


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_it_is_measured_between_the_hosts_and_kept(
    calibrate: Calibrate, cluster: list[Host], tmp_path: Path
) -> None:
    """Every size, hosts and versions by name; a plan for two machines takes it, and says so."""
    done = calibrate("--quick", "--network-name", "lab", "--json")
    assert done.returncode == 0, done.stderr
    found = MeasuredNetwork.model_validate_json(done.stdout)
    assert found.hosts == ("h1", "h2")
    assert [sample.bytes for sample in found.samples] == [4**n for n in range(5, 13)]
    assert found.samples[-1].seconds > found.samples[0].seconds
    assert {"vllm", "torch"} <= found.versions.keys()
    assert left(cluster) == []
    plan = ("plan", "llama-70b", "--gpus", "2x1xH100", "--network", "lab", "--json")
    program = (sys.executable, "-m", "tpdeploy", *plan)
    told = cluster[0].run(*program, TPDEPLOY_HOME=str(tmp_path / "home"))
    assert told.returncode == 0, told.stderr
    source = json.loads(told.stdout)["prediction"]["tpot_ms"]["source"]
    assert "network lab measured by tpdeploy calibrate --on " in source


def test_ended_it_leaves_nothing(cluster: list[Host], calibrate: Calibrate, tmp_path: Path) -> None:
    """Who ends the command ends what runs on the hosts."""
    with ThreadPoolExecutor() as pool:
        done = pool.submit(calibrate)
        eventually(lambda: left(cluster) != [], 60)
        (own,) = [each for each in cluster[0].processes() if "calibrate --on" in _words(each)]
        own.send_signal(signal.SIGTERM)
        assert done.result().returncode == 130
    assert left(cluster) == []
    assert not list((tmp_path / "home" / "networks").glob("*.json"))


def test_a_python_without_torch_is_told_and_nothing_is_kept(
    calibrate: Calibrate, cluster: list[Host], tmp_path: Path
) -> None:
    """One line with the reason, the remedy and the log."""
    done = calibrate("--python", sys.executable)
    assert done.returncode == 1
    assert "No module named 'torch'" in done.stderr
    assert "tpdeploy backends install" in done.stderr
    assert not list((tmp_path / "home" / "networks").glob("*.json"))
    assert left(cluster) == []
