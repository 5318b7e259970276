"""What becomes of a deployment whose parts end, hang or are wanted away: with a stand-in engine."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.launcher.machine import (
    Machine,
    eventually,
    in_foreground,
    launch_arguments,
    nothing_left,
)
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.processes import Leader, is_alive, members
from tpdeploy.launcher.state import Deployment
from tpdeploy.launcher.supervision.life import MOST_DELAY_S, delay_s

pytestmark = pytest.mark.processes


def leader(member: Member) -> Leader:
    assert member.leader is not None
    return member.leader


def kill(member: Member, number: signal.Signals = signal.SIGKILL) -> None:
    os.kill(leader(member).pid, number)


def kill_supervisor(deployment: Deployment) -> None:
    assert deployment.supervisor is not None
    supervisor = deployment.supervisor
    os.kill(supervisor.pid, signal.SIGKILL)
    eventually(lambda: not is_alive(supervisor))


def is_answered(deployment: Deployment, path: str = "/v1/models") -> bool:
    return httpx.get(deployment.url + path, trust_env=False).status_code == 200


def test_a_killed_replica_is_started_again_and_the_others_serve_meanwhile(machine: Machine) -> None:
    """kill -9 of one server: its worker is ended, no request is lost, and it comes back."""
    machine.plan(replicas=2)
    before = machine.launched()
    kill(before.members[0])
    assert all(is_answered(before) for _ in range(20))
    eventually(lambda: machine.status().members[0].restarts == 1)
    assert members(leader(before.members[0])) == []
    eventually(lambda: machine.status().phase == "ready")
    after = machine.status()
    assert "was ended by SIGKILL" in after.members[0].last_end
    assert after.reason == ""
    assert [m.restarts for m in after.members] == [1, 0, 0]
    assert leader(after.members[1]) == leader(before.members[1])
    assert is_answered(after)


def test_the_front_is_started_again_and_the_replicas_stay(machine: Machine) -> None:
    """It keeps nothing: a second later clients are answered again, at the same port."""
    machine.plan(replicas=2)
    before = machine.launched(TPDEPLOY_API_KEY="sk-1")
    kill(before.members[-1])
    eventually(lambda: machine.status().members[-1].restarts == 1)
    eventually(lambda: machine.status().phase == "ready")
    after = machine.status()
    assert [leader(m) for m in after.members[:2]] == [leader(m) for m in before.members[:2]]
    headers = {"Authorization": "Bearer sk-1"}
    url = after.url + "/v1/models"
    assert httpx.get(url, headers=headers, trust_env=False).status_code == 200
    assert httpx.get(url, trust_env=False).status_code == 401


def test_without_a_replica_clients_are_told_so(machine: Machine) -> None:
    """503, and when to try again; the deployment is down, and comes back by itself."""
    machine.plan()
    deployment = machine.launched()
    (machine.home / "broken").touch()
    kill(deployment.members[0])
    eventually(lambda: machine.status().phase == "down")
    eventually(lambda: not is_answered(deployment))
    eventually(lambda: httpx.get(deployment.url + "/v1/models", trust_env=False).status_code == 503)
    answer = httpx.get(deployment.url + "/v1/models", trust_env=False)
    assert answer.headers["Retry-After"] == "5"
    assert answer.json()["error"]["message"] == "no replica serves now; try again"
    (machine.home / "broken").unlink()
    eventually(lambda: machine.status().phase == "ready")
    eventually(lambda: is_answered(deployment))


def test_what_fails_again_and_again_is_given_up(machine: Machine) -> None:
    """After the allowed number of failures it has crashed; with the last one, it is over."""
    machine.plan(replicas=2)
    deployment = machine.launched("--restarts", "1")
    (machine.home / "broken").touch()
    kill(deployment.members[0])
    eventually(lambda: machine.status().members[0].phase == "crashed")
    after = machine.status()
    assert after.phase == "degraded"
    assert "RuntimeError: broken" in after.reason
    kill(deployment.members[1])
    eventually(lambda: nothing_left(deployment))
    ended = machine.run("status")
    assert ended.returncode == 1
    assert "Nothing is running" in ended.stdout
    assert "default has failed: replica-0 " in ended.stderr
    assert "RuntimeError: broken" in ended.stderr
    assert machine.run("restart").returncode == 2
    assert "has failed: replica-0" in machine.run("status", "--name", "default").stderr


def test_delays_grow_up_to_a_limit() -> None:
    """One second, twice as long each time, five minutes at most."""
    assert [delay_s(n) for n in (1, 2, 3, 8, 9, 10, 1000)] == [1, 2, 4, 128, 256, 300, 300]
    assert MOST_DELAY_S == 300


def test_a_replica_that_hangs_is_started_anew(machine: Machine) -> None:
    """It accepts connections and answers none: found, ended, restarted, and said so."""
    machine.plan(replicas=2)
    deployment = machine.launched("--hang-timeout", "5")
    kill(deployment.members[0], signal.SIGSTOP)
    eventually(lambda: machine.status().members[0].restarts == 1)
    eventually(lambda: machine.status().phase == "ready")
    assert "gave no sign of life for 5 s" in machine.status().members[0].last_end
    assert members(leader(deployment.members[0])) == []


def test_an_engine_that_generates_nothing_is_started_anew(machine: Machine) -> None:
    """It says that it is well, and its counters stand still: asked for one token, it is silent."""
    machine.plan()
    deployment = machine.launched("--hang-timeout", "5")
    (machine.home / "silent").touch()
    eventually(lambda: machine.status().members[0].restarts == 1)
    (machine.home / "silent").unlink()
    eventually(lambda: machine.status().phase == "ready")
    assert is_answered(deployment, "/health")


def test_a_killed_supervisor_is_replaced_by_the_next_command(machine: Machine) -> None:
    """The new one takes over what runs, knows its key, and starts again what ends."""
    machine.plan(replicas=2)
    before = machine.launched(TPDEPLOY_API_KEY="sk-1")
    kill_supervisor(before)
    done = machine.run("status")
    assert "default had lost its supervisor; it has a new one" in done.stderr
    after = machine.status()
    assert after.phase == "ready"
    assert [m.leader for m in after.members] == [m.leader for m in before.members]
    kill(after.members[0])
    kill(after.members[-1])
    eventually(lambda: [m.restarts for m in machine.status().members] == [1, 0, 1])
    eventually(lambda: machine.status().phase == "ready")
    answer = httpx.get(
        after.url + "/v1/models", headers={"Authorization": "Bearer sk-1"}, trust_env=False
    )
    assert answer.status_code == 200


def test_several_commands_replace_a_killed_supervisor_at_once(machine: Machine) -> None:
    """The launch in the foreground and two of status: one takes over, the others go on."""
    machine.plan()
    command = [sys.executable, "-m", "tpdeploy", *launch_arguments()]
    launch = in_foreground(command, machine)
    eventually(lambda: ": ready" in machine.run("status").stdout)
    deployment = machine.status()
    kill_supervisor(deployment)
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda _: machine.run("status"), range(2)))
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    after = machine.status()
    assert after.supervised
    assert after.supervisor != deployment.supervisor
    assert launch.poll() is None
    launch.send_signal(signal.SIGINT)
    launch.communicate(timeout=60)
    assert nothing_left(after)


def test_a_stop_without_a_supervisor_leaves_no_ask(machine: Machine) -> None:
    """The next deployment of the name is not taken for a busy one."""
    machine.plan()
    kill_supervisor(machine.launched())
    assert machine.run("stop", "--drain", "1").returncode == 0
    machine.launched()
    done = machine.run("restart", "--drain", "0")
    assert done.returncode == 0, done.stderr


def test_supervise_starts_what_was_launched_before(machine: Machine) -> None:
    """As after a reboot: with the same plan and order, in the foreground, until it is stopped."""
    machine.plan()
    deployment = machine.launched()
    assert machine.run("stop").returncode == 0
    command = [sys.executable, "-m", "tpdeploy", "supervise"]
    process = subprocess.Popen(command, env=machine.environment())
    eventually(lambda: ": ready" in machine.run("status").stdout)
    again = machine.status()
    assert again.url == deployment.url
    assert machine.run("supervise").returncode == 2
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert nothing_left(again)


def test_supervise_refuses_what_was_never_launched(machine: Machine) -> None:
    """One line, exit code 2."""
    done = machine.run("supervise", "--name", "other")
    assert done.returncode == 2
    assert "no deployment called other has been launched" in done.stderr


def test_a_supervisor_that_dies_while_starting_is_not_ready(machine: Machine) -> None:
    """launch goes on with another one, and says ready when it is."""
    machine.plan()
    (machine.home / "slow").touch()
    command = [sys.executable, "-m", "tpdeploy", *launch_arguments("--detach", "--json")]
    launch = subprocess.Popen(command, env=machine.environment(), stdout=subprocess.PIPE, text=True)
    eventually(lambda: "starting" in machine.run("status").stdout)
    state = machine.status()
    kill_supervisor(state)
    assert launch.poll() is None
    (machine.home / "slow").unlink()
    output, _ = launch.communicate(timeout=60)
    assert launch.returncode == 0
    assert Deployment.model_validate_json(output).phase == "ready"
    assert is_answered(state)


def test_what_cannot_be_written_is_written_later(machine: Machine) -> None:
    """As on a full disk: the others serve on, and state and front are told when there is room."""
    machine.plan(replicas=2)
    before = machine.launched()
    deployment = machine.home / "deployments" / "default"
    for blocked in (deployment / "state.yaml", deployment / "front" / "replica-0"):
        blocked.rename(f"{blocked}.kept")
        (blocked / "in the way").mkdir(parents=True)
    kill(before.members[0])
    assert all(is_answered(before) for _ in range(20))
    eventually(lambda: "is out of date" in (deployment / "logs" / "supervisor.log").read_text())
    for blocked in (deployment / "state.yaml", deployment / "front" / "replica-0"):
        shutil.rmtree(blocked)
    eventually((deployment / "state.yaml").exists)
    eventually(lambda: machine.status().members[0].restarts == 1)
    eventually(lambda: machine.status().phase == "ready")
    assert (deployment / "front" / "replica-0").read_text() != ""


def test_a_rolling_restart_loses_no_request(machine: Machine) -> None:
    """Every replica is new, one was always there, and every request was answered."""
    machine.plan(replicas=2)
    before = machine.launched()
    with ThreadPoolExecutor() as pool:
        restart = pool.submit(machine.run, "restart", "--drain", "10")
        answers = []
        while not restart.done():
            answers.append(is_answered(before))
    assert restart.result().returncode == 0, restart.result().stderr
    assert all(answers)
    after = machine.status()
    assert after.phase == "ready"
    assert [m.restarts for m in after.members] == [1, 1, 0]
    assert {leader(m) for m in after.members[:2]}.isdisjoint(leader(m) for m in before.members)


def test_scale_runs_fewer_and_then_more_of_what_was_planned(machine: Machine) -> None:
    """Down to one and up to both; more than were planned are refused."""
    machine.plan(replicas=2)
    machine.launched()
    done = machine.run("scale", "--replicas", "1", "--drain", "1")
    assert done.returncode == 0, done.stderr
    assert [m.phase for m in machine.status().members] == ["ready", "stopped", "ready"]
    assert machine.status().phase == "ready"
    assert machine.run("scale", "--replicas", "2").returncode == 0
    assert [m.phase for m in machine.status().members] == ["ready"] * 3
    refused = machine.run("scale", "--replicas", "3")
    assert refused.returncode == 2
    assert "the plan has devices for 2" in refused.stderr


def test_a_name_that_is_let_go_late_is_taken_over(machine: Machine) -> None:
    """The kernel closes files of a killed process when its last thread has ended."""
    machine.plan()
    before = machine.launched()
    kill_supervisor(before)
    with (machine.home / "deployments" / "default" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with ThreadPoolExecutor() as pool:
            status = pool.submit(machine.run, "status")
            time.sleep(2)
            fcntl.flock(lock, fcntl.LOCK_UN)
    assert status.result().returncode == 0
    assert machine.status().supervisor != before.supervisor


def test_what_was_asked_of_a_killed_supervisor_is_refused(machine: Machine) -> None:
    """The command that waits for it ends, and the deployment is taken over."""
    machine.plan(replicas=2)
    deployment = machine.launched()
    (machine.home / "slow").touch()
    with ThreadPoolExecutor() as pool:
        restart = pool.submit(machine.run, "restart", "replica-0", "--drain", "0")
        eventually(lambda: machine.status().members[0].phase == "starting")
        kill_supervisor(deployment)
        done = restart.result()
    assert done.returncode == 1
    assert "its supervisor was killed meanwhile" in done.stderr
    (machine.home / "slow").unlink()
    eventually(lambda: machine.status().phase == "ready")


def test_requests_in_flight_are_finished_when_it_is_drained(machine: Machine) -> None:
    """A stream of 15 s goes on to its end under --drain 60; new requests are refused."""
    machine.plan()
    deployment = machine.launched()
    with (
        ThreadPoolExecutor() as pool,
        httpx.stream(
            "POST", deployment.url + "/v1/completions", json={}, trust_env=False, timeout=60
        ) as stream,
    ):
        events = stream.iter_raw()
        next(events)
        stopping = pool.submit(machine.run, "stop", "--drain", "60")
        rest = b"".join(events)
    assert rest.count(b"data:") >= 100
    assert stopping.result().returncode == 0
    assert nothing_left(deployment)


def test_a_detached_launch_survives_its_terminal(machine: Machine) -> None:
    """SIGHUP while it starts ends the command, and not what it has started."""
    machine.plan()
    (machine.home / "slow").touch()
    command = [sys.executable, "-m", "tpdeploy", *launch_arguments("--detach")]
    launch = in_foreground(command, machine)
    eventually(lambda: "starting" in machine.run("status").stdout)
    launch.send_signal(signal.SIGHUP)
    launch.communicate(timeout=30)
    (machine.home / "slow").unlink()
    eventually(lambda: ": ready" in machine.run("status").stdout)
    supervisor = machine.status().supervisor
    assert supervisor is not None
    psutil.Process(supervisor.pid).send_signal(signal.SIGHUP)
    assert machine.status().phase == "ready"


def test_one_unreadable_state_stops_nobody_else(machine: Machine) -> None:
    """A broken file, or one of another release: told by status, and in nobody's way."""
    other = machine.home / "deployments" / "other"
    other.mkdir(parents=True)
    (other / "state.yaml").write_text("")
    machine.plan()
    machine.launched()
    assert ": ready" in machine.run("status").stdout
    assert machine.run("stop").returncode == 0
    assert machine.run("launch", "--dry-run").returncode == 0
