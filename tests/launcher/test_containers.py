"""An engine in a container is launched and ended like any other, whatever happens to its client."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.launcher.machine import HERE, Machine, eventually, nothing_left
from tpdeploy.errors import InputError
from tpdeploy.launcher.runtimes import container
from tpdeploy.launcher.state import Deployment

pytestmark = pytest.mark.processes


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the stand-in keeps its containers."""
    folder = tmp_path / "docker"
    (folder / "bin").mkdir(parents=True)
    target = folder / "bin" / "docker"
    source = (HERE / "standin_docker.py").read_text()
    target.write_text(source.replace("/usr/bin/env python3", sys.executable, 1))
    target.chmod(0o755)
    return folder


@pytest.fixture
def machine(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine with the stand-in Docker; the engine is in the image, that is, on its PATH."""
    made = Machine(tmp_path)
    engine = made.home / "environments" / "standin-1" / "bin"
    shutil.copy(engine / "standin-engine", home / "bin")
    shutil.rmtree(engine)
    monkeypatch.setenv("PATH", f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STANDIN_DOCKER", str(home))
    yield made
    if (made.home / "deployments").exists():
        made.run("stop")


def contained(home: Path, deployment: Deployment) -> psutil.Process:
    (member,) = (m for m in deployment.members if m.reference)
    return psutil.Process(int((home / member.reference).read_text()))


def test_it_is_ready_and_stop_leaves_no_container(machine: Machine, home: Path) -> None:
    """No environment of the engine is needed on the machine itself."""
    machine.plan()
    deployment = machine.launched("--container", "vendor/engine:1")
    inside = contained(home, deployment)
    assert inside.is_running()
    assert machine.run("stop").returncode == 0
    assert nothing_left(deployment)
    eventually(lambda: not inside.is_running() or inside.status() == psutil.STATUS_ZOMBIE)


def test_a_killed_client_takes_its_container_along(machine: Machine, home: Path) -> None:
    """kill -9 of the client leaves the container to the daemon; it is removed, and run again."""
    machine.plan()
    deployment = machine.launched("--container", "vendor/engine:1")
    inside = contained(home, deployment)
    (member,) = (m for m in deployment.members if m.reference)
    assert member.leader is not None
    os.kill(member.leader.pid, signal.SIGKILL)
    eventually(lambda: not inside.is_running() or inside.status() == psutil.STATUS_ZOMBIE)
    eventually(lambda: machine.status().members[0].restarts == 1)
    eventually(lambda: machine.status().phase == "ready")


def test_the_command_shows_no_key(machine: Machine) -> None:
    """Variables go by name; what the command names by its path is lent read-only."""
    machine.plan()
    arguments = ["--container", "vendor/engine:1", "--dry-run", f"--engine-arg=--plugin={HERE}"]
    shown = machine.run("launch", *arguments, TPDEPLOY_API_KEY="secret").stdout
    assert "docker run --rm --init --name tpdeploy-default-replica-0" in shown
    assert "--env STANDIN_KEY" in shown
    assert "secret" not in shown
    assert "--gpus" not in shown  # planned for CPUs
    assert "vendor/engine:1 standin-engine --host" in shown


def test_folders_that_a_command_names_are_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its model read-only, its own folder to write, GPUs where the plan has them."""
    monkeypatch.setattr(container, "client", lambda: "podman")
    folder = HERE / "replica-0"
    argv = ("serve", str(HERE), str(folder / "options.yaml"))
    command = container.argv_in("image", "name", argv, ["KEY"], folder=folder, gpus=True)
    assert f"{HERE}:{HERE}:ro" in command
    assert f"{folder}:{folder}" in command
    assert "nvidia.com/gpu=all" in command
    assert command[-4:] == ("image", *argv)


def test_without_docker_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="--container needs docker or podman"):
        container.client()
