"""Replicas as jobs of Slurm: `--on slurm`, from a machine that shares a file system with its nodes.

Every replica is a task of the same array, submitted by itself, so that one that has ended can be
started again. Slurm chooses nodes and devices.
"""

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from threading import Lock
from typing import ClassVar

from tpdeploy.backends.base import Site
from tpdeploy.errors import InputError, TpdeployError, one_line
from tpdeploy.files import make_private, write_whole
from tpdeploy.launcher.environments import Environment
from tpdeploy.launcher.offers import Offer
from tpdeploy.launcher.runtimes.base import Engine, Observed, Parts, Rendered, Replica, Runtime
from tpdeploy.launcher.runtimes.local import check_installed, environment_named
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.ports import is_connected_to
from tpdeploy.launcher.runtimes.slurm_job import (
    ADDRESS,
    HEAD,
    MEETING_PORT,
    PORT,
    RANK,
    asked,
    check_options,
    job_script,
    resources,
)
from tpdeploy.launcher.runtimes.slurm_nodes import offers_of
from tpdeploy.launcher.runtimes.slurm_queue import (
    RUNNING,
    WAITING,
    Job,
    answered,
    last_line,
    queue,
)
from tpdeploy.planner.plan import DeploymentPlan

# Between two questions to the controller, which serves a whole cluster.
LOOK_EVERY_S = 2.0
# What Slurm gives tasks between SIGTERM and SIGKILL (KillWait), and what it needs besides.
STOP_TIMEOUT_S = 90.0


class Slurm(Runtime):
    """Submits one job per replica, and asks the controller about all of them at once."""

    name: ClassVar[str] = "slurm"
    here: ClassVar[bool] = False

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.submitted: dict[int, float] = {}
        self.answered_at = -inf
        self.looking = Lock()
        self.looked_at = -LOOK_EVERY_S

    def offers(self, where: str) -> list[Offer]:
        """The nodes of a partition, or of all."""
        return offers_of(where)

    def check_plan(self, plan: DeploymentPlan, engine: Engine) -> None:
        """Any plan: a replica takes as many nodes as it has machines."""
        check_options(engine)

    def check(self, plan: DeploymentPlan, engine: Engine) -> None:
        """The controller would take the job of every replica."""
        _check_commands()
        if not engine.image:
            check_installed(engine)
        place = plan.placement[0]
        options = [f"--{option}" for option in (*resources(engine, place), *asked(engine))]
        done = answered(["sbatch", "--test-only", *options, "--wrap", "true"])
        if done.returncode:
            raise InputError(f"Slurm refuses the job: {one_line(last_line(done.stderr))}")

    def environment(self, engine: Engine) -> Environment | None:
        """That of this machine, which shares its files with the nodes."""
        return None if engine.image else environment_named(engine)

    def machines(self, engine: Engine, program: str, devices: int, wanted: int | None) -> int:
        """As many as are asked for; whether Slurm has them it says when the job is submitted."""
        _check_commands()
        check_options(engine)
        check_installed(engine)
        return wanted or 2

    def client(self, engine: Engine) -> tuple[str, ...]:
        """A job of one task, with the site's options, by the Python that runs this."""
        options = ("job-name=tpdeploy-client", "nodes=1", "ntasks=1", *asked(engine))
        program = (sys.executable, "-m", "tpdeploy", "client")
        return ("srun", *(f"--{option}" for option in options), *program)

    def site(self, replica: Replica) -> Site:
        """Ports and devices are known only once the job runs."""
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
        done = answered(rendered.argv, keys)
        number = done.stdout.partition(";")[0].strip()
        if done.returncode or not number.isdecimal():
            raise TpdeployError(f"sbatch: {one_line(last_line(done.stderr)) or 'no job number'}")
        self.looked_at = -LOOK_EVERY_S
        self.submitted[int(number)] = time.monotonic()
        return rendered.member.changed(reference=number)

    def observe(self, member: Member) -> Observed:
        """As the controller has it; a job that it has forgotten has ended.

        While it does not answer, jobs are taken to be as they were: stopped ones too.
        """
        job, was_stopped = self._job(member), member.phase == "stopped"
        if job is None and member.reference and not was_stopped and not self._would_know(member):
            return Observed(runs=True, waits="the answer of Slurm's controller")
        if job is None:
            return Observed(runs=False, end="has left Slurm's queue")
        if job.state in WAITING:
            return Observed(runs=True, waits=job.wait)
        return Observed(runs=job.state in RUNNING, end=job.end)

    def listens(self, member: Member) -> bool:
        """Whether it answers: no other process on that node has our key."""
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
        answered(["scancel", *(member.reference for member in begun)])
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            self.looked_at = -LOOK_EVERY_S
            if not self.left(begun):
                return
            time.sleep(LOOK_EVERY_S / 4)
        numbers = ", ".join(member.reference for member in begun)
        raise TpdeployError(f"job(s) {numbers} are still in Slurm's queue; see: squeue --me")

    def _would_know(self, member: Member) -> bool:
        """Whether the controller has answered since that job was submitted."""
        return self.answered_at > self.submitted.get(int(member.reference), -inf)

    def _job(self, member: Member) -> Job | None:
        if not member.reference:
            return None
        with self.looking:
            if time.monotonic() > self.looked_at + LOOK_EVERY_S:
                begun = time.monotonic()
                with suppress(TpdeployError):
                    self.jobs = {job.number: job for job in queue()}
                    self.answered_at = begun
                self.looked_at = time.monotonic()
        return self.jobs.get(int(member.reference))


def _check_commands() -> None:
    """Return if Slurm's commands are here.

    Raises:
        InputError: they are not.
    """
    if not shutil.which("sbatch"):
        raise InputError("--on slurm: sbatch is not here; run this on a login node")
