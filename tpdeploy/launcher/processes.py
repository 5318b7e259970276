"""Processes that are ended whole: each engine leads a session of its own."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from pydantic import Field

from tpdeploy.errors import TpdeployError
from tpdeploy.profiles.record import Record

# Set by schedulers and other launchers; an engine would take them for its own.
FOREIGN_VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
POLL_S = 0.1
# Clocks of the process table are this coarse.
CLOCK_SLACK_S = 1.0


class Leader(Record):
    """The first process of a session; its start time tells it from a later one of its number."""

    pid: int = Field(gt=0)
    created: float = Field(gt=0, description="seconds since the epoch")


def leader_of(pid: int) -> Leader:
    """The process `pid`, told apart from later ones of its number."""
    return Leader(pid=pid, created=psutil.Process(pid).create_time())


def start(
    argv: Sequence[str], env: Mapping[str, str], log: Path
) -> tuple[subprocess.Popen[bytes], Leader]:
    """Start `argv` as the leader of a new session, its output appended to `log`.

    Raises:
        TpdeployError: the program cannot be started.
    """
    inherited = {k: v for k, v in os.environ.items() if k not in FOREIGN_VARIABLES}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                list(argv),
                env={**inherited, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise TpdeployError(f"cannot start {argv[0]}: {error.strerror}") from error
    return process, leader_of(process.pid)


def is_alive(leader: Leader) -> bool:
    """Whether that very process still runs."""
    try:
        process = psutil.Process(leader.pid)
        return _same(process, leader) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def members(leader: Leader) -> list[psutil.Process]:
    """The living processes of `leader`'s session, also after the leader itself has died."""
    found = []
    for process in psutil.process_iter():
        try:
            in_session = os.getsid(process.pid) == leader.pid
            ours = process.create_time() >= leader.created - CLOCK_SLACK_S
            if in_session and ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, ProcessLookupError, PermissionError):
            continue
    return found


def end_session(leader: Leader, grace_s: float) -> None:
    """End every process of the session: ask, wait up to `grace_s`, then kill.

    Engines ignore SIGTERM while they start, and leave workers behind when they are killed.
    """
    _signal(members(leader), signal.SIGTERM)
    if _gone_within(leader, grace_s):
        return
    # A process may still start another while it is being killed.
    deadline = time.monotonic() + 10
    while (left := members(leader)) and time.monotonic() < deadline:
        _signal(left, signal.SIGKILL)
        time.sleep(POLL_S)
    if left:
        names = ", ".join(str(process.pid) for process in left)
        raise TpdeployError(f"processes {names} of session {leader.pid} cannot be ended")


def _gone_within(leader: Leader, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while members(leader):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _same(process: psutil.Process, leader: Leader) -> bool:
    return abs(process.create_time() - leader.created) < CLOCK_SLACK_S
