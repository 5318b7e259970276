"""Launching leaves nothing behind, whatever happens: shown with a stand-in engine."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from tests.planner.questions import VLLM
from tpdeploy.files import write_whole
from tpdeploy.launcher.environments import MARKER
from tpdeploy.launcher.runtimes.ports import EVERYWHERE, free_ports, is_free
from tpdeploy.launcher.runtimes.processes import is_alive, members
from tpdeploy.launcher.state import Deployment
from tpdeploy.planner.model.precision import served_shape
from tpdeploy.planner.question import Question
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.record import Dtype
from tpdeploy.records import dump_record

pytestmark = pytest.mark.processes

HERE = Path(__file__).parent
ENGINE = "standin-engine"


class Machine:
    """A home of its own for tpdeploy, with the stand-in engine installed."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.packages = folder / "packages"
        info = self.packages / "standin-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: standin\nVersion: 1\n")
        points = "[tpdeploy.backends]\nstandin = standin_backend:StandinBackend\n"
        (info / "entry_points.txt").write_text(points)
        shutil.copy(HERE / "standin_backend.py", self.packages)
        self.install("standin-1", ENGINE)

    def install(self, environment: str, program: str) -> None:
        target = self.home / "environments" / environment / "bin" / program
        target.parent.mkdir(parents=True)
        source = (HERE / "standin_engine.py").read_text()
        target.write_text(source.replace("/usr/bin/env python3", sys.executable, 1))
        target.chmod(0o755)
        (target.parent / "python").symlink_to(sys.executable)
        (target.parent.parent / MARKER).write_text("")

    def run(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tpdeploy", *args],
            env=self.environment(**env),
            capture_output=True,
            text=True,
            check=False,
        )

    def environment(self, **more: str) -> dict[str, str]:
        ours = {"TPDEPLOY_HOME": str(self.home), "PYTHONPATH": str(self.packages), "COLUMNS": "80"}
        return {**os.environ, **ours, **more}

    def plan(self, replicas: int = 1, dtype: Dtype = Dtype.BF16) -> None:
        cluster = parse_gpus(f"{replicas}xCPU")
        question = Question(
            shape=served_shape(load_model("smollm2"), cluster.accelerator, dtype, None),
            cluster=cluster,
            workload=Workload(concurrency=replicas),
            engine=replace(VLLM, name="standin", memory_fraction=0.9),
            kv_cache_dtype=dtype,
            tensor=1,
            replicas=replicas,
        )
        text = dump_record(plan(question, search(question)))
        write_whole(self.home / "plan.yaml", text)

    def launch(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run(*launch_arguments("--detach", *args), **env)

    def launched(self, *args: str, **env: str) -> Deployment:
        done = self.launch("--json", *args, **env)
        assert done.returncode == 0, done.stderr
        return Deployment.model_validate_json(done.stdout)

    def status(self) -> Deployment:
        (one,) = json.loads(self.run("status", "--json").stdout)["deployments"]
        return Deployment.model_validate(one)


def launch_arguments(*more: str) -> list[str]:
    """A launch on a port of its own: a default one may be another test's as soon as it is freed."""
    (port,) = free_ports("127.0.0.1", 1)
    return ["launch", "--port", str(port), *more]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    if (made.home / "deployments").exists():
        made.run("stop")


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for something another process is about to do."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not happen within 30 s"
        time.sleep(0.1)


def nothing_left(deployment: Deployment) -> bool:
    leaders = [m.leader for m in deployment.members if m.leader]
    supervised = deployment.supervisor is not None and is_alive(deployment.supervisor)
    ports = all(is_free("127.0.0.1", m.port) for m in deployment.members)
    return not supervised and ports and not any(members(leader) for leader in leaders)


def test_a_launch_is_ready_and_stop_leaves_nothing(machine: Machine) -> None:
    """Two replicas behind the front come up; stop ends every process and frees every port."""
    machine.plan(replicas=2)
    deployment = machine.launched()
    assert [m.label for m in deployment.members] == ["replica-0", "replica-1", "front"]
    assert {m.phase for m in deployment.members} == {"ready"}
    assert len(members(deployment.members[0].leader)) == 2  # type: ignore[arg-type]
    assert machine.run("stop").returncode == 0
    assert nothing_left(deployment)


def test_a_killed_replica_leaves_no_orphan_and_the_others_serve_on(machine: Machine) -> None:
    """kill -9 of one server: its worker is ended, and every request is answered by the other."""
    machine.plan(replicas=2)
    deployment = machine.launched()
    victim = deployment.members[0].leader
    assert victim is not None
    os.kill(victim.pid, signal.SIGKILL)
    answers = [httpx.get(deployment.url + "/v1/models", trust_env=False) for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200}
    eventually(lambda: machine.status().phase == "degraded")
    assert members(victim) == []
    after = machine.status()
    assert "replica-0 was ended by signal 9" in after.reason
    assert [m.phase for m in after.members] == ["failed", "ready", "ready"]


def test_the_last_replica_takes_the_deployment_with_it(machine: Machine) -> None:
    """When nothing serves any more, supervisor, front and ports go."""
    machine.plan(replicas=2)
    deployment = machine.launched()
    for member in deployment.members[:2]:
        assert member.leader is not None
        os.kill(member.leader.pid, signal.SIGKILL)
    eventually(lambda: nothing_left(deployment))
    assert "Nothing is running" in machine.run("status").stdout


def test_stop_ends_the_orphans_of_a_killed_supervisor(machine: Machine) -> None:
    """kill -9 of the supervisor: status says so, and stop still ends everything."""
    machine.plan()
    deployment = machine.launched()
    assert deployment.supervisor is not None
    psutil.Process(deployment.supervisor.pid).kill()
    eventually(lambda: deployment.supervisor is not None and not is_alive(deployment.supervisor))
    assert "orphaned" in machine.run("status").stdout
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


def in_foreground(command: list[str], machine: Machine) -> subprocess.Popen[bytes]:
    """Started as from a terminal: what runs in the background of a script ignores Ctrl-C."""
    return subprocess.Popen(
        command,
        env=machine.environment(),
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads
    )


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


def test_of_two_launches_at_once_one_is_refused(machine: Machine) -> None:
    """The name is taken from the first moment, before there is anything to see of the first."""
    machine.plan()
    python = [sys.executable, "-m", "tpdeploy"]
    both = [
        subprocess.Popen(
            [*python, *launch_arguments("--detach")],
            env=machine.environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    errors = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], errors
    assert sum("deployment default is running" in error for error in errors) == 1


def test_two_launches_at_once_take_two_ports(machine: Machine) -> None:
    """A port that was chosen is taken, long before the engine listens on it."""
    machine.plan()
    command = [sys.executable, "-m", "tpdeploy", "launch", "--detach", "--name"]
    both = [
        subprocess.Popen([*command, name], env=machine.environment(), stderr=subprocess.DEVNULL)
        for name in ("one", "two")
    ]
    assert [process.wait() for process in both] == [0, 0]
    listed = json.loads(machine.run("status", "--json").stdout)["deployments"]
    assert len({deployment["url"] for deployment in listed}) == 2
    machine.run("stop", "--name", "one")
    machine.run("stop", "--name", "two")


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


def test_an_edited_plan_that_cannot_be_split_is_refused_at_once(machine: Machine) -> None:
    """The engine would say so after half a minute: 9 heads over 2 ranks."""
    machine.plan(2)
    plan = machine.home / "plan.yaml"
    content = yaml.safe_load(plan.read_text())
    content["parallelism"] |= {"tensor": 2, "replicas": 1}
    content["placement"] = [{"replica": 0, "devices": [0, 1]}]
    plan.write_text(yaml.safe_dump(content))
    done = machine.run("launch", "--dry-run", "--backend", "vllm")
    assert done.returncode == 2
    assert "vllm cannot run this plan: 9 " in done.stderr
    assert "legal widths are 1" in done.stderr


def test_a_port_of_a_deployment_is_taken_before_it_listens(machine: Machine) -> None:
    """Engines listen when they are ready: until then the state tells whose the port is."""
    machine.plan()
    (port,) = free_ports("127.0.0.1", 1)
    never = [sys.executable, "-m", "tpdeploy", "launch", "--detach", "--port", str(port)]
    command = [*never, "--engine-arg=--never-ready"]
    first = in_foreground(command, machine)
    eventually(lambda: str(port) in machine.run("status").stdout)
    done = machine.run("launch", "--name", "second", "--port", str(port))
    assert done.returncode == 2
    assert f"--port {port} belongs to the running deployment default" in done.stderr
    first.send_signal(signal.SIGINT)
    first.communicate()


def test_launching_twice_is_refused(machine: Machine) -> None:
    """The second launch of a name says where the first one is and how to end it."""
    machine.plan()
    machine.launched()
    done = machine.run("launch", "--detach")
    assert done.returncode == 2
    assert "deployment default is running at http://127.0.0.1:" in done.stderr
    assert "tpdeploy stop" in done.stderr


def test_a_taken_port_is_refused_with_a_free_one(machine: Machine) -> None:
    """The holder and a port that would work are named; nothing is started."""
    machine.plan()
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        done = machine.run("launch", "--detach", "--port", str(port))
    assert done.returncode == 2
    assert f"--port {port} on 127.0.0.1 is taken by " in done.stderr
    assert done.stderr.strip().endswith("is free")


def test_stop_with_nothing_running_is_refused(machine: Machine) -> None:
    """One clear line, exit code 2."""
    done = machine.run("stop")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no deployment called default is running" in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--engine-arg=--port=1"], "--port is set by the plan"),
        (["--engine-arg=--api-key=x"], "--api-key would show in the process list"),
        (["--engine-arg=--api-k=x"], "set TPDEPLOY_API_KEY"),
        (["--engine-arg=--hf_tok=x"], "set HF_TOKEN"),
        (["--host", EVERYWHERE], "without a key lets in everyone who reaches it"),
        (["--name", "../x"], "letters, digits"),
        (["--port", "99999"], "ports go from 1 to 65535"),
        (["--port", "-1"], "ports go from 1 to 65535"),
        (["--executable", "/nowhere"], "not an executable file"),
        (["--backend", "vllm", "--engine-arg=--tensor_parallel_size=2"], "set by the plan"),
        (["--backend", "vllm", "--engine-arg=--max-num-s=2"], "set by the plan"),
        (["--backend", "vllm", "--engine-arg=-tp=2"], "-tp is set by the plan"),
        (["--backend", "standinn"], "did you mean standin"),
        (["--backend", "vllm"], "tpdeploy backends install vllm"),
        (["nowhere.yaml"], "cannot read nowhere.yaml"),
    ],
)
def test_what_cannot_be_launched_is_one_clear_line(
    machine: Machine, args: list[str], words: str
) -> None:
    """Contradictions, bad names and missing engines are refused before anything starts."""
    machine.plan()
    done = machine.run("launch", *args)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert not (machine.home / "deployments").exists()


@pytest.mark.parametrize(("key", "words"), [("", "is empty"), ("a b", "keys consist of")])
def test_a_key_that_can_be_none_is_refused(machine: Machine, key: str, words: str) -> None:
    """An empty one would look like protection."""
    machine.plan()
    done = machine.run("launch", TPDEPLOY_API_KEY=key)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"TPDEPLOY_API_KEY{': ' if key else ' '}{words}" in done.stderr


@pytest.mark.parametrize(
    ("id", "words"),
    [("--config=evil", "would be taken for an option"), ("a\x1b[2Jb", "control characters")],
)
def test_a_model_that_would_be_an_option_is_refused(machine: Machine, id: str, words: str) -> None:
    """Engines are given its name on their command line, and terminals show it."""
    machine.plan()
    plan = machine.home / "plan.yaml"
    content = yaml.safe_load(plan.read_text())
    content["model"]["id"] = id
    plan.write_text(yaml.safe_dump(content))
    done = machine.run("launch", "--dry-run")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert words in done.stderr
    assert "\x1b" not in done.stderr


def test_nobody_else_can_look_into_a_deployment(machine: Machine) -> None:
    """Engines may log prompts: every folder and file is this user's alone."""
    machine.plan(replicas=2)
    machine.launched()
    folder = machine.home / "deployments" / "default"
    assert {stat.S_IMODE(p.stat().st_mode) for p in (folder, folder / "logs")} == {0o700}
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"lock", "order.yaml", "replica-0.log", "supervisor.log"} <= {p.name for p in files}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_plan_the_engine_cannot_run_is_refused_with_the_remedy(machine: Machine) -> None:
    """What the adapter finds is shown with what would work."""
    machine.plan(dtype=Dtype.FP32)
    done = machine.run("launch")
    assert done.returncode == 2
    assert "standin cannot run this plan: no FP32: use bf16" in done.stderr


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
    assert done.stdout.count('"dial": "127.0.0.1:') == 2
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
