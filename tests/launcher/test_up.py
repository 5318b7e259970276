"""`tpdeploy up`: one command from a model to an answer."""

import ast
import json
import shlex
from pathlib import Path

import httpx
import pytest

from tests.cli.commands import refused, tpdeploy
from tests.launcher.machine import ENGINE, Machine, nothing_left
from tpdeploy.cli.planfile import read_plan
from tpdeploy.cli.views.calling import calls
from tpdeploy.errors import InputError
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.ports import free_ports
from tpdeploy.launcher.state import Deployment

UP = ("up", "smollm2", "--gpus", "2xCPU", "--concurrency", "2", "--output-tokens", "8")
STANDIN = ("--backend", "standin")


@pytest.mark.processes
def test_one_command_leads_to_an_answer(machine: Machine) -> None:
    """It plans, launches, asks, and prints a call that works; the plan is kept."""
    (port,) = map(str, free_ports("127.0.0.1", 1))
    done = machine.run(*UP, *STANDIN, "--replicas", "2", "--detach", "--port", port)
    assert done.returncode == 0, done.stderr
    deployment = machine.status()
    order = ["Why: ", "Starting ", "replica-0: ", "Asked 'Say hello", "Stop it: tpdeploy"]
    places = [done.stderr.index(words) for words in order]
    assert places == sorted(places)
    assert "in one sentence.': 'Hello!'" in done.stderr
    assert read_plan(machine.home / "plan.yaml").parallelism.replicas == 2
    ready, curl, python = done.stdout.split("\n", 1)[0], *parts(done.stdout)
    assert ready == f"Ready: HuggingFaceTB/SmolLM2-135M-Instruct at http://127.0.0.1:{port}/v1"
    words = shlex.split(curl)
    assert httpx.post(words[1], content=words[words.index("-d") + 1], trust_env=False).is_success
    assert f'base_url="http://127.0.0.1:{port}/v1"' in python
    assert machine.run("stop").returncode == 0
    assert nothing_left(deployment)


def parts(printed: str) -> tuple[str, str]:
    """The curl command and the Python program below the first line."""
    curl, _, python = printed.partition("\n")[2].partition("\n\n")
    return curl, python


@pytest.mark.processes
def test_a_dry_run_prints_commands_and_leaves_nothing(machine: Machine) -> None:
    """Neither a deployment nor a plan."""
    done = machine.run(*UP, *STANDIN, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    first, *_ = json.loads(done.stdout)["commands"]
    assert Path(first["argv"][0]).name == ENGINE
    assert not (machine.home / "plan.yaml").exists()
    assert not (machine.home / "deployments").exists()


@pytest.mark.processes
def test_the_engine_that_is_there_is_taken(machine: Machine) -> None:
    """Unasked, an engine that would have to be installed is none of the choices."""
    done = machine.run(*UP, "--dry-run", "--json", PATH="/nowhere")
    assert done.returncode == 0, done.stderr
    first, *_ = json.loads(done.stdout)["commands"]
    assert Path(first["argv"][0]).name == ENGINE


@pytest.mark.processes
def test_an_engine_that_fails_ends_all_of_it(machine: Machine) -> None:
    """With the engine's reason and exit code 1; the plan is there to be launched again."""
    (port,) = map(str, free_ports("127.0.0.1", 1))
    done = machine.run(*UP, *STANDIN, "--detach", "--port", port, "--engine-arg=--crash")
    assert done.returncode == 1
    assert "RuntimeError: out of stand-in memory" in done.stderr
    assert "Nothing is running" in machine.run("status").stdout
    assert (machine.home / "plan.yaml").exists()


def test_what_cannot_be_planned_or_started_has_the_exit_code_of_that_command(
    tmp_path: Path,
) -> None:
    """3: nothing feasible, with what would work; 2: an engine that is missing."""
    none = refused("up", "llama-70b", "--gpus", "1xL40S", "--backend", "vllm", code=3)
    assert "what would work" in none
    whose = refused("up", "smollm2", "--gpus", "CPU", "--executable", "/bin/true")
    assert whose == "Error: --executable: say of which engine it is, as --backend vllm"
    missing = tpdeploy(*UP, "--backend", "vllm", home=tmp_path, PATH="/nowhere")
    assert missing.returncode == 2
    assert "tpdeploy backends install vllm --platform cpu" in missing.stderr
    assert not (tmp_path / "plan.yaml").exists()


def test_a_dry_run_for_a_cluster_is_what_launch_would_hand_over(tmp_path: Path) -> None:
    """The manifest alone on stdout, for an engine that is not installed here."""
    asked = ("llama-8b", "--gpus", "1xH100", "--backend", "vllm")
    on = ("--on", "kubernetes", "--dry-run")
    up = tpdeploy("up", *asked, *on, home=tmp_path, PATH="/nowhere")
    assert up.returncode == 0, up.stderr
    assert not (tmp_path / "plan.yaml").exists()
    assert tpdeploy("plan", *asked, "-q", home=tmp_path).returncode == 0
    launch = tpdeploy("launch", *on, home=tmp_path, PATH="/nowhere")
    assert up.stdout == launch.stdout
    assert "kind: Deployment" in up.stdout


@pytest.mark.parametrize(
    ("on", "asked"),
    [
        (["slurm"], "slurm"),
        (["slurm", "--sbatch", "partition=gpu"], "slurm:gpu"),
        (["kubernetes:prod"], "kubernetes:prod"),
        (["slurm", "--gpus", "8xH100"], ""),
    ],
)
def test_without_gpus_it_plans_for_what_the_cluster_has(
    monkeypatch: pytest.MonkeyPatch, on: list[str], asked: str
) -> None:
    """A cluster is asked for its devices, unless they are stated."""
    seen = []

    def told(gpus: str, *_: str | None) -> None:
        seen.append(gpus)
        raise InputError("it has none")

    monkeypatch.setattr("tpdeploy.launcher.inventory.cluster_of", told)
    code = 2 if asked else 3
    target = () if asked else ("--tpot", "0.1", "--backend", "vllm")
    assert refused("up", "llama-8b", "--on", *on, *target, code=code)
    assert seen == ([asked] if asked else [])


def test_a_place_that_does_not_tell_or_is_not_known(tmp_path: Path) -> None:
    """Each with what would work."""
    silent = refused("up", "llama-8b", "--on", "ssh:a,b", home=tmp_path)
    assert silent == "Error: ssh does not tell what it has; name it, as --gpus 2x8xH100"
    assert refused("up", "llama-8b", "--on", "nomad").startswith("Error: --on nomad: known: ")


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize(("chats", "route"), [(True, "/chat/completions"), (False, "/completions")])
def test_both_programs_say_the_same(route: str, *, chats: bool, keyed: bool) -> None:
    """Route, model and key; names that would end a string or a command do not."""
    model = """o'r"g/m$(x)"""
    deployment = Deployment(
        name="default",
        model=model,
        backend="vllm",
        url="http://h:1",
        members=(Member(port=1, label="x"),),
    )
    curl, _, python = calls(deployment, chats=chats, keyed=keyed).partition("\n\n")
    words = shlex.split(curl)
    assert words[1] == f"http://h:1/v1{route}"
    body = json.loads(words[-1])
    assert body["model"] == model
    program = ast.parse(python)
    texts = [n.value for n in ast.walk(program) if isinstance(n, ast.Constant)]
    assert {model, "http://h:1/v1"} <= set(texts)
    assert ("messages" in body, "chat.completions.create" in python) == (chats, chats)
    assert ("$TPDEPLOY_API_KEY" in curl, "os.environ" in python) == (keyed, keyed)
