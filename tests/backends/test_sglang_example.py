"""The example package is installed, found by its entry point, and keeps to the contract."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

pytestmark = pytest.mark.slow  # half a dozen processes

EXAMPLE = Path(__file__).parents[2] / "examples" / "sglang-backend"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment with the example installed into a folder of its own, from a built wheel."""
    folder = tmp_path_factory.mktemp("sglang")
    install = [find_uv_bin(), "pip", "install", "--quiet", "--offline", "--no-deps"]
    install += ["--no-build-isolation", "--python", sys.executable, "--target", str(folder / "lib")]
    done = subprocess.run([*install, str(EXAMPLE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ours = {"PYTHONPATH": str(folder / "lib"), "TPDEPLOY_HOME": str(folder / "home")}
    return {**os.environ, **ours, "COLUMNS": "80"}


def run(environment: dict[str, str], *command: str) -> str:
    argv = [sys.executable, "-m", *command]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_planned_and_launched_like_any_other(environment: dict[str, str]) -> None:
    """Found, asked by `auto`, planned by name, and its command printed."""
    listed = json.loads(run(environment, "tpdeploy", "backends", "--json"))["engines"]
    assert "sglang" in {engine["name"] for engine in listed}
    asked = run(environment, "tpdeploy", "plan", "llama-8b", "--gpus", "1xH100", "--json")
    assert "sglang" in {engine["name"] for engine in json.loads(asked)["engines"]}
    where = ["--gpus", "8xH100", "--tp", "4", "--backend", "sglang"]
    made = json.loads(run(environment, "tpdeploy", "plan", "llama-70b", *where, "--json"))
    assert made["backend"] == "sglang"
    shown = run(environment, "tpdeploy", "launch", "--dry-run")
    assert "python -m sglang.launch_server" in shown
    assert f"--max-running-requests {made['limits']['max_num_seqs']}" in shown
    assert "caddy run --config" in shown


def test_its_own_tests_pass(environment: dict[str, str]) -> None:
    """The conformance class, inherited with one fixture."""
    shown = run(environment, "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests"))
    assert "passed" in shown
