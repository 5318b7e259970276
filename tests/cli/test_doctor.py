"""`tpdeploy doctor` as a user meets it."""

import json
from pathlib import Path

import pytest

from tests.cli.commands import answered, refused, tpdeploy
from tpdeploy.launcher.doctor import case
from tpdeploy.launcher.doctor.checks import CHECKS


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without plan or engine, and no hub."""
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "home"


def planned(*options: str) -> None:
    answered("plan", "smollm2-135m", "--gpus", "1xCPU", "--backend", "vllm", *options)


def test_without_a_plan_the_machine_alone_is_examined() -> None:
    """The engine is missing here, which fails, and names its install command."""
    shown = answered("doctor", code=1)
    first = {line[9:24].strip(): line.split()[0] for line in shown.splitlines() if line[:1].strip()}
    assert first["driver"] == first["port"] == "ok"
    assert first["engine"] == "fail"
    assert "-> tpdeploy backends install vllm --platform cpu" in shown
    assert "weights" not in first
    assert shown.splitlines()[-1].startswith("1 fail")


def test_the_current_plan_is_examined() -> None:
    """Its model is not here, and the hub may not be asked."""
    planned()
    found = json.loads(answered("doctor", "--quick", "--json", code=1))["findings"]
    by_check = {finding["check"]: finding for finding in found}
    assert by_check["hub"]["verdict"] == "fail"
    assert "needed" in by_check["memory"]["seen"]
    assert all(finding["remedy"] for finding in found if finding["verdict"] != "ok")
    assert set(by_check) <= {check.name for check in CHECKS if check.quick}


def test_nothing_wrong_is_exit_code_0(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A plan for a model that is here, and an engine that is named."""
    planned()
    monkeypatch.setattr(case, "cached_weights", lambda _: tmp_path)
    python = tmp_path / "python"
    python.write_text("")
    python.chmod(0o755)
    shown = answered("doctor", "--python", str(python))
    assert shown.splitlines()[-1] == "Nothing is in the way."
    assert "all-reduce      no group of several ranks to try" in shown.replace(
        "     no", "      no"
    )


def test_the_page_has_every_check_and_what_launch_refuses() -> None:
    """In the order in which they are gone through."""
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| ")]
    told = [(name.strip(), refuses.strip() == "yes") for name, _, refuses in rows[1:]]
    assert told == [(check.name, check.stops) for check in CHECKS]


def test_80_columns_hold_every_line() -> None:
    """Long remedies are folded."""
    planned()
    shown = tpdeploy("doctor", width=80, NO_COLOR="1").stdout
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("nowhere.yaml",), "cannot read nowhere.yaml"),
        (("--backend", "vlm"), "did you mean vllm?"),
    ],
)
def test_bad_input_is_one_line(args: tuple[str, ...], words: str) -> None:
    """Exit code 2, and nothing is examined."""
    assert words in refused("doctor", *args)
