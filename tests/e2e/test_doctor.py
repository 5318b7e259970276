"""`tpdeploy doctor` with the engine's own PyTorch: ranks that meet, and one that never does."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.e2e.tiny import CONFIG
from tpdeploy.backends.registry import load_backend
from tpdeploy.launcher.environments import find_environment

pytestmark = pytest.mark.engine

# How the ranks are started: by multiprocessing, which names itself so.
RANK = "spawn_main"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TP 2 on this machine's CPU, of a model whose folder seems whole."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(b"")
    plan = folder / "plan.yaml"
    load = ("--concurrency", "2", "--input-tokens", "64", "--output-tokens", "64")
    asked = ("plan", str(folder), "--gpus", "2xCPU", "--tp", "2", "--backend", "vllm", *load)
    subprocess.run([*command(*asked), "-o", str(plan)], check=True, capture_output=True)
    return plan


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "tpdeploy", *args]


def doctor(plan: Path) -> subprocess.Popen[str]:
    environment = find_environment(load_backend("vllm").environment("cpu"))
    assert environment is not None
    return subprocess.Popen(
        command("doctor", str(plan), "--json", "--python", str(environment.python)),
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
        stdout=subprocess.PIPE,
        text=True,
    )


def last_finding(process: subprocess.Popen[str]) -> dict[str, str]:
    text, _ = process.communicate(timeout=180)
    found: dict[str, str] = json.loads(text)["findings"][-1]
    return found


def ranks_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Those that have been started, in the order of their start."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if any(RANK in word for word in child.cmdline())]


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_two_ranks_add_up_over_gloo(plan: Path) -> None:
    """In the environment of vLLM; the time of a message is told, and nothing is in the way."""
    process = doctor(plan)
    finding = last_finding(process)
    assert (finding["check"], finding["verdict"]) == ("all-reduce", "ok"), finding
    assert "1 group of 2 over gloo: 1 MiB in " in finding["seen"]
    assert process.returncode == 0


def test_a_rank_that_hangs_is_found_and_nothing_is_left(plan: Path) -> None:
    """Who hangs where is told after 20 s; exit code 1, and every rank is ended."""
    process = doctor(plan)
    started: list[psutil.Process] = []
    while len(started) < 2:
        assert process.poll() is None
        time.sleep(0.05)
        started = ranks_of(process)
    started[1].suspend()
    begun = time.monotonic()
    finding = last_finding(process)
    # Loading PyTorch comes first, on a machine that may be busy.
    assert time.monotonic() - begun < 120
    assert (finding["check"], finding["verdict"]) == ("all-reduce", "fail")
    assert "no step forward in 20 s: " in finding["seen"]
    assert "meeting the other ranks" in finding["seen"]
    assert process.returncode == 1
    assert not [rank for rank in started if runs(rank)]
