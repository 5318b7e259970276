"""Processes that are ended whole: each engine leads a session of its own."""

import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import Popen
from typing import IO

import psutil
from pydantic import Field

from tpdeploy.errors import TpdeployError
from tpdeploy.files import append_privately, make_private
from tpdeploy.profiles.record import Record

# Set by schedulers and other launchers; an engine would take them for its own.
FOREIGN_VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
POLL_S = 0.1
KILL_TIMEOUT_S = 10.0
LAST_THREADS_S = 2.0
PROC = Path("/proc")
BOOT_ID = PROC / "sys" / "kernel" / "random" / "boot_id"
# Of /proc/PID/stat, counted from after the name, which may hold anything (proc_pid_stat(5)).
START_FIELD = 19
# What shells add to the number of a signal.
SIGNALLED = 128
# What the kernel does when memory runs out, and others by hand.
CAUSES = {signal.SIGKILL: "out of memory? see dmesg", signal.SIGBUS: "is /dev/shm full?"}


class Leader(Record):
    """The first process of a session, told from later ones of its number by when it started.

    That is counted by the kernel, from a boot that has a name: no clock that is set changes it.
    """

    pid: int = Field(gt=0, lt=2**31)
    ticks: int = Field(ge=0, lt=2**63, description="from the boot to the start of the process")
    boot: str = Field(max_length=64, description="the name of that boot")


def leader_of(pid: int) -> Leader:
    """The process `pid`, told apart from later ones of its number.

    Raises:
        psutil.NoSuchProcess: it has ended, and has been waited for.
    """
    ticks = _ticks(pid)
    if ticks is None:
        raise psutil.NoSuchProcess(pid)
    return Leader(pid=pid, ticks=ticks, boot=_boot())


def this_process() -> Leader:
    """The process that asks."""
    return leader_of(os.getpid())


def inherited() -> dict[str, str]:
    """This process's environment without what others' launchers have put there."""
    return {k: v for k, v in os.environ.items() if k not in FOREIGN_VARIABLES}


def start(
    argv: Sequence[str], env: Mapping[str, str], log: Path, keep: Sequence[int] = ()
) -> tuple[Popen[bytes], Leader]:
    """Start `argv` as the leader of a new session, its output appended to `log`.

    It inherits the open files `keep`, by their numbers.

    Raises:
        TpdeployError: the program cannot be started.
    """
    make_private(log.parent)
    with append_privately(log) as output:
        try:
            process = Popen(
                list(argv),
                env={**inherited(), **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=keep,
            )
        except OSError as error:
            raise TpdeployError(f"cannot start {argv[0]}: {error.strerror}") from error
    return process, leader_of(process.pid)


@contextmanager
def reading(
    argv: Sequence[str], errors: IO[str], grace_s: float, stdin: int = subprocess.DEVNULL
) -> Iterator[Popen[str]]:
    """`argv` as the leader of a new session that ends with the block, its output to be read."""
    process = Popen(
        list(argv),
        env=inherited(),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        start_new_session=True,
    )
    leader = leader_of(process.pid)
    try:
        yield process
        process.wait()
    finally:
        end_sessions(leader, grace_s=grace_s)


def is_alive(leader: Leader) -> bool:
    """Whether that very process still runs."""
    with suppress(psutil.NoSuchProcess):
        return _is_same(leader) and _runs(psutil.Process(leader.pid))
    return False


def end_of(leader: Leader) -> str:
    """How that child of ours ended; it is left to be waited for. Of other processes, only that.

    Its first thread may have ended, and so it, before the others of a killed process have.
    """
    deadline = time.monotonic() + LAST_THREADS_S
    with suppress(ChildProcessError):
        while True:
            end = os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if end or time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
        if end:
            by_itself = end.si_code == os.CLD_EXITED
            return ended(end.si_status if by_itself else -end.si_status)
    return "ended"


def ended(code: int) -> str:
    """How a program with that exit code ended; negative: by that signal.

    Shells and containers tell the signal that has ended their program by an exit code above 128.
    """
    number = -code if code < 0 else code - SIGNALLED
    known = code < 0 or number in set(signal.Signals)
    return _ended_by(number) if known else f"ended with code {code}"


def _ended_by(number: int) -> str:
    if number not in set(signal.Signals):
        return f"was ended by signal {number}"
    cause = CAUSES.get(signal.Signals(number))
    return f"was ended by {signal.Signals(number).name}{f' ({cause})' if cause else ''}"


def members(*leaders: Leader) -> list[psutil.Process]:
    """The living processes of the leaders' sessions, and what those started in sessions of theirs.

    Also after a leader itself has died: no other session gets its number while one of them lives.
    """
    since = {of.pid: of.ticks for of in leaders if not _is_of_the_past(of)}
    if not since:
        return []
    children: dict[int, list[psutil.Process]] = defaultdict(list)
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError, PermissionError):
            children[process.ppid()].append(process)
            session = os.getsid(process.pid)
            if session in since and (_ticks(process.pid) or 0) >= since[session]:
                found.append(process)
    for process in found:  # grows on the way: children of children
        found += [child for child in children[process.pid] if child not in found]
    return [process for process in found if _runs(process)]


def end_process(leader: Leader, grace_s: float) -> None:
    """End that one process, not its session: ask, wait up to `grace_s`, then kill."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(leader.pid)
        if _is_same(leader):
            process.terminate()
            if not _within(grace_s, lambda: not is_alive(leader)):
                process.kill()


def end_sessions(*leaders: Leader, grace_s: float) -> None:
    """End every process of the sessions: ask, wait up to `grace_s` for all of them, then kill.

    Engines ignore SIGTERM while they start, and leave workers behind when they are killed.
    """
    known: set[psutil.Process] = set()

    def left() -> list[psutil.Process]:
        # One whose parent has died is no longer found, but was.
        known.update(members(*leaders))
        return [process for process in known if _runs(process)]

    _signal(left(), signal.SIGTERM)
    if _within(grace_s, lambda: not left()):
        return
    # A process may still start another while it is being killed.
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while (still := left()) and time.monotonic() < deadline:
        _signal(still, signal.SIGKILL)
        time.sleep(POLL_S)
    if still:
        names = ", ".join(str(process.pid) for process in still)
        raise TpdeployError(f"processes {names} cannot be ended")


def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether `holds` comes true in that time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _is_of_the_past(leader: Leader) -> bool:
    """Whether the leader's number means something else now, so that its session is gone.

    Another process has the number, or the machine (or container) has started anew since.
    """
    if leader.boot != _boot() or _ticks(leader.pid) not in {None, leader.ticks}:
        return True
    return (_ticks(1) or 0) > leader.ticks


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_same(leader: Leader) -> bool:
    return leader.boot == _boot() and leader.ticks == _ticks(leader.pid)


def _ticks(pid: int) -> int | None:
    """When the process started, in the kernel's ticks since the boot; None if there is none."""
    try:
        status = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return int(status.rpartition(")")[2].split()[START_FIELD])


def _boot() -> str:
    return BOOT_ID.read_text().strip()
