"""Launching real vLLM: replicas behind the front, tensor parallelism, and a clean end."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.commands import stop, tpdeploy
from tests.e2e.tiny import make_tiny_model
from tpdeploy.launcher.runtimes.ports import free_ports, is_free
from tpdeploy.launcher.runtimes.processes import members
from tpdeploy.launcher.state import Deployment, load, log_of, running_endpoint

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama without weights."""
    return make_tiny_model(tmp_path_factory.mktemp("models"))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A deployment's name that is stopped in any case."""
    yield (chosen := f"e2e-{request.node.name[:30].strip('_')}")
    stop(chosen)


def launched(model: Path, name: str, folder: Path, *split: str) -> Deployment:
    plan = str(folder / "plan.yaml")
    load = ["--concurrency", "2", "--input-tokens", "64", "--output-tokens", "16"]
    tpdeploy("plan", str(model), "--gpus", "2xCPU", *split, *load, "-o", plan)
    options = ["--detach", "--json", "--name", name, "--engine-arg=--load-format=dummy"]
    (port,) = free_ports("127.0.0.1", 1)
    started = tpdeploy("launch", plan, *options, "--port", str(port))
    return Deployment.model_validate_json(started)


def kv_cache_tokens(name: str) -> int:
    """Tokens of KV cache as the engine's own log reports them."""
    log = log_of(name, "replica-0").read_text()
    found = re.search(r"KV cache size: ([\d,]+) tokens", log)
    assert found is not None, log[-2000:]
    return int(found[1].replace(",", ""))


def assert_nothing_left(deployment: Deployment) -> None:
    assert not members(*(m.leader for m in deployment.members if m.leader))
    assert all(is_free("127.0.0.1", member.port) for member in deployment.members)


def test_two_replicas_survive_the_death_of_one(tiny_model: Path, name: str, tmp_path: Path) -> None:
    """kill -9 of one API server: its workers are ended, the other answers, and it comes back."""
    deployment = launched(tiny_model, name, tmp_path, "--replicas", "2")
    tpdeploy("query", "Hello", "--max-tokens", "4", "--name", name)
    victim = deployment.members[0].leader
    assert victim is not None
    assert len(members(victim)) > 1
    os.kill(victim.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while members(victim):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for _ in range(6):
        tpdeploy("query", "Hello", "--max-tokens", "4", "--name", name)
    deadline = time.monotonic() + 600
    while (now := load(name)) is None or (now.phase, now.members[0].restarts) != ("ready", 1):
        assert time.monotonic() < deadline
        time.sleep(1)
    assert "ended by SIGKILL" in tpdeploy("status", "--name", name)
    tpdeploy("query", "Hello", "--max-tokens", "4", "--name", name)
    tpdeploy("stop", "--name", name)
    assert_nothing_left(deployment)
    assert_nothing_left(now)


def test_one_command_leads_to_a_served_model(tiny_model: Path, name: str) -> None:
    """`up` plans and starts vLLM, and prints how to call it."""
    asked = ("up", str(tiny_model), "--gpus", "1xCPU", "--backend", "vllm", "--concurrency", "2")
    (port,) = free_ports("127.0.0.1", 1)
    options = ("--detach", "--name", name, "--port", str(port), "--engine-arg=--load-format=dummy")
    printed = tpdeploy(*asked, *options)
    assert printed.startswith(f"Ready: tiny-llama at http://127.0.0.1:{port}/v1\n")
    assert "from openai import OpenAI" in printed
    deployment = load(name)
    assert deployment is not None
    tpdeploy("stop", "--name", name)
    assert_nothing_left(deployment)


def test_tensor_parallelism_runs_with_the_plans_kv_cache(
    tiny_model: Path, name: str, tmp_path: Path
) -> None:
    """TP 2 on two cores answers, and the engine's KV cache has the tokens the plan counted."""
    deployment = launched(tiny_model, name, tmp_path, "--tp", "2")
    assert [m.label for m in deployment.members] == ["replica-0", "front"]
    tpdeploy("query", "Hello", "--max-tokens", "4", "--name", name)
    planned = running_endpoint(name).plan.memory_per_gpu.kv_cache_tokens
    assert kv_cache_tokens(name) == pytest.approx(planned, rel=0.01)
    tpdeploy("stop", "--name", name)
    assert_nothing_left(deployment)
