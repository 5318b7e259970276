"""An environment is whole or is made again, and the user's own is never touched."""

import fcntl
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tpdeploy.backends.base import EnvironmentSpec, Fallback
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.launcher import environments
from tpdeploy.launcher.environments import (
    Report,
    UnresolvableError,
    environment_of_executable,
    find_environment,
    folder_of,
    install,
    installed_version,
    missing_libraries,
    of_release,
)

FALLBACK = Fallback(overrides=("torch==2.13.0",), download_bytes=2 * 10**9, disk_bytes=5 * 10**9)
SPEC = EnvironmentSpec(
    name="engine",
    version="1.0",
    requirements=("engine==1.0",),
    overrides=("vision; sys_platform == 'never'",),
    fallback=FALLBACK,
    metadata_only=("seeming==2.0",),
)


class Uv:
    """Stands in for uv: makes the folder, then does with each install what it is told to."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.overrides: list[str] = []
        self.commands: list[list[str]] = []

    def __call__(self, arguments: Sequence[str], report: Report, _env: object = None) -> None:
        self.commands.append(list(arguments))
        report(f"uv {arguments[0]}")
        if arguments[0] == "venv":
            folder = Path(arguments[-1])
            (folder / "lib" / "python3" / "site-packages").mkdir(parents=True)
            (folder / "bin").mkdir()
            (folder / "bin" / "python").symlink_to(sys.executable)
            return
        self.overrides.append(Path(arguments[arguments.index("--overrides") + 1]).read_text())
        error = self.errors.pop(0) if self.errors else None
        if error:
            raise error


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path))
    return tmp_path


def use(monkeypatch: pytest.MonkeyPatch, *errors: BaseException) -> Uv:
    uv = Uv(*errors)
    monkeypatch.setattr(environments, "_uv", uv)
    return uv


def ignore(_line: str) -> None:
    """Progress that nobody looks at."""


def test_it_is_made_once(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Below our own folder, with the metadata that was asked for; the second time it is there."""
    uv = use(monkeypatch)
    made = install(SPEC, ignore)
    assert made.program("engine") == home / "environments" / "engine-1.0" / "bin" / "engine"
    metadata = home / "environments/engine-1.0/lib/python3/site-packages/seeming-2.0.dist-info"
    assert "Version: 2.0" in (metadata / "METADATA").read_text()
    assert find_environment(SPEC) == install(SPEC, ignore) == made
    assert len(uv.commands) == 2


def test_an_interrupted_one_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle leaves nothing that passes for an environment."""
    use(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        install(SPEC, ignore)
    assert find_environment(SPEC) is None
    left = folder_of(SPEC) / "left-over"
    left.touch()
    use(monkeypatch)
    assert find_environment(SPEC) is None
    install(SPEC, ignore)
    assert find_environment(SPEC) is not None
    assert not left.exists()


def test_one_whose_python_is_gone_is_not_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python it was made from may be uninstalled."""
    use(monkeypatch)
    made = install(SPEC, ignore)
    made.python.unlink()
    made.python.symlink_to("/nowhere/python")
    assert find_environment(SPEC) is None


def test_a_build_that_cannot_be_had_is_replaced_and_its_size_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second try has the further override; before it, what it downloads and takes is said."""
    uv = use(monkeypatch, UnresolvableError("no such torch"))
    said: list[str] = []
    install(SPEC, said.append)
    assert ["torch" in overrides for overrides in uv.overrides] == [False, True]
    assert any("2.0 GB" in line and "5.0 GB" in line for line in said)


def test_another_failure_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk or a network that is down is no reason to download more."""
    uv = use(monkeypatch, TpdeployError("disk full"))
    with pytest.raises(TpdeployError, match="disk full"):
        install(SPEC, ignore)
    assert len(uv.overrides) == 1


def test_wheels_at_hand_are_used_if_they_are_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """PIP_FIND_LINKS counts for uv too; a folder in it that does not exist is passed over."""
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path} /no/such/folder https://wheels.example")
    uv = use(monkeypatch)
    install(SPEC, ignore)
    command = uv.commands[1]
    links = [command[i + 1] for i, word in enumerate(command) if word == "--find-links"]
    assert links == [str(tmp_path), "https://wheels.example"]


def test_a_version_that_does_not_exist_is_told_apart() -> None:
    """The real uv, without network: its own words reach the user, in one line."""
    said: list[str] = []
    arguments = ["pip", "install", "--offline", "--no-index", "--dry-run"]
    with pytest.raises(UnresolvableError, match="no-such-engine") as told:
        environments._uv([*arguments, "--python", sys.executable, "no-such-engine==1"], said.append)
    assert "\n" not in str(told.value)
    assert said


def test_an_existing_executable_brings_its_environment(tmp_path: Path) -> None:
    """The folder it lies in; something that cannot be run is refused."""
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.touch()
    with pytest.raises(InputError, match="not an executable file"):
        environment_of_executable(program)
    program.chmod(0o755)
    assert environment_of_executable(program).program("vllm") == program


def test_the_release_installed_last_is_used(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Another release has an environment of its own; going back needs no second install."""
    spec = replace(SPEC, metadata_only=(), requirements=("engine==1.0",), distribution="engine")
    uv = use(monkeypatch)
    first = install(spec, ignore)
    second = install(of_release(spec, "2.0"), ignore)
    assert second.executables.parent.name == "engine-2.0"
    assert find_environment(spec) == second
    before = len(uv.commands)
    assert install(spec, ignore) == first == find_environment(spec)
    assert len(uv.commands) == before


def test_a_release_pinned_by_hash_cannot_be_another(home: Path) -> None:
    """What would work is said."""
    with pytest.raises(InputError, match="pinned by hash; install another release yourself"):
        of_release(SPEC, "2.0")


def test_two_at_once_are_refused(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """The second one would remove what the first one makes."""
    use(monkeypatch)
    folder_of(SPEC).parent.mkdir(parents=True, exist_ok=True)
    with (folder_of(SPEC).parent / f"{SPEC.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="is being installed by another process"):
            install(SPEC, ignore)
    install(SPEC, ignore)


def test_a_disk_without_room_is_found_first(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Nothing is downloaded; both figures are named."""
    uv = use(monkeypatch)
    with pytest.raises(InputError, match=r"takes 1000000\.0; make room"):
        install(replace(SPEC, disk_bytes=10**15), ignore)
    assert uv.commands == []


def test_versions_come_from_metadata(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """No engine is started to ask for it."""
    spec = replace(SPEC, distribution="seeming")
    assert installed_version(spec) is None
    use(monkeypatch)
    install(spec, ignore)
    assert installed_version(spec) == "2.0"


def test_a_library_that_no_package_brings_is_named() -> None:
    """With who has it; one that every machine has is not."""
    spec = replace(SPEC, system_needs={"c": "the C library", "no-such": "the vendor"})
    assert missing_libraries(spec) == ("the vendor",)
