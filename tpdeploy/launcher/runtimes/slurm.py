"""Replicas as jobs of Slurm: `--on slurm`, from a machine that shares a file system with its nodes.

Every replica is a task of the same array, submitted by itself, so that one that has ended can be
started again. Slurm chooses nodes and devices.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tpdeploy.backends.base import Site
from tpdeploy.errors import InputError, TpdeployError, one_line, shown
from tpdeploy.files import make_private, write_whole
from tpdeploy.launcher.environments import Environment
from tpdeploy.launcher.offers import Offer, counted
from tpdeploy.launcher.runtimes import script
from tpdeploy.launcher.runtimes.base import Engine, Observed, Parts, Rendered, Replica, Runtime
from tpdeploy.launcher.runtimes.local import environment_named
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.ports import is_connected_to
from tpdeploy.launcher.runtimes.script import quoted
from tpdeploy.planner.plan import DeploymentPlan, Placement
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.devices.catalog import find_accelerator

ADDRESS, HEAD, PORT, MEETING_PORT, RANK = map(
    script.late, ("ADDRESS", "HEAD", "PORT", "MEETING_PORT", "SLURM_NODEID")
)
# Two of each job's own: where its server listens, and where its machines meet.
FIRST_PORT, PORTS = 20000, 5000
# Between two questions to the controller, which serves a whole cluster.
LOOK_EVERY_S = 2.0
COMMAND_TIMEOUT_S = 30.0
# What Slurm gives tasks between SIGTERM and SIGKILL (KillWait), and what it needs besides.
STOP_TIMEOUT_S = 90.0
# States of a job that is still to run, and of one that does (squeue(1), JOB STATE CODES).
WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "RESV_DEL_HOLD"})
RUNNING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"})
_STATES = {
    "CANCELLED": "was cancelled",
    "COMPLETED": "ended",
    "FAILED": "failed",
    "NODE_FAIL": "lost its node",
    "OUT_OF_MEMORY": "ran out of memory",
    "PREEMPTED": "was preempted",
    "TIMEOUT": "reached its time limit",
}
# Options of sbatch that the plan and the deployment have.
OURS = frozenset(
    {"array", "job-name", "nodes", "ntasks", "ntasks-per-node", "gres", "gpus", "output", "error"}
    | {"gpus-per-node", "gpus-per-task", "open-mode", "wrap", "parsable", "wait", "export"}
)
# States of a node that takes no jobs now, in short (sinfo(1), NODE STATE CODES).
AWAY = frozenset({"down", "drain", "drng", "fail", "failg", "inval", "maint", "unk", "no_resp"})
GPUS = re.compile(r"gpu(?::(?P<type>[^:,(]*[^:,(\d][^:,(]*))?:(?P<count>\d+)")
FIELDS_OF_NODE = 3
FIELDS = ("JobID", "State", "Reason", "BatchHost", "exit_code")
MEET = f"""\
export PORT=$(({FIRST_PORT} + 2 * (SLURM_JOB_ID % {PORTS})))
export MEETING_PORT=$((PORT + 1))
export FIRST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
"""
# A node's own name may stand for its loopback there: then its first address.
HERE = """\
ADDRESS=$(address_of "$SLURMD_NODENAME")
ADDRESS=${ADDRESS:-$(hostname -I | cut -d ' ' -f 1)}
HEAD=$ADDRESS
[ "$SLURM_NODEID" = 0 ] || HEAD=$(address_of "$FIRST")
"""


@dataclass(frozen=True)
class Job:
    """What the controller says of a job."""

    number: int
    state: str
    reason: str
    node: str  # of its batch script and rank 0
    code: str

    @property
    def port(self) -> int:
        """Where its server listens: as its script reckons it."""
        return FIRST_PORT + 2 * (self.number % PORTS)

    @property
    def end(self) -> str:
        """How it ended, in a few words."""
        return f"{_STATES.get(self.state, self.state)}{self._because}"

    @property
    def wait(self) -> str:
        """For what it waits."""
        return f"in Slurm's queue{self._because}"

    @property
    def _because(self) -> str:
        return f": {self.reason}" if self.reason != "None" else ""


class Slurm(Runtime):
    """Submits a job a replica, and asks the controller about all of them at once."""

    name: ClassVar[str] = "slurm"
    here: ClassVar[bool] = False

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.looked_at = -LOOK_EVERY_S

    def offers(self, where: str) -> list[Offer]:
        """The nodes of a partition, or of all; their devices by the types of their gres."""
        asked = ["sinfo", "--Node", "--noheader", "--format=%N|%G|%t"]
        done = _told([*asked, *([f"--partition={where}"] if where else [])])
        if done.returncode:
            raise TpdeployError(f"sinfo: {one_line(_last(done.stderr))}")
        rows = {line.strip() for line in done.stdout.splitlines()}
        nodes = [row.split("|") for row in sorted(rows) if row.count("|") == FIELDS_OF_NODE - 1]
        return counted(
            (found.name, gpu["type"], int(gpu["count"]))
            for _, gres, state in nodes
            if state.rstrip("*~#!%$@+-") not in AWAY
            for gpu in GPUS.finditer(gres)
            for found in [_device(gpu["type"] or "", where)]
        )

    def check_plan(self, plan: DeploymentPlan, engine: Engine) -> None:
        """Any plan: a replica takes as many nodes as it has machines."""
        for option in _asked(engine):
            name = option.partition("=")[0]
            if name in OURS:
                raise InputError(f"--sbatch {option}: the plan says that; plan again instead")

    def check(self, plan: DeploymentPlan, engine: Engine) -> None:
        """The controller would take the job of every replica."""
        if not shutil.which("sbatch"):
            raise InputError("--on slurm: sbatch is not here; run this on a login node")
        place = plan.placement[0]
        asked = [f"--{option}" for option in (*_resources(engine, place), *_asked(engine))]
        done = _told(["sbatch", "--test-only", *asked, "--wrap", "true"])
        if done.returncode:
            raise InputError(f"Slurm refuses the job: {one_line(_last(done.stderr))}")

    def environment(self, engine: Engine) -> Environment | None:
        """That of this machine, which shares its files with the nodes."""
        return environment_named(engine)

    def site(self, replica: Replica) -> Site:
        """All of it is known in the job alone."""
        spare = (MEETING_PORT,) * replica.engine.backend.spare_ports
        return Site(
            host=ADDRESS,
            port=PORT,
            folder=replica.folder,
            spare_ports=spare,
            cpus=("nobind",),
            address=ADDRESS,
            head=HEAD,
            rank=RANK,
        )

    def render(self, replica: Replica, member: Member, parts: Parts) -> Rendered:
        """A script for sbatch, which a person could submit as well."""
        path = replica.folder / "job.sh"
        files = {replica.folder / name: text for name, text in parts.leader.files.items()}
        files[path] = job_script(replica, parts)
        return Rendered(member, ("sbatch", "--parsable", str(path)), {}, files)

    def start(self, rendered: Rendered, keys: Mapping[str, str], log: Path) -> Member:
        """Submit it; keys are in the environment of sbatch, which the job inherits."""
        make_private(log.parent)
        for path, text in rendered.files.items():
            write_whole(path, text)
        done = _told(rendered.argv, keys)
        number = done.stdout.partition(";")[0].strip()
        if done.returncode or not number.isdecimal():
            raise TpdeployError(f"sbatch: {one_line(_last(done.stderr)) or 'no job number'}")
        self.looked_at = -LOOK_EVERY_S
        return rendered.member.model_copy(update={"reference": number})

    def observe(self, member: Member) -> Observed:
        """As the controller has it; a job that it has forgotten has ended."""
        job = self._job(member)
        if job is None:
            return Observed(runs=False, end="has left Slurm's queue")
        if job.state in WAITING:
            return Observed(runs=True, waits=job.wait)
        return Observed(runs=job.state in RUNNING, end=job.end)

    def listens(self, member: Member) -> bool:
        """Whoever answers there is taken; others on that node have not our key."""
        return True

    def address(self, member: Member) -> str:
        """At the node of its batch script."""
        job = self._job(member)
        return f"http://{job.node}:{job.port}" if job and job.node else "http://waiting.invalid"

    def is_busy(self, member: Member) -> bool:
        """Whether the front has a connection to it."""
        job = self._job(member)
        return job is not None and job.node != "" and is_connected_to(job.node, job.port)

    def left(self, members: Sequence[Member]) -> bool:
        """Whether a job of theirs is in the queue."""
        return any(self.observe(member).runs for member in members if member.reference)

    def stop(self, members: Sequence[Member], grace_s: float) -> None:
        """Cancel their jobs; Slurm ends the tasks in its own time."""
        begun = [member for member in members if member.reference]
        if not self.left(begun):
            return
        _told(["scancel", *(member.reference for member in begun)])
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            self.looked_at = -LOOK_EVERY_S
            if not self.left(begun):
                return
            time.sleep(LOOK_EVERY_S / 4)
        numbers = ", ".join(member.reference for member in begun)
        raise TpdeployError(f"job(s) {numbers} are still in Slurm's queue; see: squeue --me")

    def _job(self, member: Member) -> Job | None:
        if not member.reference:
            return None
        if time.monotonic() > self.looked_at + LOOK_EVERY_S:
            # The controller may be away for a while: what it said last holds until then.
            with suppress(TpdeployError):
                self.jobs = {job.number: job for job in _queue()}
            self.looked_at = time.monotonic()
        return self.jobs.get(int(member.reference))


def job_script(replica: Replica, parts: Parts) -> str:
    """The batch script of one replica."""
    place, engine = replica.place, replica.engine
    deployment = replica.folder.parent
    header = [
        "#!/bin/bash",
        f"#SBATCH --job-name=tpdeploy-{deployment.name}",
        f"#SBATCH --array={place.replica}",
        *(f"#SBATCH --{option}" for option in (*_resources(engine, place), *_asked(engine))),
        f"#SBATCH --output={deployment / 'logs'}/replica-%a.log",
        "#SBATCH --open-mode=append",
    ]
    own = environment_named(engine)
    path = f"export PATH={quoted(str(own.executables))}:$PATH\n" if own else ""
    mpi = len(place.machines) > 1 and engine.backend.joined_by_mpi
    step = f"srun --kill-on-bad-exit=1{' --mpi=pmix' if mpi else ''} bash -s <<'PART'\n"
    body = (
        script.ADDRESS_OF,
        HERE,
        script.INTERFACE,
        script.exported(parts.leader.env),
        script.chosen(script.named(engine, parts), RANK),
        script.START,
        script.WAIT,
    )
    return "\n".join(header) + "\n" + path + MEET + step + "".join(body) + "PART\n"


def _device(kind: str, where: str) -> Accelerator:
    """The accelerator that a type of gres stands for; NVML's names are written with underscores.

    Raises:
        InputError: none does.
    """
    if kind:
        with suppress(InputError):
            return find_accelerator(kind)
        with suppress(InputError):
            return find_accelerator(kind.replace("_", " "))
    raise InputError(
        f"--gpus slurm{':' if where else ''}{where}: its GPUs have "
        f"{f'the type {shown(kind)}' if kind else 'no type'}; name them, as 2x8xH100"
    )


def _resources(engine: Engine, place: Placement) -> list[str]:
    """What a replica needs of every node, as options of sbatch without their dashes."""
    nodes = len(place.machines)
    here = len(place.devices) // nodes
    mpi = nodes > 1 and engine.backend.joined_by_mpi
    options = [f"nodes={nodes}", f"ntasks-per-node={here if mpi else 1}"]
    if engine.platform != "cpu":
        options.append(f"gres=gpu:{here}")
    return options


def _asked(engine: Engine) -> list[str]:
    """What the user wants of sbatch besides, without dashes."""
    return [option.removeprefix("--") for option in engine.options]


def _queue() -> list[Job]:
    """Every job of this user that the controller remembers."""
    fields = ",".join(f"{field}:|" for field in FIELDS)
    done = _told(["squeue", "--me", "--states=all", "--noheader", "--Format", fields])
    if done.returncode:
        raise TpdeployError(f"squeue: {one_line(_last(done.stderr))}")
    rows = [line.split("|") for line in done.stdout.splitlines() if line.count("|") >= len(FIELDS)]
    return [
        Job(int(number), state, reason, "" if node == "n/a" else node, code)
        for number, state, reason, node, code, *_ in rows
        if number.isdecimal()
    ]


def _told(
    argv: Sequence[str], variables: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """What a command of Slurm says.

    Raises:
        TpdeployError: it is not here, or gives no answer.
    """
    try:
        return subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
            env={**os.environ, **(variables or {})},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TpdeployError(f"{argv[0]}: {error}") from error


def _last(text: str) -> str:
    """The line that says what was wrong: Slurm says more in the lines before."""
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in text.splitlines()]
    return lines[-1] if lines else ""
