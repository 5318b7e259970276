"""Installations of an engine on this machine: tpdeploy's own, and those that are there already."""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Literal

from tpdeploy.backends.base import Backend, EnvironmentSpec, Platform
from tpdeploy.launcher.environments import (
    Environment,
    find_environment,
    installed_version,
    version_in,
)

Where = Literal["installed by tpdeploy", "in this Python environment", "on PATH"]

SHEBANG = re.compile(rb"#! ?(/\S*/python[\d.]*)\s")
LONGEST_SHEBANG = 256
# Of what is not a Python package nothing tells whether the adapter knows its flags.
NOT_KNOWN = "its release is not known"


@dataclass(frozen=True)
class Installation:
    """An engine that was found; with an `objection` it is used only by its name."""

    environment: Environment
    where: Where
    version: str  # empty where its metadata does not tell
    objection: str = ""


def installations(backend: Backend, platform: Platform) -> list[Installation]:
    """Every installation of `backend` for `platform`, the one that is used before others first.

    The order: what `tpdeploy backends install` has made, what is in the environment of this
    Python, what is on PATH.

    Raises:
        InputError: nothing can be installed for that platform.
    """
    spec = backend.environment(platform)
    found: dict[Path, Installation] = {}
    if own := find_environment(spec):
        version = installed_version(spec) or ""
        found[own.executables] = Installation(own, "installed by tpdeploy", version)
    for environment, where in _beside(spec):
        version = version_in(environment, spec.distribution) or ""
        objection = NOT_KNOWN if spec.distribution else ""
        if version:
            objection = backend.objection(platform, version)
        other = Installation(environment, where, version, objection)
        found.setdefault(environment.executables, other)
    return list(found.values())


def used(backend: Backend, platform: Platform) -> Environment | None:
    """The environment whose engine is started when the user names none."""
    found = installations(backend, platform)
    return next((each.environment for each in found if not each.objection), None)


def _beside(spec: EnvironmentSpec) -> Iterator[tuple[Environment, Where]]:
    """Environments that have the engine and were made by others."""
    here = Environment(Path(sys.executable).parent, Path(sys.executable))
    if _has(here, spec):
        yield here, "in this Python environment"
    program = which(spec.executable)
    if program and (there := _of_program(Path(program))) and _has(there, spec):
        yield there, "on PATH"


def _has(environment: Environment, spec: EnvironmentSpec) -> bool:
    """Whether the engine is in there: a program of its own, or else its package."""
    if spec.executable == "python":
        return version_in(environment, spec.distribution) is not None
    return os.access(environment.program(spec.executable), os.X_OK)


def _of_program(program: Path) -> Environment:
    """The environment of a program on PATH, which may be a link into it.

    A Python is itself one: the link of an environment leads out of it.
    """
    if program.name == "python":
        return Environment(program.absolute().parent)
    there = program.resolve()
    with there.open("rb") as file:
        first = SHEBANG.match(file.read(LONGEST_SHEBANG))
    return Environment(there.parent, Path(os.fsdecode(first[1])) if first else None)
