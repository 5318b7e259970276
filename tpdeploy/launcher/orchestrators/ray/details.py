"""What Serve says of itself: answers of its REST interface, as far as they are read here."""

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from tpdeploy.backends.base import last_exception
from tpdeploy.errors import one_line
from tpdeploy.launcher.runtimes.member import Member, Phase
from tpdeploy.launcher.runtimes.ports import LOOPBACK

SERVER = "LLMServer:"  # before the model, in the name of the deployment that has the engines
STATES: dict[str, Phase] = {"RUNNING": "ready", "STOPPING": "stopping"}
DECLARED = "declarative"  # an application that came by a configuration, not by a program


class Answer(BaseModel):
    """What another release says besides is left out."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Replica(Answer):
    """A process of a deployment; where it runs is told once it does."""

    replica_id: str
    state: str
    start_time_s: float
    node_ip: str | None = None
    actor_id: str | None = None


class ServeDeployment(Answer):
    """What Serve calls a deployment: replicas of one class of an application."""

    name: str
    status: str
    message: str = ""
    target_num_replicas: int | None = None
    replicas: tuple[Replica, ...] = ()

    @property
    def ready(self) -> int:
        """Replicas that take requests."""
        return sum(replica.state == "RUNNING" for replica in self.replicas)


class Application(Answer):
    """An application: here the engines of a model, and what clients reach before them."""

    name: str
    route_prefix: str | None = None
    status: str
    message: str = ""
    source: str = DECLARED
    deployed_app_config: dict[str, Any] | None = None
    deployments: dict[str, ServeDeployment] = {}

    @property
    def servers(self) -> tuple[ServeDeployment, ...]:
        """Those that have the engines."""
        return tuple(d for d in self.deployments.values() if d.name.startswith(SERVER))

    @property
    def replicas(self) -> dict[str, Replica]:
        """All of its processes by the names of our members, the oldest first."""
        engines = [replica for each in self.servers for replica in each.replicas]
        others = [d for d in self.deployments.values() if d not in self.servers]
        fronts = [replica for each in others for replica in each.replicas]
        names = {f"replica-{n}": replica for n, replica in enumerate(sorted(engines, key=_age))}
        for number, replica in enumerate(sorted(fronts, key=_age)):
            names[f"front-{number}" if number else "front"] = replica
        return names

    @property
    def members(self) -> tuple[Member, ...]:
        """All of its processes, as members of a deployment."""
        return tuple(_member(label, replica) for label, replica in self.replicas.items())

    @property
    def model(self) -> str:
        """The name that clients give for its model."""
        (config,) = (self.deployed_app_config or {})["args"]["llm_configs"]
        return str(config["model_loading_config"]["model_id"])

    @property
    def standing(self) -> tuple[Phase, str]:
        """How it is as far as Serve can tell, and why."""
        if self.status in {"NOT_STARTED", "DEPLOYING"}:
            return "starting", self._why
        if self.status == "DEPLOY_FAILED":
            return "failed", self._why
        if self.status == "DELETING":
            return "stopping", ""
        ready = sum(each.ready for each in self.servers)
        wanted = sum(each.target_num_replicas or 0 for each in self.servers)
        if ready < wanted or self.status == "UNHEALTHY":
            words = self._why or f"{ready} of {wanted} replicas are running"
            return ("degraded" if ready else "down"), words
        return "ready", ""

    @property
    def _why(self) -> str:
        """The first message, of a traceback its last line; deployments say more than the whole."""
        told = [*(each.message for each in self.deployments.values()), self.message]
        first = next(filter(None, told), "")
        return one_line(last_exception(first.splitlines()) or " ".join(first.split()))


class HttpOptions(Answer):
    """Where Serve's proxy listens for clients."""

    host: str
    port: int
    ssl_certfile: str | None = None


class Details(Answer):
    """All that runs on a cluster's Serve; `http_options` are missing while it does not run."""

    http_options: HttpOptions | None = None
    applications: dict[str, Application] = {}
    target_capacity: float | None = None

    def others(self, name: str) -> list[dict[str, Any]]:
        """The configurations of the declared applications but the one called `name`."""
        found = (app for app in self.applications.values() if app.name != name)
        return [a.deployed_app_config for a in found if a.deployed_app_config]


def _age(replica: Replica) -> tuple[float, str]:
    return replica.start_time_s, replica.replica_id


def _member(label: str, replica: Replica) -> Member:
    return Member(
        label=label,
        runtime="ray",
        host=replica.node_ip or LOOPBACK,
        port=0,
        phase=STATES.get(replica.state, "starting"),
        started_at=datetime.fromtimestamp(replica.start_time_s, UTC),
        reference=replica.replica_id,
    )
