"""The batch script of a replica, for what no test has: GPUs, MPI, and images on the nodes."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.launcher.plans import plan_for
from tests.planner.inputs import VLLM, ask
from tpdeploy.backends.registry import load_backend
from tpdeploy.errors import InputError
from tpdeploy.launcher.commands import Order, replica_commands
from tpdeploy.launcher.launch import check
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.script import written
from tpdeploy.launcher.runtimes.slurm import LOOK_EVERY_S, Slurm
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.search import plan, search

IMAGE = "vendor/engine:1"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path / "home"))


def order(backend: str, on: str = "slurm", container: str | None = None) -> Order:
    return Order(
        name="default",
        backend=backend,
        host="127.0.0.1",
        port=8000,
        startup_timeout_s=60.0,
        on=on,
        container=container,
    )


def over_two_machines() -> DeploymentPlan:
    """Eight ranks, a stage of four on each of two machines."""
    parts = plan_for("8xH100", tensor=8, model="llama-70b").model_dump(mode="json")
    parts["cluster"] |= {"nodes": 2}
    parts["parallelism"] |= {"tensor": 4, "pipeline": 2}
    parts["placement"][0] |= {"devices": [*range(4), *range(4)], "nodes": [0] * 4 + [1] * 4}
    return DeploymentPlan.model_validate(parts)


def script(plan: DeploymentPlan, order: Order) -> list[str]:
    (rendered,) = replica_commands(plan, load_backend(order.backend), order)
    (text,) = [text for path, text in rendered.files.items() if path.name == "job.sh"]
    subprocess.run(["/bin/bash", "-n"], input=text, text=True, check=True)
    return text.splitlines()


def step(lines: list[str]) -> str:
    return next(line for line in lines if line.startswith("srun"))


def test_vllm_has_a_task_a_node_and_the_others_serve_nobody() -> None:
    """The devices are Slurm's to name; where machines meet is known in the job alone."""
    lines = script(over_two_machines(), order("vllm"))
    assert {"#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=1", "#SBATCH --gres=gpu:4"} <= set(
        lines
    )
    assert step(lines) == "srun --kill-on-bad-exit=1 bash -s <<'PART'"
    assert sum("--headless" in line for line in lines) == 1
    assert sum('--master-addr "$HEAD"' in line for line in lines) == 2
    assert not any("CUDA_VISIBLE_DEVICES" in line for line in lines)


def test_a_layer_over_machines_is_started_as_stages_are() -> None:
    """A job of two nodes; vLLM finds data ranks by the number of their node."""
    wide = script(plan_for("2x4xGB200", tensor=8, model="llama-405b"), order("vllm"))
    assert {"#SBATCH --nodes=2", "#SBATCH --gres=gpu:4"} <= set(wide)
    assert sum("--tensor-parallel-size 8" in line for line in wide) == 2
    engine = replace(VLLM, data_parallel=True)
    inputs = ask("deepseek-r1", "2x8xH200", data=16, engine=engine)
    ranks = script(plan(inputs, search(inputs)), order("vllm"))
    assert sum("--data-parallel-size 16" in line for line in ranks) == 2
    assert sum('--node-rank "$SLURM_NODEID"' in line for line in ranks) == 2


def test_tensorrt_llm_has_a_task_a_gpu_joined_by_mpi() -> None:
    """Each of them runs the launcher that its MPI job needs, with options on the shared folder."""
    lines = script(over_two_machines(), order("tensorrt-llm"))
    assert {"#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=4"} <= set(lines)
    assert step(lines) == "srun --kill-on-bad-exit=1 --mpi=pmix bash -s <<'PART'"
    assert any(line.startswith("set -- trtllm-llmapi-launch trtllm-serve ") for line in lines)


def test_a_script_within_a_script_is_written_whole(tmp_path: Path) -> None:
    """As a dry run prints those of other machines, which write files themselves."""
    inner = written({"x": "EOF\nEOF_\n"})
    subprocess.run(["/bin/bash"], input=written({f"{tmp_path}/a.sh": inner}), text=True, check=True)
    assert (tmp_path / "a.sh").read_text() == inner


def test_a_controller_that_is_away_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for who supervises, nor for a command that asks once; when it is back, it counts."""
    squeue = tmp_path / "squeue"
    squeue.write_text('#!/bin/sh\ntest -e "$0.back"\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    runtime = Slurm()
    job = Member(label="replica-0", runtime="slurm", port=0, reference="7")
    assert runtime.observe(job).runs
    assert runtime.observe(job).waits == "the answer of Slurm's controller"
    assert runtime.left([job])
    assert not runtime.left([job.model_copy(update={"phase": "stopped"})])
    (tmp_path / "squeue.back").touch()
    runtime.looked_at = -LOOK_EVERY_S
    assert runtime.observe(job).end == "has left Slurm's queue"


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("pyxis", f"--container-image={IMAGE} --container-mounts="),
        ("apptainer", "apptainer exec --nv --bind "),
    ],
)
def test_an_image_is_run_by_what_the_nodes_have(by: str, words: str, tmp_path: Path) -> None:
    """It sees the replica's folder by the path that the engine is told."""
    lines = script(over_two_machines(), order("vllm", f"slurm:{by}", IMAGE))
    assert words in step(lines)
    folder = tmp_path / "home" / "deployments" / "default" / "replica-0"
    assert f"{folder}:{folder}" in step(lines)
    assert not any(line.startswith("export PATH=") for line in lines)


@pytest.mark.parametrize(
    ("on", "image", "words"),
    [
        ("slurm", IMAGE, "say what runs images on the nodes: --on slurm:pyxis or"),
        ("slurm:docker", IMAGE, "jobs run in images by pyxis or apptainer"),
        ("slurm:pyxis", None, "name the image: --container IMAGE"),
    ],
)
def test_an_image_and_what_runs_it_go_together(on: str, image: str | None, words: str) -> None:
    """Nothing is guessed about nodes that are not seen."""
    with pytest.raises(InputError, match=words):
        check(over_two_machines(), load_backend("vllm"), order("vllm", on, image))
