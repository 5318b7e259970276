"""The interface between a deployment and what runs its members. A runtime is known by it alone."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import httpx

from tpdeploy.backends.base import Backend, Command, Platform, Site
from tpdeploy.errors import InputError
from tpdeploy.launcher.environments import Environment
from tpdeploy.launcher.offers import Offer
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.planner.plan import DeploymentPlan, Placement

HEALTH_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Engine:
    """An engine, the platform it is to run on, and where its program comes from.

    That is `executable`, or the environment of `python`, or the container image `image`, if the
    user named one of them; else the first environment that has it. `on` is what is to run
    it, as the user names it: a runtime, and after a colon what that one has to know; `options`
    are passed to what that uses.
    """

    backend: Backend
    platform: Platform
    executable: Path | None = None
    python: Path | None = None
    image: str = ""
    on: str = "local"
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Replica:
    """A replica of a plan, the engine that is to serve it, and a folder in the deployment's."""

    place: Placement
    engine: Engine
    folder: Path


@dataclass(frozen=True)
class Parts:
    """What the machines of a replica run: the one that serves clients, and each of the others."""

    leader: Command
    worker: Command | None = None


@dataclass(frozen=True)
class Rendered:
    """What will start a member: files to write first, an argument list, and its variables.

    `member` has all that its runtime knows it by before it is started.
    """

    member: Member
    argv: tuple[str, ...]
    env: Mapping[str, str]
    files: Mapping[Path, str]


@dataclass(frozen=True)
class Observed:
    """What a runtime sees of a member now."""

    runs: bool
    end: str = ""  # how it ended, as "ended with code 1"
    waits: str = ""  # for what it has to wait before it can begin


class Runtime(ABC):
    """Runs the members of a deployment, and ends all of what they started.

    `check_plan`, `check`, `site` and `render` come before a launch and change nothing; all but
    `check` also where nothing of the plan is. `start` gives the member as the
    state keeps it; every other question is asked with that record, also by another process and
    after this one has died. So what it takes to find a member again is in `Member`.
    """

    name: ClassVar[str]
    here: ClassVar[bool] = True  # whether what it runs is on this machine

    def offers(self, where: str) -> list[Offer]:
        """The nodes that are up, by their devices; `where` is what follows the name and a colon.

        Raises:
            InputError: it does not tell.
            TpdeployError: the cluster does not answer.
        """
        raise InputError(f"{self.name} does not tell what it has; name it, as --gpus 2x8xH100")

    @abstractmethod
    def check_plan(self, plan: DeploymentPlan, engine: Engine) -> None:
        """Check that this runtime can run such a plan.

        Raises:
            InputError: it cannot; the message says what would work.
        """

    @abstractmethod
    def check(self, plan: DeploymentPlan, engine: Engine) -> None:
        """Check that `plan` can be run from here, now, with `engine`.

        Raises:
            InputError: it cannot; the message says what would work.
        """

    def environment(self, engine: Engine) -> Environment | None:
        """The environment of `engine`, if it is on this machine and programs can be run in it.

        Raises:
            InputError: what the user named is not a program.
        """
        return None

    def run_python(
        self, engine: Engine, arguments: Sequence[str], variables: Mapping[str, str]
    ) -> AbstractContextManager[tuple[str, ...] | None]:
        """What runs `PYTHON ARGUMENTS` where the engine is; None where that is not known.

        Who starts it ends its processes; what they leave elsewhere ends with the context.
        """
        return nullcontext()

    def machines(self, engine: Engine, program: str, devices: int, wanted: int | None) -> int:
        """How many machines are to run `program` of the engine's environment on `devices` of each.

        `wanted` is how many the user asks for; None: those that are named, or two.

        Raises:
            InputError: this runtime cannot run it on several, or not there; the message says why.
        """
        raise InputError(f"--on {engine.on}: machines are reached by slurm or ssh:HOST,HOST")

    def client(self, engine: Engine) -> tuple[str, ...]:
        """What runs `tpdeploy client` on a machine like those of members, and talks to it.

        Raises:
            InputError: nothing does; the message says what would work.
        """
        raise InputError("its members are on this machine: measure from here, without --inside")

    @abstractmethod
    def site(self, replica: Replica) -> Site:
        """Where the parts of a replica will be, in the words of this runtime."""

    @abstractmethod
    def render(self, replica: Replica, member: Member, parts: Parts) -> Rendered:
        """What starts a replica as `member`, with the parts that its engine has for its site."""

    @abstractmethod
    def start(self, rendered: Rendered, keys: Mapping[str, str], log: Path) -> Member:
        """Write its files and start it; what it writes is appended to `log` for as long as it runs.

        `keys` are variables that nobody else may see: they go into no file and no command line.

        Raises:
            TpdeployError: it cannot be started.
        """

    @abstractmethod
    def observe(self, member: Member) -> Observed:
        """Whether a member runs; how it ended is known to who started it, until it is stopped."""

    @abstractmethod
    def listens(self, member: Member) -> bool:
        """Whether it is the member that listens on its port; it has been asked and answers.

        Raises:
            TpdeployError: somebody else does, who took the port meanwhile.
        """

    @abstractmethod
    def address(self, member: Member) -> str:
        """The URL at which the supervisor, the front and commands reach it.

        While it is not known where the member runs, which may be some time after its start, a
        word that stands for it, at which nobody answers.
        """

    def answers(self, member: Member) -> bool:
        """Whether its health check says that it can serve now.

        The front asks for a key before it says more than that it is there.
        """
        url = self.address(member) + member.health_path
        try:
            # Nothing is told that would have to be kept from who might answer in its place.
            answer = httpx.get(url, timeout=HEALTH_TIMEOUT_S, trust_env=False, verify=False)  # noqa: S501
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return False
        return answer.status_code in {httpx.codes.OK, httpx.codes.UNAUTHORIZED}

    @abstractmethod
    def is_busy(self, member: Member) -> bool:
        """Whether anybody is connected to it, whose request may be in flight."""

    @abstractmethod
    def left(self, members: Sequence[Member]) -> bool:
        """Whether anything of them still runs, be it what an ended one had started."""

    @abstractmethod
    def stop(self, members: Sequence[Member], grace_s: float) -> None:
        """End all of them: ask, wait up to `grace_s`, then kill. Also what ended ones have left.

        Raises:
            TpdeployError: something of them cannot be ended.
        """
