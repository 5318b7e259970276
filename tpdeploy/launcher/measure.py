"""Runs the measuring program inside an engine's environment."""

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tpdeploy import backends
from tpdeploy.backends.base import Backend, last_exception
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.launcher.environments import (
    Environment,
    environment_of_executable,
    environment_of_python,
    find_environment,
)
from tpdeploy.launcher.processes import end_sessions, inherited, leader_of
from tpdeploy.profiles.cluster import Cluster

PROGRAM = Path(backends.__file__).parent / "programs" / "measure.py"
# Lines it prints: what the device is, kernels of so many shapes, and all-reduces of as many sizes.
KERNEL_LINES, REDUCE_LINES = 58, 7
GRACE_S = 5.0

Line = dict[str, Any]


def environment_for(
    backend: Backend, cluster: Cluster, executable: Path | None, python: Path | None
) -> Environment:
    """The environment of `backend` on these devices, or the one that was named.

    Raises:
        InputError: it is not installed, or what was named is not a program.
    """
    if executable:
        return environment_of_executable(executable)
    if python:
        return environment_of_python(python)
    found = find_environment(backend.environment(cluster.accelerator.platform))
    if found is None:
        raise InputError(
            f"{backend.name} is not installed here; run: tpdeploy backends install {backend.name}"
        )
    return found


def lines_expected(devices: int) -> int:
    """How many lines there will be for 1 or 2 devices; for more there are a few more."""
    return KERNEL_LINES + (REDUCE_LINES if devices > 1 else 0)


def measure(
    environment: Environment,
    cluster: Cluster,
    distribution: str,
    seconds: float,
    on_line: Callable[[Line], None],
) -> None:
    """Measure every device of this machine, `seconds` for each figure; `on_line` gets each.

    `distribution` is the package whose version is told.

    Raises:
        TpdeployError: the program failed; the message holds its last error.
    """
    devices = [] if cluster.cpus else list(range(cluster.per_node))
    job = {
        "cpus": list(cluster.cpus),
        "devices": devices,
        "distribution": distribution,
        "seconds": seconds,
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [str(environment.python), str(PROGRAM), json.dumps(job)],
            env=inherited(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        leader = leader_of(process.pid)
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for as a pipe
            for line in process.stdout:
                if line.startswith('{"kind"'):
                    on_line(json.loads(line))
            process.wait()
        finally:
            end_sessions(leader, grace_s=GRACE_S)
        if process.returncode:
            errors.seek(0)
            told = last_exception(errors.read().splitlines())
            raise TpdeployError(f"measuring failed: {told or f'exit code {process.returncode}'}")
