"""What Slurm's controller says of jobs."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tpdeploy.errors import TpdeployError, one_line
from tpdeploy.launcher.runtimes import processes
from tpdeploy.launcher.told import told

COMMAND_TIMEOUT_S = 30.0
# Two ports of each job's own: where its server listens, and where its machines meet.
FIRST_PORT, PORTS = 20000, 5000
# States of a job that is still to run, and of one that does (squeue(1), JOB STATE CODES).
WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "RESV_DEL_HOLD"})
RUNNING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"})
_STATES = {
    "CANCELLED": "was cancelled",
    "NODE_FAIL": "lost its node",
    "OUT_OF_MEMORY": "ran out of memory",
    "PREEMPTED": "was preempted",
    "TIMEOUT": "reached its time limit",
}
_FIELDS = ("JobID", "State", "Reason", "BatchHost", "exit_code")


@dataclass(frozen=True)
class Job:
    """What the controller says of a job."""

    number: int
    state: str
    reason: str
    node: str  # of its batch script and rank 0
    status: int  # of its batch script, as wait(2) has it

    @property
    def port(self) -> int:
        """Where its server listens: as its script reckons it."""
        return FIRST_PORT + 2 * (self.number % PORTS)

    @property
    def end(self) -> str:
        """How it ended, in a few words."""
        if self.state in {"COMPLETED", "FAILED"}:
            return processes.ended(os.waitstatus_to_exitcode(self.status))
        return f"{_STATES.get(self.state, self.state)}{self._because}"

    @property
    def wait(self) -> str:
        """For what it waits."""
        return f"in Slurm's queue{self._because}"

    @property
    def _because(self) -> str:
        return f": {self.reason}" if self.reason != "None" else ""


def queue() -> list[Job]:
    """Every job of this user that the controller remembers."""
    fields = ",".join(f"{field}:|" for field in _FIELDS)
    done = answered(["squeue", "--me", "--states=all", "--noheader", "--Format", fields])
    if done.returncode:
        raise TpdeployError(f"squeue: {one_line(last_line(done.stderr))}")
    rows = [line.split("|") for line in done.stdout.splitlines() if line.count("|") >= len(_FIELDS)]
    return [
        Job(int(number), state, reason, "" if node == "n/a" else node, int(status))
        for number, state, reason, node, status, *_ in rows
        if number.isdecimal() and status.isdecimal()
    ]


def answered(
    argv: Sequence[str], variables: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """What a command of Slurm says.

    Raises:
        TpdeployError: it is not here, or gives no answer.
    """
    return told(argv, COMMAND_TIMEOUT_S, variables=variables)


def last_line(text: str) -> str:
    """The line that says what was wrong: Slurm says more in the lines before."""
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in text.splitlines()]
    return lines[-1] if lines else ""
