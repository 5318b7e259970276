"""Cluster: the devices a plan may use, their domains and links."""

from typing import Literal

from pydantic import Field

from tpdeploy.profiles.devices.accelerator import Accelerator, Efficiency
from tpdeploy.profiles.devices.fabric import Fabric, Network
from tpdeploy.profiles.devices.networks import network_names
from tpdeploy.profiles.record import Record, Text

# Devices of a machine that are few, and machines of a group over a network: a judgement.
FEW = 2
MOST_MACHINES_A_GROUP = 8


class Cluster(Record):
    """`count` equal devices on `machines` equal machines, each machine with one fabric."""

    accelerator: Accelerator
    efficiency: Efficiency
    fabric: Fabric
    beyond: Fabric | None = Field(default=None, description="fabric between domains")
    slower: "Cluster | None" = Field(
        default=None, description="the same devices on the next slower fabric"
    )
    faster: tuple["Cluster", ...] = Field(
        default=(), description="the same devices on faster fabrics that were measured with them"
    )
    network: Network | None = Field(default=None, description="between machines")
    count: int = Field(gt=0)
    machines: int = Field(default=1, gt=0)
    cpus: tuple[Text, ...] = Field(
        default=(), description="on CPUs: the cores of each device, as '0-3' or '0,2'"
    )
    assumptions: tuple[str, ...] = ()
    kinds: tuple[Text, ...] = Field(
        default=(), description="where devices differ: all kinds; `accelerator` is the weakest"
    )
    origin: Literal["stated", "detected"] = "stated"
    measured: tuple[str, ...] = Field(default=(), description="what was measured on this machine")

    @property
    def per_machine(self) -> int:
        """Devices of one machine."""
        return self.count // self.machines

    @property
    def domain(self) -> int:
        """Devices joined directly: the widest group that never leaves the fabric.

        On a fabric that joins machines, as many whole ones as it has room for.
        """
        if self.fabric.spans_machines:
            return min(self.fabric.domain // self.per_machine * self.per_machine, self.count)
        return min(self.fabric.domain, self.per_machine)

    def on_network(self, devices: int) -> bool:
        """Whether a group of so many leaves its machine and the fabric ends there."""
        within = self.fabric.domain if self.fabric.spans_machines else 0
        return devices > max(self.per_machine, within)

    @property
    def widest(self) -> int:
        """Devices of the widest tensor-parallel group that is worth trying without being asked.

        Over a network every layer waits for it twice. A wider group can win all the same where a
        machine has few devices to share the work, and where the network itself was measured.
        """
        reach = self.per_machine
        if self.network and (reach <= FEW or self.network.name not in network_names()):
            reach = min(self.count, MOST_MACHINES_A_GROUP * reach)
        return max(self.domain, reach) if self.fabric.spans_machines else reach
