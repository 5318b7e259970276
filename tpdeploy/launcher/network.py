"""Measures all-reduces between machines, wherever a runtime runs programs of an engine's."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tpdeploy import backends
from tpdeploy.backends.base import Command, last_exception
from tpdeploy.errors import InputError, TpdeployError, one_line
from tpdeploy.files import make_private
from tpdeploy.launcher.environments import environment_of_executable
from tpdeploy.launcher.runtimes.base import Engine, Parts, Rendered, Replica, Runtime
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.registry import runtime_for
from tpdeploy.learning.network_fit import network_of
from tpdeploy.planner.plan import Placement
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.devices.networks import MeasuredNetwork, Reduction, folder

PROGRAM = Path(backends.__file__).parent / "programs" / "network.py"
PYTHON = "python"
# PyTorch for ROCm calls RCCL nccl, and its devices cuda.
MEASURED = ("cuda", "rocm", "cpu")
# Bytes of messages: 1 KiB to 256 MiB between GPUs; CPUs take seconds for what is larger.
GPU_SIZES = tuple(4**n for n in range(5, 15))
CPU_SIZES = tuple(4**n for n in range(5, 13))
REPEATS, QUICK_REPEATS = 15, 5
POLL_S = 0.5
# Without a line, after which it has failed. The longest figure is that of eight GPUs over one slow
# adapter: 17 times 8 x 256 MiB at 1 Gbit/s take five minutes.
SILENCE_S = 900.0
# A shared file system may show the last lines later than the scheduler the end.
LATE_S = 5.0
GRACE_S = 5.0
MISSING = re.compile(rf"ModuleNotFoundError: |\w+: failed to execute {PYTHON}")

Line = dict[str, Any]


@dataclass(frozen=True)
class Machines:
    """What is measured: equal machines, `each` ranks on every one, and what to call it."""

    engine: Engine
    device: str
    count: int
    each: int
    name: str

    @property
    def place(self) -> Placement:
        """A rank on every device."""
        devices = tuple(range(self.each)) * self.count
        nodes = tuple(node for node in range(self.count) for _ in range(self.each))
        return Placement(replica=0, devices=devices, nodes=nodes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of the messages."""
        return CPU_SIZES if self.engine.platform == "cpu" else GPU_SIZES

    @property
    def lines(self) -> int:
        """How many lines there will be."""
        return len(self.sizes) * (3 if self.each > 1 else 1)

    @property
    def log(self) -> Path:
        """What the program writes."""
        return folder() / self.name / "logs" / "replica-0.log"


def machines_of(engine: Engine, cluster: Cluster, wanted: int | None, name: str) -> Machines:
    """What is to be measured, checked as far as that can be before anything starts.

    Each machine has what one of `cluster` has; `wanted` is how many, None: those named.

    Raises:
        InputError: it cannot be measured so; the message says what would work.
    """
    if engine.backend.joined_by_mpi:
        raise InputError(
            f"{engine.backend.name} joins machines by MPI; measure with --backend vllm"
        )
    if engine.platform not in MEASURED:
        raise InputError(f"--on: measured between {', '.join(MEASURED)}, not {engine.platform}")
    if engine.executable:  # its Python is what runs
        python = environment_of_executable(engine.executable).python
        engine = replace(engine, executable=None, python=python)
    each = cluster.per_machine
    gpus = 0 if engine.platform == "cpu" else each
    count = runtime_for(engine).machines(engine, PYTHON, gpus, wanted)
    if count < 2:
        raise InputError(f"--on {engine.on}: one machine; name two or more to measure between")
    return Machines(engine, cluster.accelerator.name, count, each, name)


def measure(
    machines: Machines,
    repeats: int,
    on_line: Callable[[Line], None],
    on_wait: Callable[[str], None],
) -> MeasuredNetwork:
    """Measure between them; `on_line` gets each figure, `on_wait` what has to be waited for.

    Whatever happens, nothing of it is left running on them.

    Raises:
        TpdeployError: it failed; the message holds the program's last error and its log.
    """
    runtime = runtime_for(machines.engine)
    rendered = _rendered(runtime, machines, repeats)
    make_private(machines.log.parent)
    machines.log.unlink(missing_ok=True)
    lines: list[Line] = []
    member = runtime.start(rendered, {}, machines.log)
    try:
        for line in _lines(runtime, member, machines.log, on_wait):
            lines.append(line)
            on_line(line)
    finally:
        runtime.stop([member], GRACE_S)
    return _record(machines, runtime.name, lines)


def _rendered(runtime: Runtime, machines: Machines, repeats: int) -> Rendered:
    """What starts the program on every machine."""
    engine = machines.engine
    replica = Replica(machines.place, engine, folder() / machines.name / "replica-0")
    site = runtime.site(replica)
    job = {
        "machines": machines.count,
        "each": machines.each,
        "on": "cpu" if engine.platform == "cpu" else "cuda",
        "sizes": machines.sizes,
        "repeats": repeats,
        "distribution": engine.backend.environment(engine.platform).distribution,
    }
    where = ("--rank", site.rank, "--head", site.head, "--port", site.port)
    program = f"{site.folder}/{PROGRAM.name}"
    command = Command(
        (PYTHON, program, *where, json.dumps(job)),
        files={PROGRAM.name: PROGRAM.read_text(encoding="utf-8")},
    )
    member = Member(label="replica-0", runtime=runtime.name, host=site.host, port=0)
    return runtime.render(replica, member, Parts(command, command))


def _lines(
    runtime: Runtime, member: Member, log: Path, on_wait: Callable[[str], None]
) -> Iterator[Line]:
    """The program's lines, as they come, up to its last one.

    Raises:
        TpdeployError: it has ended before, or says nothing any more.
    """
    read, heard = 0, time.monotonic()
    ended: float | None = None
    while ended is None or time.monotonic() < ended + LATE_S:
        seen = runtime.observe(member)
        if seen.waits:
            on_wait(seen.waits)
            heard = time.monotonic()
        if not seen.runs and ended is None:
            ended = time.monotonic()
        told = _told(log)
        for line in told[read:]:
            heard = time.monotonic()
            if line["kind"] == "done":
                return
            yield line
        read = len(told)
        if ended is None and time.monotonic() > heard + SILENCE_S:
            raise _failure(log, f"it said nothing for {SILENCE_S:.0f} s")
        time.sleep(POLL_S)
    raise _failure(log, f"it {seen.end}" if seen.end else "it ended")


def _told(log: Path) -> list[Line]:
    """The whole lines of the program in the log by now, without those that others wrote into."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    found: list[Line] = []
    for line in text[: text.rfind("\n") + 1].splitlines():
        if line.startswith('{"kind"'):
            with suppress(ValueError):
                found.append(json.loads(line))
    return found


def _last_error(log: Path) -> str:
    """What the log says last of why it failed, in one line."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    said = [line for line in lines if line.strip() and not line.startswith("{")]
    missing = next((line for line in said if MISSING.match(line)), None)
    return one_line(missing or last_exception(said) or (said[-1] if said else ""))


def _failure(log: Path, otherwise: str) -> TpdeployError:
    error = _last_error(log) or otherwise
    if MISSING.match(error):
        error += "; the engine is not installed on every machine: tpdeploy backends install"
    return TpdeployError(f"measuring failed: {error}; see {log}")


def _record(machines: Machines, runtime: str, lines: list[Line]) -> MeasuredNetwork:
    """The record of what the program printed.

    Raises:
        TpdeployError: that is not what it prints.
    """
    now = datetime.now(UTC)
    try:
        told = next(line for line in lines if line["kind"] == "machines")
        samples = tuple(
            Reduction.model_validate({name: line[name] for name in Reduction.model_fields})
            for line in lines
            if line["kind"] == "all-reduce"
        )
        by = f"measured by tpdeploy calibrate --on {runtime} {now:%Y-%m-%d}"
        versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
        hardware = " and ".join(told["hardware"])
        over = f"{machines.count} machines ({', '.join(told['hosts'])})"
        description = f"{by} on {over}, {samples[0].kernel}"
        source = f"{description}: {machines.each} x {hardware} each, {versions}"
        network = network_of(
            machines.name,
            description,
            samples,
            machines.device,
            {"source": source, "date": now.date()},
        )
        return MeasuredNetwork(
            network=network,
            runtime=runtime,
            device=machines.device,
            hardware=told["hardware"],
            hosts=told["hosts"],
            devices_each=machines.each,
            versions=told["versions"],
            measured_at=now,
            samples=samples,
        )
    except (StopIteration, IndexError, KeyError, ValidationError) as error:
        raise TpdeployError(f"measuring failed: it printed other than figures: {error}") from error
