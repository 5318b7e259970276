"""The interface between a plan and an engine. An engine is known here and nowhere else."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from tpdeploy.planner.plan import DeploymentPlan, Placement
from tpdeploy.profiles.model import ModelShape

Platform = Literal["cuda", "rocm", "gaudi", "cpu"]

# The last line of a Python traceback.
EXCEPTION = re.compile(r"[\w.]*(Error|Exception): .")


@dataclass(frozen=True)
class Problem:
    """Something a plan asks for that the engine cannot do, and what would work instead."""

    what: str
    remedy: str


@dataclass(frozen=True)
class Widths:
    """Tensor-parallel widths an engine can run for one model, and why it refuses the others."""

    legal: tuple[int, ...]
    refused: dict[int, str]


@dataclass(frozen=True)
class Command:
    """How to start one replica: an argument list and what to add to the environment.

    `argv[0]` is the name of an executable inside the engine's environment.
    """

    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EnvironmentSpec:
    """What to install so that an engine can run, on one platform.

    `requirements` are lines of a requirements file, hashes allowed; `overrides` replace what
    their packages ask for; `metadata_only` are name==version distributions that must seem
    installed. When something of it cannot be had, `fallback` says what else runs as well.
    """

    name: str
    version: str
    requirements: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    fallback: "Fallback | None" = None
    metadata_only: tuple[str, ...] = ()
    executable: str = "python"
    download_bytes: int = 0
    disk_bytes: int = 0


@dataclass(frozen=True)
class Fallback:
    """Further overrides for where a special build is out of reach, and what they cost."""

    overrides: tuple[str, ...]
    download_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class MemoryRule:
    """How an engine divides a device's memory."""

    default_fraction: float
    of: Literal["total", "free after weights"]


@dataclass(frozen=True)
class Features:
    """What an engine can do beside tensor parallelism, on one platform."""

    pipeline: bool = False
    whole_experts: bool = False
    several_nodes: bool = False  # one replica over several machines


def last_exception(lines: Sequence[str]) -> str | None:
    """The last line of the last Python traceback in `lines`, or None."""
    return next((line.strip() for line in reversed(lines) if EXCEPTION.match(line)), None)


class Backend(ABC):
    """One engine.

    The caller's contract: `check` first, and start nothing while it returns problems; `render`
    once a replica; then start `argv` as a process group of its own and poll `health_path` until
    it answers 200, showing what `progress` makes of the engine's own log lines meanwhile.
    """

    name: ClassVar[str]
    health_path: ClassVar[str] = "/health"
    api_key_variable: ClassVar[str | None] = None  # how the engine is told its clients' key
    # Arguments that only the plan may set, beside those that `render` gives; all their spellings.
    reserved_arguments: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def environment(self, platform: Platform) -> EnvironmentSpec:
        """What has to be installed to run this engine on `platform`.

        Raises:
            InputError: the engine does not run there; the message names what does.
        """

    @abstractmethod
    def memory_rule(self, platform: Platform) -> MemoryRule:
        """How the engine divides memory on `platform`."""

    @abstractmethod
    def widths(self, model: ModelShape, up_to: int) -> Widths:
        """Legal tensor-parallel widths from 1 to `up_to` for `model`."""

    def features(self, platform: Platform) -> Features:
        """What the engine can do beside tensor parallelism on `platform`; here nothing."""
        return Features()

    @abstractmethod
    def check(self, plan: DeploymentPlan) -> list[Problem]:
        """Everything in `plan` this engine cannot run, each with its remedy; empty if none."""

    @abstractmethod
    def render(self, plan: DeploymentPlan, place: Placement, host: str, port: int) -> Command:
        """The command that starts replica `place` of `plan`, listening on `host`:`port`."""

    @abstractmethod
    def progress(self, line: str) -> str | None:
        """The start-up stage that a log line announces, in a few words; None for other lines."""

    def failure(self, lines: Sequence[str]) -> str | None:
        """Why the engine ended, found in the `lines` of its log; None if they do not tell.

        Here the last exception; an engine that wraps its errors tells more itself.
        """
        return last_exception(lines)
