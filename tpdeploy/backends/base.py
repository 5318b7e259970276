"""The interface between a plan and an engine. An engine is known here and nowhere else."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion

from tpdeploy.backends.metrics import MetricNames
from tpdeploy.backends.overheads import MEASURED_ON_VLLM
from tpdeploy.planner.engine_rules import (
    AS_TOKENS_COME,
    NCCL_ALONE,
    EngineOverheads,
    KvAllocation,
    OwnKernels,
)
from tpdeploy.planner.model.sharding import head_problem
from tpdeploy.planner.plan import DeploymentPlan, Placement
from tpdeploy.profiles.models.shape import ModelShape
from tpdeploy.profiles.record import Dtype

Platform = Literal["cuda", "rocm", "gaudi", "cpu"]

# The last line of a Python traceback.
EXCEPTION = re.compile(r"[\w.]*(Error|Exception): .")


@dataclass(frozen=True)
class Release:
    """A release of an engine, and the day it came out (YYYY-MM-DD) if that is asked for."""

    major: int
    minor: int
    date: str = ""

    def is_after(self, version: str, date: str = "") -> bool:
        """Whether `version`, or without one what there was on `date`, is older than this.

        False where neither tells.
        """
        if told := re.match(r"v?(\d{1,9})\.(\d{1,9})", version):
            return (int(told[1]), int(told[2])) < (self.major, self.minor)
        return not version and bool(date) and date < self.date


@dataclass(frozen=True)
class Need:
    """What not every release of an engine has: since which one, and the need in words."""

    since: Release
    words: str


@dataclass(frozen=True)
class Problem:
    """Something a plan asks for that the engine cannot do, and what would work instead."""

    what: str
    remedy: str


@dataclass(frozen=True)
class Widths:
    """Tensor-parallel widths an engine can run for one model, and why it refuses the others.

    `needs`: what a legal width needs that not every release of the engine has.
    """

    legal: tuple[int, ...]
    refused: dict[int, str]
    needs: Mapping[int, Need] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """Where one machine starts its part of a replica, in the words of what runs it.

    What is known only there is a word that stands for it and is replaced when the part starts, as
    "$PORT" or "$(LWS_LEADER_ADDRESS)". The machines of one replica are numbered by `rank`; the
    first is the leader, at `head`, and serves clients. `address` is this machine's own. Without
    `devices` a part takes those that it sees; `cpus` are the cores of each of its ranks.
    """

    host: str
    port: str
    folder: Path
    spare_ports: tuple[str, ...] = ()
    devices: tuple[int, ...] = ()
    cpus: tuple[str, ...] = ()
    address: str = "127.0.0.1"
    head: str = ""
    rank: str = "0"


@dataclass(frozen=True)
class Command:
    """How to start a part of a replica: an argument list, additions to environment and folder.

    `argv[0]` is the name of an executable inside the engine's environment. `files` are written
    into the replica's folder before, by name.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EnvironmentSpec:
    """What to install so that an engine can run, on one platform.

    `requirements` are lines of a requirements file, hashes allowed; `overrides` replace what
    their packages ask for; `metadata_only` are name==version distributions that must seem
    installed. `build_env` is set while it is installed. When something of it cannot be had,
    `fallback` says what else runs as well. `distribution` is the package whose version counts,
    `system_needs` what no package brings: the name of a shared library, and who has it.
    """

    name: str
    version: str
    requirements: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    fallback: "Fallback | None" = None
    metadata_only: tuple[str, ...] = ()
    executable: str = "python"
    distribution: str = ""
    build_env: Mapping[str, str] = field(default_factory=dict)
    system_needs: Mapping[str, str] = field(default_factory=dict)
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
class Capability:
    """What an engine can run on one platform; None where it has no limit of its own."""

    dtypes: frozenset[Dtype]
    kv_cache_dtypes: frozenset[Dtype] = frozenset()  # beside the model's own
    quantizes: frozenset[str] = frozenset()  # what it can do to weights while it loads them
    checkpoints: frozenset[str] | None = None  # methods of quantized checkpoints
    architectures: frozenset[str] | None = None  # as config.json names them
    dropped: Mapping[str, str] = field(default_factory=dict)  # and the last release that ran them
    casts: bool = True  # whether it computes in another dtype than the checkpoint's
    least_compute_capability: float = 0.0
    built_for: float = 0.0  # the least that published builds run on; others need a build for them
    # The same for methods of quantization that need more than the engine itself.
    least_to_quantize: Mapping[str, float] = field(default_factory=dict)
    pipeline: bool = False
    expert_parallel: bool = False
    data_parallel: bool = False  # attention per data rank, the experts over all of them
    data_or_tensor: bool = False  # its attention is data- or tensor-parallel, never both
    multi_node: bool = False  # one replica over several machines
    prefill_priority: bool = False  # prompts run in steps of their own, before decoding goes on
    async_scheduling: bool = False  # the next step is scheduled while one runs
    async_since: Release | None = None  # by default; None: in every release
    kv_allocation: KvAllocation = AS_TOKENS_COME
    eager: bool = False  # it can be told to run without CUDA graphs


def last_exception(lines: Sequence[str]) -> str | None:
    """The last line of the last Python traceback in `lines`, or None."""
    return next((line.strip() for line in reversed(lines) if EXCEPTION.match(line)), None)


class Backend(ABC):
    """One engine.

    The caller's contract: `capability` tells whether the engine runs on a platform at all. Then
    `check` first, and start nothing while it returns problems; `render` once a replica, and
    `render_worker` for its other machines; show it the devices by `device_variables`; write the
    command's files into the replica's folder, start `argv` as a process group of its own and poll
    `health_path` until it answers 200, showing what `progress` makes of the engine's own log lines
    meanwhile. The engine answers to `plan.model.id`. To stop, send SIGTERM to the group, wait
    `stop_grace_s`, and kill what is left of it.
    """

    name: ClassVar[str]
    health_path: ClassVar[str] = "/health"
    api_key_variable: ClassVar[str | None] = None  # how it is told the key it is to ask for
    # Arguments that only the plan may set, beside those that `render` gives; all their spellings.
    reserved_arguments: ClassVar[frozenset[str]] = frozenset()
    own_kernels: ClassVar[OwnKernels] = NCCL_ALONE  # collectives beside NCCL's and DeepEP's
    overheads: ClassVar[EngineOverheads] = MEASURED_ON_VLLM  # an estimate for other engines
    spare_ports: ClassVar[int] = 0  # ports a replica needs beside its own
    stop_grace_s: ClassVar[float] = 10.0
    metrics: ClassVar[MetricNames | None] = None  # None: it has none
    fixes_output_length: ClassVar[bool] = True  # whether clients can force it (ignore_eos)
    legacy: ClassVar[str] = ""  # why nobody should start with it today
    # What the engine writes while it starts, in the order in which it does, and what that means.
    stages: ClassVar[tuple[tuple[re.Pattern[str], str], ...]] = ()
    verified: ClassVar[str] = ""  # what of this adapter has been run, and where
    # Which devices it is to use; without, it has them by their numbers, from its site.
    device_variables: ClassVar[Mapping[Platform, str]] = {
        "cuda": "CUDA_VISIBLE_DEVICES",
        "rocm": "HIP_VISIBLE_DEVICES",
    }
    # A replica over several machines is a task a device, which MPI joins; else a part a machine.
    joined_by_mpi: ClassVar[bool] = False
    images: ClassVar[Mapping[Platform, str]] = {}  # public ones that have it, of a fixed release
    order: ClassVar[int] = 50  # among engines that are predicted alike, lower comes first
    accepts: ClassVar[str] = ""  # its releases that are known to take what `render` gives

    @abstractmethod
    def capability(self, platform: Platform) -> Capability | None:
        """What the engine can run on `platform`; None: it does not run there."""

    @abstractmethod
    def environment(self, platform: Platform) -> EnvironmentSpec:
        """What has to be installed to run this engine on `platform`.

        Raises:
            InputError: the engine does not run there; the message names what does.
        """

    def objection(self, platform: Platform, version: str) -> str:
        """Why an installation of release `version` is not used unasked; empty if it is.

        Here a release that `accepts`, a specifier of Python packages (PEP 440), leaves out.
        """
        try:
            fits = SpecifierSet(self.accepts).contains(version, prereleases=True)
        except InvalidVersion:  # of packaging before 26
            fits = not self.accepts
        return "" if fits else f"{version} is not among the releases accepted: {self.accepts}"

    @abstractmethod
    def memory_rule(self, platform: Platform) -> MemoryRule:
        """How the engine divides memory on `platform`."""

    def widths(self, model: ModelShape, up_to: int) -> Widths:
        """Legal tensor-parallel widths from 1 to `up_to` for `model`: here those of its heads."""
        problems = {tp: head_problem(model, tp) for tp in range(1, up_to + 1)}
        refused = {tp: problem for tp, problem in problems.items() if problem}
        return Widths(tuple(tp for tp in problems if tp not in refused), refused)

    @abstractmethod
    def check(self, plan: DeploymentPlan) -> list[Problem]:
        """Everything in `plan` this engine cannot run, each with its remedy; empty if none."""

    @abstractmethod
    def render(self, plan: DeploymentPlan, place: Placement, site: Site) -> Command:
        """The command that starts replica `place` of `plan` at `site`, or its leader's part."""

    def render_worker(self, plan: DeploymentPlan, place: Placement, site: Site) -> Command:
        """The command of every other machine of a replica that spans several.

        Here that of the first one, which tells by the rank what it is.
        """
        return self.render(plan, place, site)

    def progress(self, line: str) -> str | None:
        """The start-up stage that a log line announces, in a few words; None for other lines."""
        return next((stage for pattern, stage in self.stages if pattern.search(line)), None)

    def failure(self, lines: Sequence[str]) -> str | None:
        """Why the engine ended, found in the `lines` of its log; None if they do not tell.

        Here the last exception; an engine that wraps its errors tells more itself.
        """
        return last_exception(lines)
