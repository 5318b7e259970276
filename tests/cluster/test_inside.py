"""`validate --inside` by a real Slurm and a real ssh: the client is where the replicas are."""

import json
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.cluster.conftest import UsersMachine
from tests.cluster.hosts import Host
from tests.launcher.machine import eventually
from tpdeploy.harness.measure.report import ValidationReport

pytestmark = pytest.mark.cluster

KEY = "a-secret-of-clients"


@pytest.fixture(params=["slurm", "ssh:h1"])
def machine(request: pytest.FixtureRequest) -> UsersMachine:
    """A user's machine with a deployment of one replica, at an address that others reach."""
    fixture = "on_slurm" if request.param == "slurm" else "over_ssh"
    made: UsersMachine = request.getfixturevalue(fixture)
    made.plan()
    made.variables["TPDEPLOY_API_KEY"] = KEY
    done = made.launch("--on", request.param, "--host", "10.77.0.1", "--detach")
    assert done.returncode == 0, done.stderr
    return made


def clients(hosts: list[Host]) -> list[list[str]]:
    """The command lines of measuring clients on the hosts."""
    found = [_words(process) for host in hosts for process in host.processes()]
    return [words for words in found if "python" in " ".join(words[:1]) and words[-1] == "client"]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_it_is_measured_there_and_recorded_here(machine: UsersMachine, cluster: list[Host]) -> None:
    """The report is that of a validation here, and kept; no command line shows the key."""
    arguments = ("validate", "--inside", "--concurrency", "1", "--duration", "4", "--json")
    with ThreadPoolExecutor() as pool:
        measuring = pool.submit(machine.run, *arguments)
        eventually(lambda: clients(cluster[1:]) != [])
        assert clients(cluster[:1]) == []
        assert not any(KEY in " ".join(_words(process)) for process in psutil.process_iter())
        done = measuring.result()
    assert done.stdout, done.stderr
    report = ValidationReport.model_validate_json(done.stdout)
    assert report.endpoint == machine.status().url
    assert report.measured.requests > 0
    assert report.measured.failed == 0
    assert report.not_learned is None or report.not_learned.kind != "endpoint"
    assert len(json.loads(machine.run("history", "--json").stdout)["entries"]) == 1
    eventually(lambda: clients(cluster[1:]) == [])


def test_what_is_wrong_there_is_told_here(machine: UsersMachine) -> None:
    """In one line, as by a validation here."""
    done = machine.run("validate", "--inside", "--requests", "1", TPDEPLOY_API_KEY="another")
    assert done.returncode == 1
    assert "/v1/models answered 401; set TPDEPLOY_API_KEY" in done.stderr


def test_a_killed_command_leaves_no_client(machine: UsersMachine, cluster: list[Host]) -> None:
    """The client ends with its input, whoever ends the connection."""
    with ThreadPoolExecutor() as pool:
        done = pool.submit(machine.run, "validate", "--inside", "--duration", "60")
        eventually(lambda: clients(cluster[1:]) != [])
        words = [(p, _words(p)) for p in cluster[0].processes()]
        (own,) = [p for p, said in words if "--inside" in said]
        own.kill()
        assert done.result().returncode != 0
    eventually(lambda: clients(cluster[1:]) == [])


def test_an_endpoint_on_loopback_is_refused(on_slurm: UsersMachine) -> None:
    """No other machine reaches it; the message says what would work."""
    on_slurm.plan()
    done = on_slurm.launch("--on", "slurm", "--detach")
    assert done.returncode == 0, done.stderr
    done = on_slurm.run("validate", "--inside")
    assert done.returncode == 2
    assert "is reached from this machine alone; launch it with --host ADDRESS" in done.stderr
