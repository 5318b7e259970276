"""Engine environments: each engine lives in one of its own, never in the user's."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes.util import find_library
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from pathlib import Path

from uv import find_uv_bin

from tpdeploy.backends.base import EnvironmentSpec
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.files import data_home, kind_of, write_whole

Report = Callable[[str], None]

UV_FRAME = " \u2502\u2570\u2500\u25b6\u00d7"  # the lines and arrows uv draws around its reasons
# Written last: an environment without it was interrupted and is made again.
MARKER = "tpdeploy-complete"
RELEASE = ".release"  # beside the environments of an engine: which of them is used
UNRESOLVED = "No solution found"  # in uv's words
# uv reads its own variables; a machine set up for pip alone is served all the same.
PIP_TO_UV = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX"}


class UnresolvableError(TpdeployError):
    """No available release meets the requirement."""


@dataclass(frozen=True)
class Environment:
    """An environment that can run an engine."""

    executables: Path  # the folder of its programs
    interpreter: Path | None = None  # where it is not the `python` among them

    @property
    def python(self) -> Path:
        """Path of the interpreter inside it."""
        return self.interpreter or self.executables / "python"

    def program(self, name: str) -> Path:
        """The program called `name` in it."""
        return self.python if name == "python" else self.executables / name


def folder_of(spec: EnvironmentSpec) -> Path:
    """Where the environment of `spec` is, or would be."""
    return _home() / f"{spec.name}-{spec.version}"


def of_release(spec: EnvironmentSpec, version: str) -> EnvironmentSpec:
    """`spec` for another release of the engine.

    Raises:
        InputError: its release is pinned by hash, or stands for another package's.
    """
    pinned = f"{spec.distribution}=={spec.version}"
    if spec.metadata_only or pinned not in spec.requirements:
        raise InputError(
            f"--version {version}: {spec.name} {spec.version} is pinned by hash; install another "
            "release yourself and name it with --python"
        )
    requirements = [r.replace(pinned, f"{spec.distribution}=={version}") for r in spec.requirements]
    return replace(spec, version=version, requirements=tuple(requirements))


def chosen(spec: EnvironmentSpec) -> EnvironmentSpec:
    """`spec`, or the release of it that the user installed last."""
    record = _home() / f"{spec.name}{RELEASE}"
    version = record.read_text(encoding="utf-8").strip() if record.is_file() else spec.version
    return replace(spec, version=version)


def find_environment(spec: EnvironmentSpec) -> Environment | None:
    """The complete environment of `spec`, in the release installed last, if there is one."""
    folder = folder_of(chosen(spec))
    return Environment(folder / "bin") if _is_whole(folder) else None


def installed_version(spec: EnvironmentSpec) -> str | None:
    """The version that the environment's own metadata tells; None without an environment."""
    environment = find_environment(spec)
    if environment is None:
        return None
    return version_in(environment, spec.distribution) or chosen(spec).version


def version_in(environment: Environment, distribution: str) -> str | None:
    """The version of the package `distribution` in `environment`; None where that does not tell."""
    # Debian's own Python calls them dist-packages.
    packages = [str(p) for p in environment.executables.parent.glob("lib/python*/*-packages")]
    found = distributions(name=distribution, path=packages) if distribution else ()
    return next((d.version for d in found), None)


def missing_libraries(spec: EnvironmentSpec) -> tuple[str, ...]:
    """The system packages of shared libraries that this machine lacks and no wheel brings."""
    return tuple(who for name, who in spec.system_needs.items() if find_library(name) is None)


def environment_of_executable(executable: Path) -> Environment:
    """The environment that an existing engine executable belongs to.

    Raises:
        InputError: it is not an executable file.
    """
    if not (kind_of(executable) == "file" and os.access(executable, os.X_OK)):
        raise InputError(f"--executable {executable}: not an executable file")
    return Environment(executable.absolute().parent)


def environment_of_python(python: Path) -> Environment:
    """The environment that an existing Python belongs to.

    Raises:
        InputError: it is not an executable file.
    """
    if not (kind_of(python) == "file" and os.access(python, os.X_OK)):
        raise InputError(f"--python {python}: not an executable file")
    return Environment(python.absolute().parent)


def install(spec: EnvironmentSpec, report: Report) -> Environment:
    """Make the environment of `spec`, unless it is there; `report` gets uv's own progress lines.

    Interrupted or failed, it is made again next time; what was downloaded is not lost.

    Raises:
        InputError: another process is installing it, or the disk has not enough room.
        TpdeployError: uv could not install it; the message holds uv's reason.
    """
    with _alone(spec):
        if not _is_whole(folder_of(spec)):
            _check_room(spec)
            _make(spec, report)
        write_whole(_home() / f"{spec.name}{RELEASE}", f"{spec.version}\n")
    return Environment(folder_of(spec) / "bin")


def _home() -> Path:
    return data_home() / "environments"


def _is_whole(folder: Path) -> bool:
    # Its Python is a link, dead once the Python it was made from is gone.
    return (folder / MARKER).exists() and (folder / "bin" / "python").exists()


@contextmanager
def _alone(spec: EnvironmentSpec) -> Iterator[None]:
    """Hold a lock, so that nobody else installs the same engine meanwhile."""
    _home().mkdir(parents=True, exist_ok=True)
    with (_home() / f"{spec.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{spec.name} is being installed by another process") from error
        yield


def _check_room(spec: EnvironmentSpec) -> None:
    free = shutil.disk_usage(_home()).free
    if free < spec.disk_bytes:
        raise InputError(
            f"{_home()} has {free / 1e9:.1f} GB of room, {spec.name} {spec.version} takes "
            f"{spec.disk_bytes / 1e9:.1f}; make room, or set TPDEPLOY_HOME to another disk"
        )


def _make(spec: EnvironmentSpec, report: Report) -> None:
    folder = folder_of(spec)
    shutil.rmtree(folder, ignore_errors=True)
    _uv(["venv", "--quiet", "--python", sys.executable, str(folder)], report)
    try:
        _install_packages(spec, folder, spec.overrides, report)
    except UnresolvableError:
        if spec.fallback is None:
            raise
        report(
            f"Not to be had as it is; with {', '.join(spec.fallback.overrides)} it downloads about "
            f"{spec.fallback.download_bytes / 1e9:.1f} GB and takes "
            f"{spec.fallback.disk_bytes / 1e9:.1f} GB"
        )
        _install_packages(spec, folder, spec.overrides + spec.fallback.overrides, report)
    for distribution in spec.metadata_only:
        _pretend_installed(folder, distribution)
    write_whole(folder / MARKER, f"{spec.name} {spec.version}\n")


def _install_packages(
    spec: EnvironmentSpec, folder: Path, overrides: Sequence[str], report: Report
) -> None:
    requirements, overriding = folder / "requirements.txt", folder / "overrides.txt"
    write_whole(requirements, "\n".join(spec.requirements) + "\n")
    command = ["pip", "install", "--python", str(folder / "bin" / "python")]
    command += ["--requirements", str(requirements)]
    if overrides:
        write_whole(overriding, "\n".join(overrides) + "\n")
        command += ["--overrides", str(overriding)]
    for wheels in os.environ.get("PIP_FIND_LINKS", "").split():
        if (
            "://" in wheels or kind_of(Path(wheels)) == "folder"
        ):  # as pip does, uv refuses a missing folder
            command += ["--find-links", wheels]
    _uv(command, report, spec.build_env)


def _uv(
    arguments: Sequence[str], report: Report, build_env: Mapping[str, str] | None = None
) -> None:
    """Run uv to its end, passing on what it writes line by line."""
    env = {**os.environ, "UV_NO_PROGRESS": "1", **(build_env or {})}
    for pip, uv in PIP_TO_UV.items():
        if pip in env:
            env.setdefault(uv, env[pip])
    process = subprocess.Popen(
        [find_uv_bin(), *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    try:
        assert process.stdout is not None  # noqa: S101 - it was asked for as a pipe
        for line in process.stdout:
            lines.append(line.rstrip())
            report(lines[-1])
    finally:
        # Interrupted while reading: uv, in the same terminal, was interrupted as well.
        process.terminate() if process.poll() is None else None
        process.wait()
    if process.returncode:
        kind = UnresolvableError if any(UNRESOLVED in line for line in lines) else TpdeployError
        raise kind(f"uv {arguments[0]} failed: {_last_words(lines)}")


def _last_words(lines: Sequence[str]) -> str:
    """The end of uv's explanation, on one line."""
    words = " ".join(line.strip(UV_FRAME) for line in lines if line.strip())
    return words[-600:] or "no output"


def _pretend_installed(folder: Path, distribution: str) -> None:
    """Write the metadata, and nothing else, of NAME==VERSION."""
    name, _, version = distribution.partition("==")
    (packages,) = folder.glob("lib/python*/site-packages")
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    info = packages / f"{name}-{version}.dist-info"
    write_whole(info / "METADATA", metadata)
    write_whole(info / "INSTALLER", "tpdeploy\n")
    write_whole(info / "RECORD", "")
