"""What cannot be launched is refused in one clear line, before anything starts."""

import json
import signal
import socket
import subprocess
import sys

import pytest
import yaml

from tests.launcher.machine import (
    Machine,
    eventually,
    in_foreground,
    launch_arguments,
)
from tests.profiles.standin_hub import serving
from tpdeploy.launcher.runtimes.ports import EVERYWHERE, free_ports
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.record import Dtype

pytestmark = pytest.mark.processes


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


def test_two_launches_at_once_see_each_other(machine: Machine) -> None:
    """A port that was chosen is taken, and cores and GPUs too, long before the engine has them."""
    machine.plan()
    command = [sys.executable, "-m", "tpdeploy", "launch", "--detach", "--name"]
    both = [
        subprocess.Popen(
            [*command, name], env=machine.environment(), stderr=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    told = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("computes on core(s)" in words for words in told) == 1
    listed = json.loads(machine.run("status", "--json").stdout)["deployments"]
    assert len({deployment["url"] for deployment in listed}) == 2


def limited(machine: Machine, files: int, *args: str) -> subprocess.CompletedProcess[str]:
    """A launch by a user who may have so many open files."""
    shell = ["sh", "-c", f'ulimit -n {files} && exec "$0" -m tpdeploy "$@"', sys.executable]
    return subprocess.run(
        [*shell, *launch_arguments("--detach", *args)],
        env=machine.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_too_few_open_files_are_refused_unless_the_user_insists(machine: Machine) -> None:
    """Seen before anything starts, with what helps; with `--force` it is told, and started."""
    machine.plan()
    refused = limited(machine, 120)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "open files: 120 allowed, 16 requests at once need 132; ulimit -n" in refused.stderr
    assert not (machine.home / "deployments").exists()
    forced = limited(machine, 120, "--force")
    assert forced.returncode == 0, forced.stderr
    assert "Warning: open files: 120 allowed" in forced.stderr


def test_cores_of_another_deployment_are_told_and_used(machine: Machine) -> None:
    """A warning in one line; both serve."""
    machine.plan()
    machine.launched("--name", "first")
    done = machine.launch("--name", "second")
    assert done.returncode == 0, done.stderr
    assert "Warning: deployments: first computes on core(s)" in done.stderr
    assert "tpdeploy stop --name first" in done.stderr
    machine.run("stop", "--name", "first")
    machine.run("stop", "--name", "second")


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
    assert "no deployment is running" in done.stderr


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


def test_weights_that_cannot_be_had_are_refused_before_the_start(machine: Machine) -> None:
    """A gated model with the page where its terms are accepted; offline; a disk that is full."""
    machine.plan()
    model = load_model("smollm2").id
    elsewhere = {"HF_HOME": str(machine.home / "empty"), "HF_TOKEN": ""}
    offline = machine.run("launch", **elsewhere)
    with serving() as hub:
        online = {**elsewhere, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.address}
        config = f"/{model}/resolve/main/config.json"
        hub.answer(config, 401, kind="GatedRepo")
        gated = machine.run("launch", **online)
        hub.answer(config, 200, {})
        files = [{"rfilename": "model.safetensors", "size": 10**18}]
        hub.answer(f"/api/models/{model}?blobs=true", 200, {"siblings": files})
        full = machine.run("launch", **online)
    for done, words in (
        (offline, "is not on this machine, and HF_HUB_OFFLINE forbids to ask the hub; unset it"),
        (gated, f"no token was sent; accept its terms at https://huggingface.co/{model} and set"),
        (full, f"disk: 1,000,000,000.0 GB of {model} are to be downloaded, "),
    ):
        assert words in done.stderr
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert not (machine.home / "deployments").exists()


def test_a_plan_the_engine_cannot_run_is_refused_with_the_remedy(machine: Machine) -> None:
    """What the adapter finds is shown with what would work."""
    machine.plan(dtype=Dtype.FP32)
    done = machine.run("launch")
    assert done.returncode == 2
    assert "standin cannot run this plan: no FP32: use bf16" in done.stderr
