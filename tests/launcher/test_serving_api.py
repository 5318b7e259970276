"""`tpdeploy.launch` and `validate` from Python."""

import subprocess
import sys
from pathlib import Path

import pytest

import tpdeploy
from tests.harness.plans import small_plan
from tests.launcher.machine import Machine, eventually
from tpdeploy.launcher.runtimes.ports import free_ports
from tpdeploy.planner.workload import Workload

PLANNED = """
import asyncio
import tpdeploy

plan = tpdeploy.plan(
    "smollm2", gpus="1xCPU", backend="standin", concurrency=2, input_tokens=64, output_tokens=8
)
"""
MEASURED = """
with tpdeploy.launch(plan, port={port}) as running:
    print(running.url, running.model)
    async def in_a_notebook():
        return tpdeploy.validate(running, requests=4, warm_up=0)
    report = asyncio.run(in_a_notebook())
    print(report.measured.requests, report.verdict)
    other = tpdeploy.validate(running.url, plan, concurrency=1, requests=2, warm_up=0)
    print(other.workload.concurrency, all(row.predicted for row in other.rows))
"""
LEFT = """
tpdeploy.launch(plan, port={port})
"""
BROKEN = """
try:
    tpdeploy.launch(plan, port={port}, engine_args=["--crash"])
except tpdeploy.TpdeployError as error:
    print(error)
"""


def ran(machine: Machine, program: str) -> str:
    """What a program printed that plans first."""
    (port,) = free_ports("127.0.0.1", 1)
    done = subprocess.run(
        [sys.executable, "-c", PLANNED + program.format(port=port)],
        env=machine.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.replace(str(port), "PORT")


@pytest.mark.processes
def test_a_plan_is_launched_measured_and_stopped(machine: Machine) -> None:
    """Also where an event loop runs already; the block's end stops it."""
    assert ran(machine, MEASURED).splitlines() == [
        "http://127.0.0.1:PORT/v1 HuggingFaceTB/SmolLM2-135M-Instruct",
        "4 no target",
        "1 True",
    ]
    assert "Nothing is running" in machine.run("status").stdout
    assert not (machine.home / "validations").exists()


@pytest.mark.processes
def test_it_ends_with_the_process_that_launched_it(machine: Machine) -> None:
    """Nothing is left of a program that forgot it."""
    assert ran(machine, LEFT) == ""
    eventually(lambda: "Nothing is running" in machine.run("status").stdout)


@pytest.mark.processes
def test_an_engine_that_fails_is_an_error(machine: Machine) -> None:
    """With the engine's words."""
    told = ran(machine, BROKEN)
    assert "launch failed: replica-0 " in told
    assert "out of stand-in memory" in told


def test_what_cannot_be_launched_or_measured_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before anything starts, with what would work."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path))
    with pytest.raises(tpdeploy.InputError, match="tpdeploy backends install vllm"):
        tpdeploy.launch(tpdeploy.plan("smollm2", "1xCPU", backend="vllm"))
    with pytest.raises(tpdeploy.InputError, match="cannot read nowhere"):
        tpdeploy.launch("nowhere.yaml")
    with pytest.raises(tpdeploy.InputError, match="no deployment called default is running"):
        tpdeploy.validate()
    with pytest.raises(tpdeploy.InputError, match="give the plan that it was launched with"):
        tpdeploy.validate("http://127.0.0.1:9")
    with pytest.raises(tpdeploy.InputError, match="concurrency -1: must be greater than 0"):
        tpdeploy.validate("http://127.0.0.1:9", small_plan(Workload(concurrency=2)), concurrency=-1)
    with pytest.raises(tpdeploy.InputError, match="give one of them"):
        tpdeploy.validate(
            "http://127.0.0.1:9", small_plan(Workload(concurrency=2)), concurrency=1, rate=1.0
        )
