"""The interface between a deployment and a cluster that runs all of it, router included.

A `Runtime` runs members that this machine supervises. An orchestrator takes the whole deployment,
supervises it itself, and is asked how it is.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tpdeploy.backends.base import Backend, EnvironmentSpec
from tpdeploy.errors import InputError
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.offers import Offer
from tpdeploy.launcher.runtimes.member import Member, Phase
from tpdeploy.planner.plan import DeploymentPlan


@dataclass(frozen=True)
class Task:
    """What is to run: a plan, the adapter of its engine, and what the user ordered besides."""

    plan: DeploymentPlan
    backend: Backend
    order: Order


@dataclass(frozen=True)
class Manifest:
    """What describes a deployment to its orchestrator: one text, in the orchestrator's format.

    `notes` say what it needs that is not in it, one sentence each. No key is in it.
    """

    text: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class View:
    """A deployment as its orchestrator sees it now."""

    phase: Phase
    reason: str = ""
    members: tuple[Member, ...] = ()


# As often as it is called, what starts a client and talks to it; all of it ends with the context.
Client = Callable[[], AbstractContextManager[tuple[str, ...]]]


class Orchestrator(ABC):
    """Runs whole deployments.

    `check_plan` and `render` change nothing and ask nobody. `submit` returns a reference, which
    the state keeps and with which every other question is asked, also by other processes later.
    """

    name: ClassVar[str]
    tools: ClassVar[str] = ""  # with what people do there what tpdeploy does not

    def offers(self, where: str) -> list[Offer]:
        """The nodes that are up, by their devices; `where` is what follows the name and a colon.

        Raises:
            InputError: it does not tell.
            TpdeployError: the cluster does not answer.
        """
        raise InputError(f"{self.name} does not tell what it has; name it, as --gpus 2x8xH100")

    def beside(self, backend: Backend, spec: EnvironmentSpec) -> EnvironmentSpec:
        """The environment of an engine with what this orchestrator needs in the same one.

        Raises:
            InputError: it needs nothing there, or does not run that engine.
        """
        raise InputError(f"--with {self.name}: it needs nothing in an engine's environment")

    @abstractmethod
    def check_plan(self, task: Task) -> None:
        """Return if this orchestrator can run such a plan.

        Raises:
            InputError: it cannot; the message says what would work.
        """

    @abstractmethod
    def check(self, task: Task) -> None:
        """Return if the cluster can be reached from here and would take the deployment.

        Raises:
            InputError: it cannot; the message says what would work.
        """

    @abstractmethod
    def render(self, task: Task) -> Manifest:
        """The manifest of a deployment."""

    @abstractmethod
    def submit(self, task: Task, manifest: Path, keys: Mapping[str, str]) -> str:
        """Hand over what is in the file `manifest`, and return the reference of the deployment.

        `keys` are variables that nobody else may see: they go into no file and no command line.

        Raises:
            TpdeployError: the cluster refuses it.
        """

    def endpoint(self, reference: str, order: Order) -> str:
        """The URL at which its clients find it, which need not be on this machine."""
        return f"http://{order.host}:{order.port}"

    @abstractmethod
    def observe(self, reference: str) -> View:
        """How it is.

        Raises:
            TpdeployError: the cluster does not answer.
        """

    @abstractmethod
    def reach(self, reference: str) -> AbstractContextManager[str]:
        """The URL at which its endpoint is reached from here, for as long as the context lasts.

        Raises:
            TpdeployError: it cannot be reached.
        """

    def client(self, reference: str, order: Order, image: str) -> Client:
        """What runs `tpdeploy client` beside its members; `image` has it, if one is needed.

        Raises:
            InputError: nothing does; the message says what would work.
        """
        raise InputError(f"{self.name} runs no client of ours; measure from here, without --inside")

    @abstractmethod
    def logs(
        self, reference: str, member: str | None, lines: int, *, follow: bool
    ) -> Iterator[str]:
        """The last `lines` lines that a member wrote, or all of them, each with its member.

        Raises:
            InputError: it has no such member.
            TpdeployError: the cluster does not answer.
        """

    @abstractmethod
    def stop(self, reference: str) -> None:
        """End all of it, and return when nothing is left.

        Raises:
            TpdeployError: something is left.
        """
