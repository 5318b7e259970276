"""Launching leaves nothing behind, whatever happens: shown with a stand-in engine."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launcher.machine import (
    ENGINE,
    Machine,
    eventually,
    in_foreground,
    launch_arguments,
    nothing_left,
)
from tpdeploy.launcher.runtimes.processes import members
from tpdeploy.launcher.state import Deployment

pytestmark = pytest.mark.processes


def test_a_launch_is_ready_and_stop_leaves_nothing(machine: Machine) -> None:
    """Two replicas behind the front come up; stop ends every process and frees every port."""
    machine.plan(replicas=2)
    done = machine.launch("--json")
    deployment = Deployment.model_validate_json(done.stdout)
    starts = f"TP 1, 2 replicas on 2x CPU with standin, at {deployment.url}\n"
    assert done.stderr.splitlines(keepends=True)[0].endswith(starts)
    assert "  plan: the current one\n  engine: standin, in " in done.stderr
    assert "  weights: in " in done.stderr
    assert [m.label for m in deployment.members] == ["replica-0", "replica-1", "front"]
    assert {m.phase for m in deployment.members} == {"ready"}
    assert len(members(deployment.members[0].leader)) == 2  # type: ignore[arg-type]
    assert machine.run("stop").returncode == 0
    assert nothing_left(deployment)


def test_a_crash_at_start_up_shows_the_engines_words(machine: Machine) -> None:
    """The engine's error is the message, exit code 1, and nothing is left."""
    machine.plan()
    done = machine.launch("--engine-arg=--crash")
    assert done.returncode == 1
    assert "RuntimeError: out of stand-in memory" in done.stderr
    assert "Traceback" not in done.stderr
    assert machine.run("stop").returncode == 2


def test_a_start_that_takes_too_long_is_ended(machine: Machine) -> None:
    """Engines ignore SIGTERM while they start: after the time allowed they are ended anyway."""
    machine.plan()
    done = machine.launch("--startup-timeout", "1", "--engine-arg=--never-ready")
    assert done.returncode == 1
    assert "replica-0 not ready after 1 s; allow more with --startup-timeout" in done.stderr
    assert "Nothing is running" in machine.run("status").stdout


def test_ctrl_c_ends_everything(machine: Machine) -> None:
    """A launch in the foreground stays; interrupted, it stops what it started, exit code 130."""
    machine.plan()
    command = [sys.executable, "-m", "tpdeploy", *launch_arguments()]
    process = in_foreground(command, machine)
    eventually(lambda: "ready" in machine.run("status").stdout)
    deployment = machine.status()
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert nothing_left(deployment)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_launch_that_is_ended_ends_what_it_started(
    machine: Machine, number: signal.Signals
) -> None:
    """A service manager, a closed terminal or kill -9: nothing is left without its launch."""
    machine.plan()
    command = [sys.executable, "-m", "tpdeploy", *launch_arguments()]
    process = subprocess.Popen(command, env=machine.environment(), stderr=subprocess.DEVNULL)
    eventually(lambda: ": ready" in machine.run("status").stdout)
    deployment = machine.status()
    process.send_signal(number)
    process.wait()
    eventually(lambda: nothing_left(deployment))


def test_status_asks_each_member_how_it_is(machine: Machine) -> None:
    """A server that has stopped answering is alive and not well; --json says so too."""
    machine.plan(replicas=2)
    deployment = machine.launched()
    leader = deployment.members[1].leader
    assert leader is not None
    os.kill(leader.pid, signal.SIGSTOP)
    assert [member.healthy for member in machine.status().members] == [True, False, True]
    assert "no answer" in machine.run("status").stdout
    os.kill(leader.pid, signal.SIGCONT)


def test_nobody_else_can_look_into_a_deployment(machine: Machine) -> None:
    """Engines may log prompts: every folder and file is this user's alone."""
    machine.plan(replicas=2)
    machine.launched()
    folder = machine.home / "deployments" / "default"
    assert {stat.S_IMODE(p.stat().st_mode) for p in (folder, folder / "logs")} == {0o700}
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"lock", "order.yaml", "replica-0.log", "supervisor.log"} <= {p.name for p in files}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_dry_run_prints_every_command_and_starts_nothing(machine: Machine) -> None:
    """Replicas and front, one command a line, as one could type them."""
    machine.plan(replicas=2)
    done = machine.run("launch", "--dry-run")
    assert [line for line in done.stdout.splitlines() if line.startswith("#")] == [
        "# replica-0",
        "# replica-1",
        "# front",
    ]
    assert "caddy run --config " in done.stdout
    assert done.stdout.count('"dial": "{file.') == 2
    assert done.stdout.count("<<'EOF'\n127.0.0.1:") == 2
    assert done.stdout.count("<<'EOF'") == done.stdout.splitlines().count("EOF")
    listed = json.loads(machine.run("launch", "--dry-run", "--json").stdout)["commands"]
    assert [command["member"] for command in listed] == ["replica-0", "replica-1", "front"]
    assert Path(listed[0]["argv"][0]).name == ENGINE
    assert "Nothing is running" in machine.run("status").stdout


def test_the_key_reaches_no_engine_no_file_and_no_command_line(machine: Machine) -> None:
    """Only the front has it, in its environment; engines have one of their own."""
    machine.plan()
    secret = "sk-very-secret"  # noqa: S105 - the point of the test
    deployment = machine.launched(TPDEPLOY_API_KEY=secret)
    processes = members(*(member.leader for member in deployment.members if member.leader))
    assert not any(secret in " ".join(process.cmdline()) for process in processes)
    assert "keys in the environment: ['STANDIN_KEY']" in machine.run("logs").stdout
    written = [p for p in machine.home.rglob("*") if p.is_file()]
    assert not any(secret.encode() in path.read_bytes() for path in written)


def test_logs_name_the_members_there_are(machine: Machine) -> None:
    """An unknown member is refused with those that have logs; logs outlive the deployment."""
    machine.plan()
    machine.launched()
    machine.run("stop")
    assert "STAGE loading" in machine.run("logs", "replica-0").stdout
    done = machine.run("logs", "replica-7")
    assert done.returncode == 2
    assert "did you mean replica-0" in done.stderr


def test_a_port_taken_while_starting_is_not_ready(machine: Machine) -> None:
    """Whoever answers on a replica's port must be the replica: else the launch fails and says."""
    machine.plan()
    command = [sys.executable, "-m", "tpdeploy", *launch_arguments("--engine-arg=--never-ready")]
    launch = subprocess.Popen(command, env=machine.environment(), stderr=subprocess.PIPE, text=True)
    eventually(lambda: "starting" in machine.run("status").stdout)
    port = machine.status().members[0].port
    serve = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with subprocess.Popen(serve, cwd=machine.packages, stderr=subprocess.DEVNULL) as foreign:
        (machine.packages / "health").write_text("ok")
        try:
            errors = launch.communicate(timeout=60)[1]
        finally:
            foreign.kill()
            launch.kill()
    assert launch.returncode == 1
    assert f"port {port} of replica-0 has been taken by python" in errors
