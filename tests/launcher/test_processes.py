"""Ending an engine ends all of it, and never anything else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tpdeploy.errors import TpdeployError
from tpdeploy.launcher.runtimes.processes import (
    Leader,
    end_process,
    end_sessions,
    is_alive,
    leader_of,
    members,
    start,
)

SLEEP = "import time; time.sleep(600)"
FAMILY = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); {SLEEP}"
DEAF = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    f"print('deaf', flush=True); {SLEEP}"
)
MOVED = (
    "import subprocess, sys; "
    f"subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True); {SLEEP}"
)


class Started:
    """Starts Python programs, each as the leader of a session."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "logs" / "engine.log"
        self.all: list[tuple[subprocess.Popen[bytes], Leader]] = []

    def run(self, program: str, **env: str) -> Leader:
        self.all.append(start([sys.executable, "-c", program], env, self.log))
        return self.all[-1][1]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    made = Started(tmp_path)
    yield made
    for process, leader in made.all:
        end_sessions(leader, grace_s=0)
        process.wait()


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not happen within 30 s"
        time.sleep(0.05)


def test_a_dead_leader_leaves_no_orphan(started: Started) -> None:
    """After kill -9 of the first process its children are still known, and ended."""
    leader = started.run(FAMILY)
    eventually(lambda: len(members(leader)) == 2)
    os.kill(leader.pid, signal.SIGKILL)
    eventually(lambda: not is_alive(leader))
    (orphan,) = members(leader)
    end_sessions(leader, grace_s=0)
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_a_child_that_moved_to_a_session_of_its_own_is_ended_too(started: Started) -> None:
    """What the engine started belongs to it, wherever it went."""
    leader = started.run(MOVED)
    eventually(lambda: len(members(leader)) == 2)
    family = members(leader)
    assert len({os.getsid(process.pid) for process in family}) == 2
    end_sessions(leader, grace_s=5)
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)


def test_a_process_that_ignores_sigterm_is_killed(started: Started) -> None:
    """As engines are while they start."""
    leader = started.run(DEAF)
    eventually(lambda: "deaf" in started.log.read_text())
    end_sessions(leader, grace_s=0.2)
    assert members(leader) == []


def test_one_process_can_be_ended_without_its_session(started: Started) -> None:
    """A supervisor is asked alone: it ends its engines itself."""
    leader = started.run(FAMILY)
    eventually(lambda: len(members(leader)) == 2)
    end_process(leader, grace_s=5)
    assert not is_alive(leader)
    assert len(members(leader)) == 1


def test_a_reused_number_is_never_touched(started: Started) -> None:
    """Another process with the number of a recorded one is neither listed nor ended."""
    leader = started.run(SLEEP)
    long_ago = leader.model_copy(update={"ticks": leader.ticks - 1000})
    assert not is_alive(long_ago)
    assert members(long_ago) == []
    end_process(long_ago, grace_s=0)
    end_sessions(long_ago, grace_s=0)
    assert is_alive(leader)


def test_what_ran_before_the_machine_started_is_gone(started: Started) -> None:
    """Numbers start again with a machine or container: a leaderless session is someone else's."""
    leader = started.run(FAMILY)
    eventually(lambda: len(members(leader)) == 2)
    os.kill(leader.pid, signal.SIGKILL)
    started.all[0][0].wait()
    assert len(members(leader)) == 1
    assert members(leader.model_copy(update={"boot": "another"})) == []
    assert members(leader.model_copy(update={"ticks": leader_of(1).ticks - 1})) == []


def test_a_clock_that_is_set_changes_nothing(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times of day are the boot's plus what has gone since: five seconds later, all are."""
    leader = started.run(SLEEP)
    boot = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot + 5)
    assert is_alive(leader)
    assert len(members(leader)) == 1
    assert leader_of(leader.pid) == leader


def test_a_launchers_variables_do_not_reach_the_engine(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WORLD_SIZE and its like would change the engine's own ranks; others are handed on."""
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("MASTER_PORT", "1234")
    monkeypatch.setenv("HANDED_ON", "yes")
    leader = started.run(SLEEP, ADDED="too")
    eventually(lambda: "ADDED" in psutil.Process(leader.pid).environ())  # once it has started
    env = psutil.Process(leader.pid).environ()
    assert {"WORLD_SIZE", "MASTER_PORT"}.isdisjoint(env)
    assert (env["HANDED_ON"], env["ADDED"]) == ("yes", "too")


def test_output_and_errors_go_to_the_log(started: Started) -> None:
    """Both, in one file, whose folder is made."""
    started.run("import sys; print('one'); sys.exit('two')")
    eventually(lambda: started.log.read_text().split() == ["one", "two"])


def test_a_program_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """The program and the system's reason."""
    with pytest.raises(TpdeployError, match=r"cannot start /nowhere/engine: No such file"):
        start(["/nowhere/engine"], {}, tmp_path / "log")


def test_this_process_is_alive() -> None:
    """The simplest case of identity."""
    assert is_alive(leader_of(os.getpid()))
