"""A home of tpdeploy in which faults are tried, with real vLLM or with a stand-in engine."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.launcher.machine import Machine
from tpdeploy.errors import TpdeployError
from tpdeploy.files import data_home
from tpdeploy.launcher.runtimes.ports import free_ports, is_free
from tpdeploy.launcher.runtimes.processes import is_alive, members
from tpdeploy.launcher.state import Deployment
from tpdeploy.records import read_record

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at
PATIENCE_S = 600.0


class Home(Machine):
    """Two replicas of a small model, launched and stopped by commands."""

    engine = "stand-in"
    model = "HuggingFaceTB/SmolLM2-135M-Instruct"
    tokens = 10

    def install(self, environment: str, program: str) -> None:
        """The quick stand-in, not the one of the tests."""
        super().install(environment, program)
        target = self.home / "environments" / environment / "bin" / program
        source = (Path(__file__).parent / "standin.py").read_text()
        target.write_text(source.replace("/usr/bin/env python3", sys.executable, 1))

    def start(self, *args: str) -> Deployment:
        """Launched, detached.

        Raises:
            TpdeployError: it did not come to serve.
        """
        (port,) = free_ports("127.0.0.1", 1)
        done = self.run("launch", "--port", str(port), "--detach", "--json", *args)
        if done.returncode:
            raise TpdeployError(done.stderr.strip())
        return Deployment.model_validate_json(done.stdout)

    def now(self) -> Deployment:
        """As its supervisor last saw it; no command is run for it, and nothing is asked."""
        return read_record(self.home / "deployments" / "default" / "state.yaml", Deployment)

    def seconds_until(self, holds: Callable[[], bool]) -> float:
        """How long it took.

        Raises:
            TpdeployError: it did not come true in PATIENCE_S.
        """
        begun = time.monotonic()
        while not holds():
            if time.monotonic() > begun + PATIENCE_S:
                raise TpdeployError(f"it did not happen within {PATIENCE_S:.0f} s: {self.now()}")
            time.sleep(0.1)
        return time.monotonic() - begun


class RealHome(Home):
    """The same with vLLM, from the environment that tpdeploy has installed."""

    engine = "vLLM"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (self.home / "environments").rename(self.home / "others")
        (self.home / "environments").symlink_to(data_home() / "environments")
        (self.home / "models").symlink_to(data_home() / "models")
        self.model = str(data_home() / "models" / "SmolLM2-135M-Instruct")

    def plan(self, replicas: int = 1, *_: object) -> None:  # type: ignore[override]
        """By the command, for CPUs."""
        asked = ["--gpus", f"{replicas}xCPU", "--tp", "1", "--replicas", str(replicas)]
        asked += ["--concurrency", str(2 * replicas), "--max-model-len", "512"]
        done = self.run("plan", self.model, *asked, "--input-tokens", "8", "--output-tokens", "50")
        if done.returncode:
            raise TpdeployError(done.stderr.strip())


@contextmanager
def leaving_nothing(found: list[str]) -> Iterator[None]:
    """What the block has left of shared memory, in words, is added to `found`."""
    before = set(SHARED_MEMORY.iterdir())
    yield
    new = sorted(path.name for path in set(SHARED_MEMORY.iterdir()) - before)
    if new:
        found.append(f"{len(new)} in {SHARED_MEMORY}: {', '.join(new[:3])}")


def left_of(deployments: list[Deployment]) -> list[str]:
    """Processes and ports of deployments that were stopped."""
    found = []
    for deployment in deployments:
        leaders = [m.leader for m in deployment.members if m.leader]
        processes = members(*leaders)
        if deployment.supervisor and is_alive(deployment.supervisor):
            processes.append(psutil.Process(deployment.supervisor.pid))
        found += [f"{p.name()} ({p.pid})" for p in processes]
        found += [f"port {m.port}" for m in deployment.members if not is_free("127.0.0.1", m.port)]
    return found
