"""Replicas on other hosts by a real ssh, from launch to stop; the engine is a stand-in."""

import os
import signal

import psutil
import pytest

from tests.cluster.conftest import UsersMachine
from tests.launcher.machine import ENGINE, eventually
from tpdeploy.launcher.seen import Seen

pytestmark = pytest.mark.cluster


def launched(machine: UsersMachine) -> Seen:
    done = machine.launch("--on", "ssh:h1", "--detach")
    assert done.returncode == 0, done.stderr
    return machine.status()


def engines(machine: UsersMachine) -> list[psutil.Process]:
    """The engines of this test's machine, on whatever host."""
    own = str(machine.home / "environments")
    return [
        process
        for process in psutil.process_iter()
        if any(word.startswith(own) and word.endswith(ENGINE) for word in _words(process))
    ]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_it_serves_from_there_and_stop_leaves_nothing(over_ssh: UsersMachine) -> None:
    """Through the front on the user's machine."""
    over_ssh.plan(replicas=2)
    seen = launched(over_ssh)
    assert [member.host for member in seen.members] == ["10.77.0.2", "10.77.0.2", "127.0.0.1"]
    assert over_ssh.answers(seen.url)
    assert len(engines(over_ssh)) == 2
    done = over_ssh.run("stop")
    assert done.returncode == 0, done.stderr
    assert engines(over_ssh) == []


def test_a_killed_engine_is_started_again(over_ssh: UsersMachine) -> None:
    """kill -9 there: its worker goes with it, no request is lost, and status says what it was."""
    over_ssh.plan(replicas=2)
    before = launched(over_ssh)
    os.kill(engines(over_ssh)[0].pid, signal.SIGKILL)
    assert all(over_ssh.answers(before.url) for _ in range(20))
    eventually(lambda: sum(member.restarts for member in over_ssh.status().members) == 1)
    eventually(lambda: over_ssh.status().phase == "ready")
    assert any("SIGKILL" in member.last_end for member in over_ssh.status().members)


def test_a_lost_connection_ends_what_it_started(over_ssh: UsersMachine) -> None:
    """kill -9 of all that runs here: engines on other hosts end with their input."""
    over_ssh.plan()
    seen = launched(over_ssh)
    assert seen.supervisor is not None
    assert seen.members[0].leader is not None
    for leader in (seen.supervisor, seen.members[0].leader):
        os.kill(leader.pid, signal.SIGKILL)
    eventually(lambda: engines(over_ssh) == [])


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ("nowhere", "nowhere has no address"),
        ("", "name the hosts, in the plan's order"),
        ("h0", "which only it can reach"),
        ("10.77.0.9", "10.77.0.9 cannot be reached"),
        ("-oProxyCommand=x", "is no host"),
    ],
)
def test_hosts_that_cannot_serve_are_refused(
    over_ssh: UsersMachine, hosts: str, words: str
) -> None:
    """In one line, before anything starts."""
    over_ssh.plan()
    done = over_ssh.launch("--on", f"ssh:{hosts}")
    assert done.returncode == 2
    assert words in done.stderr


def test_a_host_without_the_engine_is_named_with_the_remedy(over_ssh: UsersMachine) -> None:
    """The command that installs it there."""
    over_ssh.plan()
    (over_ssh.home / "environments" / "standin-1" / "bin" / ENGINE).unlink()
    done = over_ssh.launch("--on", "ssh:h2")
    assert done.returncode == 2
    assert f"h2 has no {ENGINE}; run there: tpdeploy backends install standin" in done.stderr
