"""status tells what is true now, whatever the state says."""

import json
import os
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.launcher.machine import Machine, eventually, in_foreground, launch_arguments
from tpdeploy.launcher.state import Deployment
from tpdeploy.records import dump_record

pytestmark = pytest.mark.processes


def stop(deployment: Deployment, number: int) -> int:
    """Halt a member, as one that hangs; the number of its process."""
    leader = deployment.members[number].leader
    assert leader is not None
    os.kill(leader.pid, signal.SIGSTOP)
    return leader.pid


def test_all_well_is_exit_code_0_and_the_load_stands_beside_the_plan(machine: Machine) -> None:
    """Members, what each engine does, all together, and what the plan predicts; 80 columns."""
    machine.plan(replicas=2)
    machine.launched()
    done = machine.run("status")
    assert done.returncode == 0
    assert all(len(line) <= 80 for line in done.stdout.splitlines()), done.stdout
    told = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    assert told["replica-1"][:4] == ["replica-1", "2", "1", "25%"]
    assert told["together"][:4] == ["together", "4", "2", "25%"]
    assert told["planned"][:2] == ["planned", "2"]
    seen = machine.status()
    assert seen.serving
    assert seen.planned is not None
    assert seen.planned.tpot_ms is not None
    assert f"{seen.planned.tpot_ms:,.1f}" == told["planned"][-1]


def test_means_are_of_the_last_minute(machine: Machine) -> None:
    """What was generated since the supervisor's look, per second; the engine's own latencies."""
    machine.plan()
    deployment = machine.launched()
    record = machine.home / "deployments" / "default" / "figures.jsonl"
    eventually(record.exists)
    for _ in range(3):
        httpx.post(deployment.url + "/v1/chat/completions", trust_env=False)
    time.sleep(5.5)
    load = machine.status().load
    assert load.output_tokens_per_s is not None
    assert 0 < load.output_tokens_per_s < 30 / 5
    assert load.ttft_ms == pytest.approx(500)
    assert load.tpot_ms == pytest.approx(50)


def test_a_hung_front_is_not_ready(machine: Machine) -> None:
    """Its process lives and its state says ready: no client gets an answer, and status says so."""
    machine.plan()
    deployment = machine.launched()
    pid = stop(deployment, -1)
    try:
        done = machine.run("status", "--name", "default")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert done.returncode == 1
    assert done.stdout.startswith("default: down, up 0:00:")
    assert "front does not answer" in done.stdout


def test_a_hung_replica_is_degraded(machine: Machine) -> None:
    """The others serve: exit code 1, and which one it is."""
    machine.plan(replicas=2)
    pid = stop(machine.launched(), 1)
    try:
        done = machine.run("status")
        seen = machine.status()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert done.returncode == 1
    assert done.stdout.startswith("default: degraded")
    assert (seen.phase, seen.serving, seen.reason) == (
        "degraded",
        True,
        "replica-1 does not answer",
    )
    assert list(seen.loads) == ["replica-0"]


def test_what_is_not_running_is_exit_code_2(machine: Machine) -> None:
    """Named, it is an error; unnamed, there is nothing to be unwell."""
    assert machine.run("status").returncode == 0
    done = machine.run("status", "--name", "other")
    assert done.returncode == 2
    assert "no deployment called other is running" in done.stderr


def test_a_member_that_starts_is_not_gone(machine: Machine) -> None:
    """Nor is the front, which starts last."""
    machine.plan()
    command = [sys.executable, "-m", "tpdeploy", *launch_arguments("--engine-arg=--never-ready")]
    launch = in_foreground(command, machine)
    eventually(lambda: " loading" in machine.run("status").stdout)
    done = machine.run("status")
    launch.send_signal(signal.SIGINT)
    launch.communicate(timeout=30)
    assert done.returncode == 1
    assert done.stdout.startswith("default: starting")
    assert "gone" not in done.stdout


def test_watch_prints_plain_lines_where_there_is_no_terminal(machine: Machine) -> None:
    """Again and again until Ctrl-C; no control code, and the exit code of the last look."""
    machine.plan()
    machine.launched()
    with (machine.home / "watched").open("w+") as written:
        command = [sys.executable, "-m", "tpdeploy", "status", "--watch"]
        watching = in_foreground(command, machine, stdout=written.fileno())
        eventually(lambda: (machine.home / "watched").read_text().count("default: ready") > 1)
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=30)
        assert watching.returncode == 0
        assert "\x1b" not in (machine.home / "watched").read_text()


def test_drift_is_named(machine: Machine) -> None:
    """An engine far slower than planned for ten minutes is told with how much and how long."""
    machine.plan()
    deployment = machine.launched()
    planned = machine.status().planned
    assert planned is not None
    assert planned.tpot_ms is not None
    now, slow_s = datetime.now(UTC), 10 * planned.tpot_ms / 1000
    lines = [_line(now - timedelta(seconds=610 - 10 * n), n, slow_s) for n in range(61)]
    folder = machine.home / "deployments" / "default"
    (folder / "figures.jsonl").write_text("\n".join([*lines, ""]))
    _started(folder / "state.yaml", deployment, now - timedelta(hours=1))
    seen = machine.status()
    assert seen.drift == ("TPOT 900% above plan for 10 minutes (3 requests in flight; "
                          "the plan is for 1)",)  # fmt: skip
    assert "TPOT 900% above plan for 10 minutes" in machine.run("status").stdout


def _line(at: datetime, requests: int, tpot_s: float) -> str:
    told = {
        "tpot": {"count": requests, "sum": requests * tpot_s},
        "running": 2,
        "waiting": 1,
    }
    return json.dumps({"at": at.isoformat(), "replicas": {"replica-0": told}})


def _started(state: Path, deployment: Deployment, at: datetime) -> None:
    state.write_text(dump_record(deployment.model_copy(update={"started_at": at})))


def test_a_state_that_cannot_be_read_hides_no_other(machine: Machine) -> None:
    """It is told in one line; the others are shown, and all is not well."""
    machine.plan()
    machine.launched()
    broken = machine.home / "deployments" / "broken"
    broken.mkdir()
    (broken / "state.yaml").write_text("name: [")
    done = machine.run("status")
    assert done.returncode == 1
    assert done.stdout.startswith("default: ready")
    assert done.stderr.count("\n") == 1
    assert "Not shown: " in done.stderr
    assert "broken/state.yaml" in done.stderr
    assert machine.run("status", "--name", "default").returncode == 0
