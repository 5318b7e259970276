"""`tpdeploy calibrate` and `tpdeploy history` as a user meets them."""

import json
import sys
from pathlib import Path

import pytest

from tests.cli.commands import answered, refused
from tests.launcher import standin_measure
from tpdeploy.learning.calibrations import MeasuredMachine
from tpdeploy.profiles.machine.cores import processor

MODEL = "smollm2-135m"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def python(tmp_path: Path) -> str:
    """A Python that prints figures instead of measuring."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {standin_measure.__file__} "$@"\n')
    path.chmod(0o755)
    return str(path)


def calibrate(python: str, *args: str) -> str:
    return answered("calibrate", "--backend", "vllm", "--gpus", "1xCPU", "--python", python, *args)


@pytest.mark.slow
def test_what_was_measured_is_shown_beside_the_catalog_and_kept(python: str, home: Path) -> None:
    """A row a figure, the engine's version, what could not be measured, and where it is kept."""
    shown = calibrate(python)
    assert "Test CPU: vllm 1.2.3" in shown
    row = next(line for line in shown.splitlines() if line.startswith("reading memory"))
    assert row.split()[2] == "26.8"
    for name in ("matrix products", "norms, activation", "prompt attention", "decode attention"):
        assert name in shown
    assert "vLLM's attention cannot be called here" in shown
    (kept,) = (home / "measured" / "vllm").glob("cpu-*.json")
    assert f"{kept}" in shown.replace("\n", "")


def test_json_holds_every_figure(python: str) -> None:
    """The record as it is kept."""
    found = MeasuredMachine.model_validate_json(calibrate(python, "--json"))
    assert found.hardware == "Test CPU"
    assert len(found.samples) == 1 + 2 * 4 + 2 * 3


def test_two_shares_are_measured_together(python: str) -> None:
    """Their all-reduce becomes a curve."""
    shown = answered("calibrate", "--backend", "vllm", "--gpus", "2xCPU", "--python", python)
    assert "all-reduce of 2, 1 MiB" in shown


def test_plans_use_it_from_then_on(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On this processor; the source of the prediction names it."""
    monkeypatch.setattr("tpdeploy.learning.calibrations.processor", lambda: "Test CPU")
    inputs = ("plan", MODEL, "--gpus", "1xCPU", "--json")
    before = json.loads(answered(*inputs))["prediction"]["tpot_ms"]
    calibrate(python)
    after = json.loads(answered(*inputs))["prediction"]["tpot_ms"]
    assert "measured on this machine by tpdeploy calibrate" in after["source"]
    assert after["value"] != before["value"]
    assert processor() != "Test CPU"


def test_a_busy_machine_is_told(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats that lie far apart say so."""
    monkeypatch.setenv("TPDEPLOY_TEST_SPREAD", "0.5")
    assert "Repeats lie 50% apart: the machine was busy; measure again" in calibrate(python)


def test_a_broken_environment_is_one_line(
    python: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program's last error; nothing is kept."""
    monkeypatch.setenv("TPDEPLOY_TEST_FAIL", "1")
    line = refused("calibrate", "--backend", "vllm", "--python", python, code=1)
    assert line == "Error: measuring failed: ModuleNotFoundError: No module named 'torch'"
    assert not (home / "measured").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--gpus", "8xH100"), "--gpus 8xH100: calibrate measures this machine: auto, or 2xCPU"),
        ((), "vllm is not installed here; run: tpdeploy backends install vllm"),
        (("--python", "/nowhere"), "--python /nowhere: not an executable file"),
    ],
)
def test_what_cannot_be_measured_is_refused(args: tuple[str, ...], words: str) -> None:
    """One line, exit code 2."""
    assert refused("calibrate", "--backend", "vllm", *args) == f"Error: {words}"


def test_history_without_a_validation_says_how_to_make_one() -> None:
    """And as JSON it is an empty list."""
    assert "tpdeploy validate" in answered("history")
    assert json.loads(answered("history", "--json"))["entries"] == []
