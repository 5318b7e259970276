"""Replicas as jobs of a real Slurm, from launch to stop; the engine is a stand-in."""

import json
from pathlib import Path

import pytest

from tests.cluster.conftest import UsersMachine
from tests.launcher.machine import eventually
from tpdeploy.launcher.seen import Seen

pytestmark = pytest.mark.cluster


def launched(machine: UsersMachine, *args: str) -> Seen:
    done = machine.launch("--on", "slurm", *args)
    assert done.returncode == 0, done.stderr
    return machine.status()


def queue(machine: UsersMachine) -> list[str]:
    """The states of all jobs that are in it, without those that are just ending."""
    told = machine.host.run("squeue", "--noheader", "--format=%T", **machine.environment())
    return [state for state in told.stdout.split() if state != "COMPLETING"]


def test_each_replica_is_a_job_and_stop_leaves_none(on_slurm: UsersMachine) -> None:
    """Found again by status, answered through the front, its log read by its label."""
    on_slurm.plan(replicas=2)
    seen = launched(on_slurm)
    assert queue(on_slurm) == ["RUNNING", "RUNNING"]
    assert [member.runtime for member in seen.members] == ["slurm", "slurm", "local"]
    assert on_slurm.answers(seen.url)
    assert "replica-1  | STAGE loading" in on_slurm.run("logs").stdout
    done = on_slurm.run("stop")
    assert done.returncode == 0, done.stderr
    assert queue(on_slurm) == []


def test_a_cancelled_job_comes_back_and_the_other_serves(on_slurm: UsersMachine) -> None:
    """scancel of one: no request is lost, and its successor is another job."""
    on_slurm.plan(replicas=2)
    before = launched(on_slurm)
    first = before.members[0].reference
    on_slurm.host.run("scancel", first, **on_slurm.environment())
    assert all(on_slurm.answers(before.url) for _ in range(20))
    eventually(lambda: on_slurm.status().members[0].restarts == 1)
    eventually(lambda: on_slurm.status().phase == "ready")
    after = on_slurm.status()
    assert after.members[0].reference != first
    assert "was cancelled" in after.members[0].last_end


def test_what_slurm_would_never_run_is_refused_at_once(on_slurm: UsersMachine) -> None:
    """In its own words, in one line, with nothing in the queue and nothing left behind."""
    on_slurm.plan()
    done = on_slurm.launch("--on", "slurm", "--sbatch", "partition=nope")
    assert done.returncode == 2
    assert "Slurm refuses the job: " in done.stderr
    assert "nvalid partition" in done.stderr
    assert queue(on_slurm) == []


def test_a_job_that_waits_says_for_what(on_slurm: UsersMachine) -> None:
    """The time in the queue is not the engine's to become ready in."""
    on_slurm.plan()
    taken = ("srun", "--job-name=other", "--nodes=2", "--exclusive", "sleep", "12")
    other = on_slurm.host.started(*taken, **on_slurm.environment())
    eventually(lambda: queue(on_slurm) == ["RUNNING"])
    done = on_slurm.launch("--on", "slurm", "--startup-timeout", "8")
    assert other.wait() == 0
    assert done.returncode == 0, done.stderr
    assert "replica-0: in Slurm's queue: Resources" in done.stderr


def test_the_script_is_one_a_person_could_submit(on_slurm: UsersMachine) -> None:
    """Options of the site are lines of it; nothing is of the machine that printed it but paths."""
    on_slurm.plan()
    done = on_slurm.launch(
        "--on",
        "slurm",
        "--sbatch",
        "partition=gpu",
        "--sbatch=--time=1:00:00",
        "--dry-run",
        "--json",
    )
    replica = json.loads(done.stdout)["commands"][0]
    (script,) = [text for path, text in replica["files"].items() if Path(path).name == "job.sh"]
    lines = script.splitlines()
    assert {"#SBATCH --partition=gpu", "#SBATCH --time=1:00:00", "#SBATCH --nodes=1"} <= set(lines)
    assert "srun --kill-on-bad-exit=1 bash -s <<'PART'" in lines
    assert replica["argv"][:2] == ["sbatch", "--parsable"]


def test_what_the_plan_says_is_not_asked_of_sbatch(on_slurm: UsersMachine) -> None:
    """Nodes and devices are the plan's."""
    on_slurm.plan()
    done = on_slurm.launch("--on", "slurm", "--sbatch", "nodes=3")
    assert done.returncode == 2
    assert "--sbatch nodes=3: the plan says that" in done.stderr


def test_a_plan_is_made_for_what_a_partition_has(on_slurm: UsersMachine) -> None:
    """Its nodes, and the types of their gres; one that nobody has is refused in one line."""
    options = ("--backend", "vllm", "--json")
    done = on_slurm.run("plan", "llama-8b", "--gpus", "slurm:gpu", *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["cluster"]
    assert (found["gpu"], found["count"], found["nodes"]) == ("H100-SXM-80GB", 16, 2)
    assert found["assumptions"][0].startswith("Found in slurm:gpu: nodes with 8 x h100, 2")
    done = on_slurm.run("plan", "llama-8b", "--gpus", "slurm:nope", *options)
    assert done.returncode == 2
    assert "--gpus slurm:nope: no node that is up has GPUs" in done.stderr
