"""A machine for launches: a home of its own, with the stand-in engine installed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.launcher.downloads import seem_downloaded
from tests.planner.inputs import VLLM
from tpdeploy.files import write_whole
from tpdeploy.launcher.environments import MARKER
from tpdeploy.launcher.runtimes.ports import free_ports, is_free
from tpdeploy.launcher.runtimes.processes import is_alive, members
from tpdeploy.launcher.seen import Seen
from tpdeploy.launcher.state import Deployment
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.model.precision import served_shape
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.record import Dtype
from tpdeploy.records import dump_record

HERE = Path(__file__).parent
ENGINE = "standin-engine"


class Machine:
    """A home of its own for tpdeploy, with the stand-in engine installed."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.packages = folder / "packages"
        info = self.packages / "standin-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: standin\nVersion: 1\n")
        points = "[tpdeploy.backends]\nstandin = standin_backend:StandinBackend\n"
        (info / "entry_points.txt").write_text(points)
        shutil.copy(HERE / "standin_backend.py", self.packages)
        self.install("standin-1", ENGINE)
        seem_downloaded(self.home / "hf", load_model("smollm2").id)

    def install(self, environment: str, program: str) -> None:
        target = self.home / "environments" / environment / "bin" / program
        target.parent.mkdir(parents=True)
        source = (HERE / "standin_engine.py").read_text()
        target.write_text(source.replace("/usr/bin/env python3", sys.executable, 1))
        target.chmod(0o755)
        (target.parent / "python").symlink_to(sys.executable)
        (target.parent.parent / MARKER).write_text("")

    def run(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tpdeploy", *args],
            env=self.environment(**env),
            capture_output=True,
            text=True,
            check=False,
        )

    def environment(self, **more: str) -> dict[str, str]:
        ours = {"TPDEPLOY_HOME": str(self.home), "PYTHONPATH": str(self.packages), "COLUMNS": "80"}
        ours |= {"HF_HOME": str(self.home / "hf"), "HF_HUB_OFFLINE": "1"}
        return {**os.environ, **ours, **more}

    def plan(self, replicas: int = 1, dtype: Dtype = Dtype.BF16) -> None:
        cluster = parse_gpus(f"{replicas}xCPU")
        inputs = PlanInputs(
            shape=served_shape(load_model("smollm2"), cluster.accelerator, dtype, None),
            cluster=cluster,
            workload=Workload(concurrency=replicas),
            engine=replace(VLLM, name="standin", memory_fraction=0.9),
            kv_cache_dtype=dtype,
            tensor=1,
            replicas=replicas,
        )
        text = dump_record(plan(inputs, search(inputs)))
        write_whole(self.home / "plan.yaml", text)

    def launch(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run(*launch_arguments("--detach", *args), **env)

    def launched(self, *args: str, **env: str) -> Deployment:
        done = self.launch("--json", *args, **env)
        assert done.returncode == 0, done.stderr
        return Deployment.model_validate_json(done.stdout)

    def status(self) -> Seen:
        (one,) = json.loads(self.run("status", "--json").stdout)["deployments"]
        return Seen.model_validate(one)


def launch_arguments(*more: str) -> list[str]:
    """A launch on a port of its own: a default one may be another test's as soon as it is freed."""
    (port,) = free_ports("127.0.0.1", 1)
    return ["launch", "--port", str(port), *more]


def eventually(holds: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait for something another process is about to do."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"it did not happen within {timeout_s:.0f} s"
        time.sleep(0.1)


def nothing_left(deployment: Deployment) -> bool:
    leaders = [m.leader for m in deployment.members if m.leader]
    supervised = deployment.supervisor is not None and is_alive(deployment.supervisor)
    ports = all(is_free("127.0.0.1", m.port) for m in deployment.members)
    return not supervised and ports and not any(members(leader) for leader in leaders)


def in_foreground(
    command: list[str], machine: Machine, stdout: int | None = None
) -> subprocess.Popen[bytes]:
    """Started as from a terminal: what runs in the background of a script ignores its signals."""
    return subprocess.Popen(
        command,
        env=machine.environment(),
        stdout=stdout,
        stderr=subprocess.PIPE,
        preexec_fn=_take_signals,  # noqa: PLW1509 - no threads
    )


def _take_signals() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
