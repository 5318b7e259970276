"""One member of a deployment, as it is kept in the state."""

from typing import Literal

from pydantic import AwareDatetime, Field

from tpdeploy.bounds import Index
from tpdeploy.launcher.runtimes.ports import LOOPBACK
from tpdeploy.launcher.runtimes.processes import Leader
from tpdeploy.profiles.record import Record, Text

MOST_PORT = 65535
Phase = Literal["starting", "ready", "degraded", "failed", "stopped", "orphaned"]


class Member(Record):
    """A replica or the front, and what its runtime knows it by: `leader` and `container`."""

    label: Text = Field(description="replica-0, replica-1 … or front")
    host: Text = Field(default=LOOPBACK, description="what it listens on")
    port: int = Field(ge=0, le=MOST_PORT)
    tls: bool = Field(default=False, description="whether it encrypts")
    devices: tuple[Index, ...] = ()
    leader: Leader | None = Field(default=None, description="None until it is started")
    phase: Phase = "starting"
    stage: str = Field(default="", description="what it is doing, in the engine's words")
    health_path: str = "/"
    container: str = Field(default="", description="the one it runs in, if it does")
    restarts: int = 0
    started_at: AwareDatetime | None = None
    last_end: str = Field(default="", description="how it ended before it was started again")
    healthy: bool | None = Field(default=None, description="right now; only status asks")

    @property
    def known_as(self) -> str:
        """What its runtime calls it, for people: the number of its process; "-" until then."""
        return str(self.leader.pid) if self.leader else "-"
