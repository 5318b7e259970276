"""The runtimes of this machine: what every one promises, and what these do besides."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.launcher.plans import plan_for
from tests.launcher.standin_backend import StandinBackend
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.launcher.runtimes.base import Engine
from tpdeploy.launcher.runtimes.conformance import FILE, RuntimeConformance, Trial
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.ports import EVERYWHERE, LOOPBACK, free_ports
from tpdeploy.launcher.runtimes.registry import runtime_for

pytestmark = pytest.mark.processes

PROGRAM = "standin-engine"
TELL = "import os; print('pid', os.getpid(), flush=True); "
SLEEP = TELL + "import time; time.sleep(600)"
ENGINES = ("local", "container")


class Place(Trial):
    """A runtime of this machine, whose programs are looked at."""

    def inside(self) -> psutil.Process:
        """The process of the program itself, when it has told its number."""
        eventually(lambda: "pid" in self.log.read_text())
        words = self.log.read_text().split()
        return psutil.Process(int(words[words.index("pid") + 1]))


def python_as(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(sys.executable)


@pytest.fixture(params=ENGINES)
def engine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Engine:
    """Python is the engine: by its path, and in an "image" by its name."""
    return engine_in(request.param, tmp_path, monkeypatch)


def engine_in(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    program = tmp_path / "bin" / PROGRAM
    python_as(program)
    backend = StandinBackend()
    if name == "local":
        return Engine(backend, "cpu", executable=program)
    python_as(program.with_name("python"))
    docker = program.with_name("docker")
    source = (Path(__file__).parent / "standin_docker.py").read_text()
    docker.write_text(source.replace("/usr/bin/env python3", sys.executable, 1))
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STANDIN_DOCKER", str(tmp_path))
    return Engine(backend, "cpu", image="vendor/engine:1")


@pytest.fixture
def place(engine: Engine, tmp_path: Path) -> Iterator[Place]:
    """What it has started is ended."""
    made = Place(engine, tmp_path / "deployments" / "default", runtime_for(engine), (4, 5))
    yield made
    if made.started:
        made.runtime.stop(made.started, grace_s=0)


class TestConformance(RuntimeConformance):
    """What every runtime promises, of those of this machine."""

    @pytest.fixture(params=ENGINES)
    def engine(
        self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Engine:
        return engine_in(request.param, tmp_path, monkeypatch)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not happen within 30 s"
        time.sleep(0.05)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_it_sees_its_own_devices_alone(place: Place) -> None:
    """By their numbers, in rank order."""
    place.engine = replace(place.engine, platform="cuda")
    rendered = place.render(SLEEP)
    assert rendered.env["CUDA_VISIBLE_DEVICES"] == "4,5"


def test_rendering_changes_nothing_and_shows_all_but_keys(place: Place) -> None:
    """Files by their paths, the command, its variables; nothing is written or started."""
    rendered = place.render(SLEEP, SAID="aloud")
    file = place.deployment / "replica-0" / FILE
    assert rendered.files == {file: "in the file\n"}
    assert rendered.argv[-3:] == ("-c", SLEEP, str(file))
    assert rendered.env == {"SAID": "aloud"}
    assert not place.deployment.exists()
    assert not place.runtime.observe(rendered.member).runs
    assert not place.runtime.left([rendered.member])


def test_a_signal_that_ended_a_member_is_named(place: Place) -> None:
    """kill -9, as of one that took too much memory."""
    member = place.start(SLEEP)
    place.inside()
    assert member.leader is not None
    os.kill(member.leader.pid, signal.SIGKILL)
    eventually(lambda: not place.runtime.observe(member).runs)
    assert place.runtime.observe(member).end == "was ended by SIGKILL (out of memory? see dmesg)"


def test_stopping_ends_what_a_killed_member_has_left(place: Place) -> None:
    """The program inside too, where what was started is only its client."""
    child = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; "
    member = place.start(child + "time.sleep(600)']); " + SLEEP)
    inside = place.inside()
    (grandchild,) = inside.children()
    assert member.leader is not None
    os.kill(member.leader.pid, signal.SIGKILL)
    eventually(lambda: not place.runtime.observe(member).runs)
    place.runtime.stop([member], grace_s=0)
    eventually(lambda: gone(inside) and gone(grandchild))
    assert not place.runtime.left([member])


def test_a_member_answers_at_its_address(place: Place) -> None:
    """And it is the one that listens there."""
    (port,) = free_ports("127.0.0.1", 1)
    at = f"('127.0.0.1', {port}), h.BaseHTTPRequestHandler"
    member = place.start(f"import http.server as h; h.HTTPServer({at}).serve_forever()", port)
    assert place.runtime.address(member) == f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/")
            return connection.getresponse().status == 501
        except OSError:
            return False

    eventually(answers)
    assert place.runtime.listens(member)


def test_a_bare_name_adds_no_folder_to_the_search_path(place: Place) -> None:
    """A program of that name in the folder one launches from must not run instead of another."""
    member = place.start("import os; print(os.environ['PATH'], flush=True); " + SLEEP)
    place.inside()
    searched = place.log.read_text().splitlines()
    assert "." not in next(line for line in searched if os.pathsep in line).split(os.pathsep)
    assert place.runtime.observe(member).runs


def test_whether_a_member_answers_is_asked_where_it_is_now(place: Place) -> None:
    """Its address may be known only after its start: nothing of it is kept before."""
    (port,) = free_ports("127.0.0.1", 1)
    server = f"import http.server as h; h.HTTPServer(('127.0.0.1', {port}), {{}}).serve_forever()"
    member = place.start(server.format("h.SimpleHTTPRequestHandler"), port)
    eventually(lambda: place.runtime.answers(member))
    lost = member.model_copy(update={"health_path": "/nowhere"})
    assert not place.runtime.answers(lost)
    assert not place.runtime.answers(member.model_copy(update={"port": free_ports(LOOPBACK, 1)[0]}))


def test_who_listens_everywhere_is_reached_by_the_loopback(place: Place) -> None:
    """And who listens on one address, there."""
    everywhere, one = (Member(label="router", host=h, port=9) for h in (EVERYWHERE, "10.0.0.5"))
    assert place.runtime.address(everywhere) == "http://127.0.0.1:9"
    assert place.runtime.address(one) == "http://10.0.0.5:9"


@pytest.mark.parametrize("engine", ["local"], indirect=True)
def test_a_stranger_on_its_port_is_named(place: Place) -> None:
    """Whoever answers there must be the member; in a container nobody can tell."""
    (port,) = free_ports("127.0.0.1", 1)
    member = place.start(SLEEP, port)
    assert not place.runtime.listens(member)
    serve = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with subprocess.Popen(serve, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as stranger:
        try:
            with pytest.raises(TpdeployError, match=f"port {port} of replica-0 has been taken by"):
                eventually(lambda: place.runtime.listens(member))
        finally:
            stranger.kill()


def test_what_is_missing_is_said_before_anything_starts(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is here it can be launched; without, one line says what would help."""
    plan = plan_for("1xCPU")
    place.runtime.check(plan, place.engine)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path / "home"))
    missing = Engine(place.engine.backend, "cpu", image=place.engine.image)
    with pytest.raises(InputError, match=r"standin for cpu is not installed|docker or podman"):
        place.runtime.check(plan, missing)
