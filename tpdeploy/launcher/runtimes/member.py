"""One member of a deployment, as it is kept in the state."""

from typing import Literal

from pydantic import AwareDatetime, Field

from tpdeploy.bounds import Index
from tpdeploy.launcher.runtimes.ports import LOOPBACK
from tpdeploy.launcher.runtimes.processes import Leader
from tpdeploy.profiles.record import Record, Text

MOST_PORT = 65535
# Of a member: restarting is waiting to be started again, crashed is given up.
# Of a deployment: degraded is with some replicas, down with none; orphaned has no supervisor.
Phase = Literal[
    "starting",
    "ready",
    "restarting",
    "crashed",
    "degraded",
    "down",
    "stopping",
    "stopped",
    "failed",
    "orphaned",
]


class Member(Record):
    """A replica or the front, and what its runtime knows it by: `leader` or `reference`."""

    label: Text = Field(description="replica-0, replica-1 … or front")
    runtime: Text = Field(default="local", description="the name of what runs it")
    host: Text = Field(default=LOOPBACK, description="what it listens on")
    port: int = Field(ge=0, le=MOST_PORT)
    tls: bool = Field(default=False, description="whether it encrypts")
    devices: tuple[Index, ...] = ()
    leader: Leader | None = Field(default=None, description="None until it is started")
    phase: Phase = "starting"
    stage: str = Field(default="", description="what it is doing, in the engine's words")
    started_at: AwareDatetime | None = Field(default=None, description="last")
    restarts: int = Field(default=0, ge=0, description="since the launch, wanted ones too")
    last_end: str = Field(default="", description="why it ended last, if nobody wanted it")
    health_path: str = "/"
    reference: str = Field(default="", description="what its runtime calls it: a container, a job")
    healthy: bool | None = Field(default=None, description="right now; only status asks")

    @property
    def known_as(self) -> str:
        """What its runtime calls it, for people, else the number of its process; "-" until then."""
        return self.reference or (str(self.leader.pid) if self.leader else "-")
