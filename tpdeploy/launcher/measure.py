"""Runs the measuring program inside an engine's environment."""

import json
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tpdeploy import backends
from tpdeploy.backends.base import Backend, last_exception
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.launcher.environments import Environment
from tpdeploy.launcher.runtimes.base import Engine
from tpdeploy.launcher.runtimes.processes import reading
from tpdeploy.launcher.runtimes.registry import runtime_for
from tpdeploy.learning.calibrations import MeasuredMachine, Sample, shares_of
from tpdeploy.learning.roofline_fit import curves, fit_rates, read_rate
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.machine.cores import cores_in
from tpdeploy.profiles.machine.nvml import driver_version

PROGRAM = Path(backends.__file__).parent / "programs" / "measure.py"
# Lines it prints: in each pass kernels, on CPUs small ones and two products less; then all-reduces.
KERNEL_LINES, CPU_LINES, REDUCE_LINES = 45, 10, 7
GRACE_S = 5.0
# Of a quiet machine half of the repeats lie within a tenth of the median.
BUSY_SPREAD = 0.2

Line = dict[str, Any]


class Effort(NamedTuple):
    """How long each figure is measured, and how often."""

    seconds: float
    passes: int


USUAL, QUICK = Effort(0.25, 2), Effort(0.05, 1)


def environment_for(
    backend: Backend, cluster: Cluster, executable: Path | None, python: Path | None
) -> Environment:
    """The environment of `backend` on these devices, or the one that was named.

    Raises:
        InputError: it is not installed, or what was named is not a program.
    """
    engine = Engine(backend, cluster.accelerator.platform, executable, python)
    found = runtime_for(engine).environment(engine)
    if found is None:
        raise InputError(
            f"{backend.name} is not installed here; run: tpdeploy backends install {backend.name}"
        )
    return found


def lines_expected(cluster: Cluster, effort: Effort) -> int:
    """How many lines there will be for 1 or 2 devices; for more there are a few more."""
    kernels = KERNEL_LINES + (CPU_LINES if cluster.cpus else 0)
    return effort.passes * kernels + (REDUCE_LINES if cluster.per_machine > 1 else 0)


def measure(
    environment: Environment,
    cluster: Cluster,
    backend: Backend,
    effort: Effort,
    on_line: Callable[[Line], None],
) -> MeasuredMachine:
    """Measure every device of this machine; `on_line` gets each figure.

    Raises:
        TpdeployError: the program failed; the message holds its last error.
    """
    lines: list[Line] = []

    def keep(line: Line) -> None:
        lines.append(line)
        on_line(line)

    _run(environment, cluster, backend, effort, keep)
    identity = next((line for line in lines if line["kind"] == "device"), None)
    if identity is None:
        raise TpdeployError("measuring failed: the program ended without a word")
    return _machine(cluster, backend.name, identity, lines)


def _run(
    environment: Environment,
    cluster: Cluster,
    backend: Backend,
    effort: Effort,
    on_line: Callable[[Line], None],
) -> None:
    job = {
        "cpus": [cores_in(share) for share in cluster.cpus],
        "devices": [] if cluster.cpus else list(range(cluster.per_machine)),
        "distribution": backend.environment(cluster.accelerator.platform).distribution,
        **effort._asdict(),
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        argv = [str(environment.python), str(PROGRAM), json.dumps(job)]
        with reading(argv, errors, GRACE_S) as process:
            assert process.stdout is not None  # noqa: S101 - it was asked for as a pipe
            for line in process.stdout:
                if line.startswith('{"kind"'):
                    on_line(json.loads(line))
        if process.returncode:
            errors.seek(0)
            told = last_exception(errors.read().splitlines())
            raise TpdeployError(f"measuring failed: {told or f'exit code {process.returncode}'}")


def _machine(
    cluster: Cluster, engine: str, identity: Line, lines: Sequence[Line]
) -> MeasuredMachine:
    """The record of what the program printed."""
    now, name = datetime.now(UTC), str(identity["name"])
    versions = dict(identity["versions"])
    if not cluster.cpus:
        versions["driver"] = driver_version()
    samples = [_sample(line) for line in lines if line["kind"] not in {"device", "remark"}]
    told = {"source": f"tpdeploy calibrate on {name}", "date": now.date()}
    return MeasuredMachine(
        engine=engine,
        device=cluster.accelerator.name,
        hardware=name,
        shares=shares_of(cluster),
        fabric=cluster.fabric.name,
        versions=versions,
        measured_at=now,
        read_bytes_per_s=read_rate(samples),
        matmul=fit_rates(samples, "product"),
        small=fit_rates(samples, "small") if cluster.cpus else None,
        prefill_attention=fit_rates(samples, "prompt"),
        decode_attention=fit_rates(samples, "context"),
        curves=curves(samples, "this machine", told),
        remarks=_remarks(lines, samples),
        samples=tuple(samples),
    )


def _sample(line: Line) -> Sample:
    return Sample(operation=line["kind"], **{k: v for k, v in line.items() if k != "kind"})


def _remarks(lines: Sequence[Line], samples: Sequence[Sample]) -> tuple[str, ...]:
    """What the program says, each once, and whether it was alone on the machine."""
    said = dict.fromkeys(str(line["text"]) for line in lines if line["kind"] == "remark")
    spread = median(sample.spread for sample in samples)
    if spread <= BUSY_SPREAD:
        return tuple(said)
    return *said, f"Repeats lie {spread:.0%} apart: the machine was busy; measure again"
