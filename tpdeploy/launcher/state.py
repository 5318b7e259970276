"""What is deployed: one folder per deployment, written by its supervisor, read by commands."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, Field

from tpdeploy.errors import InputError
from tpdeploy.files import data_home, kind_of, write_whole
from tpdeploy.launcher.access import read_keys
from tpdeploy.launcher.runtimes.member import Member, Phase
from tpdeploy.launcher.runtimes.processes import Leader, is_alive
from tpdeploy.launcher.runtimes.registry import by_runtime
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.profiles.record import Record, Text
from tpdeploy.records import dump_record, read_record

DEFAULT_NAME = "default"


class Deployment(Record):
    """A deployment as its supervisor last saw it."""

    name: Text
    model: Text
    backend: Text
    url: Text
    phase: Phase = "starting"
    reason: str = Field(default="", description="why it failed, or is not whole")
    doing: str = Field(default="", description="what it was asked for and is not done with")
    ask_id: str = Field(default="", description="of what it was asked for last")
    refused: str = Field(default="", description="why that was not done")
    started_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    key_file: Path | None = Field(default=None, description="the keys of its clients")
    certificate: Path | None = Field(default=None, description="what it encrypts with")
    supervisor: Leader | None = None
    orchestrator: str = Field(default="", description="the cluster that supervises it, if any")
    reference: str = Field(default="", description="what that calls it")
    members: tuple[Member, ...]

    @property
    def supervised(self) -> bool:
        """Whether its supervisor is alive; a cluster is."""
        if self.orchestrator:
            return not self.ended
        return self.supervisor is not None and is_alive(self.supervisor)

    @property
    def ended(self) -> bool:
        """Whether its supervisor has ended all of it."""
        return self.phase in {"failed", "stopped"}

    @property
    def running(self) -> bool:
        """Whether any process of it is alive, be it an orphan of a killed supervisor."""
        if self.orchestrator:
            return self.supervised
        return self.supervised or any(
            runtime.left(members) for runtime, members in by_runtime(self.members)
        )


class Endpoint(Record):
    """Where a deployment answers, and the plan it was started with."""

    url: Text
    plan: DeploymentPlan
    key_file: Path | None = None
    certificate: Path | None = None

    def own_key(self) -> str | None:
        """The first of the keys it was launched with, if they are in a file."""
        return read_keys(self.key_file)[0] if self.key_file else None


def folder_of(name: str) -> Path:
    """The folder of the deployment called `name`.

    Raises:
        InputError: a name that cannot be a folder's.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise InputError(f"--name {name!r}: use up to 100 letters, digits, '.', '_' and '-'")
    return data_home() / "deployments" / name


def log_of(name: str, label: str) -> Path:
    """The log file of one member, or of the supervisor."""
    return folder_of(name) / "logs" / f"{label}.log"


def save(deployment: Deployment) -> None:
    """Write the state whole."""
    write_whole(folder_of(deployment.name) / "state.yaml", dump_record(deployment))


def load(name: str) -> Deployment | None:
    """The state of the deployment called `name`, or None if there never was one."""
    path = folder_of(name) / "state.yaml"
    return read_record(path, Deployment) if kind_of(path) else None


def running(name: str) -> Deployment:
    """The running deployment called `name`.

    Raises:
        InputError: nothing of that name is running; those that are are named.
    """
    deployment = load(name)
    if deployment and deployment.running:
        return deployment
    if deployment and deployment.phase == "failed":
        raise InputError(f"deployment {name} has failed: {deployment.reason}; launch it again")
    others = ", ".join(d.name for d in deployments() if d.running)
    hint = f"running: {others} (choose with --name)" if others else "start one: tpdeploy launch"
    raise InputError(f"no deployment called {name} is running; {hint}")


def deployments() -> list[Deployment]:
    """Every deployment there ever was, by name, without those whose state cannot be read."""
    return [found for found in _states() if isinstance(found, Deployment)]


def unreadable() -> list[str]:
    """What is wrong with those whose state cannot be read: broken, or of another release."""
    return [str(found) for found in _states() if isinstance(found, InputError)]


def _states() -> Iterator[Deployment | InputError]:
    for path in sorted((data_home() / "deployments").glob("*/state.yaml")):
        try:
            yield read_record(path, Deployment)
        except InputError as error:
            yield error


def running_endpoint(name: str = DEFAULT_NAME) -> Endpoint:
    """The endpoint and the plan of the running deployment called `name`.

    Raises:
        InputError: it is not running, or not ready yet.
    """
    deployment = running(name)
    if deployment.phase not in {"ready", "degraded"}:
        raise InputError(
            f"deployment {name} is {deployment.phase}"
            f"{': ' + deployment.reason if deployment.reason else ''}; see: tpdeploy status"
        )
    plan = read_record(folder_of(name) / "plan.yaml", DeploymentPlan)
    return Endpoint(
        url=deployment.url,
        plan=plan,
        key_file=deployment.key_file,
        certificate=deployment.certificate,
    )
