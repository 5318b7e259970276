"""Cluster: the devices a plan may use, their domains and links."""

from typing import Literal

from pydantic import Field

from tpdeploy.profiles.devices.accelerator import Accelerator, Efficiency
from tpdeploy.profiles.devices.fabric import Fabric, Network
from tpdeploy.profiles.record import Record, Text


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
    origin: Literal["stated", "detected"] = "stated"
    measured: tuple[str, ...] = Field(default=(), description="what was measured on this machine")

    @property
    def per_machine(self) -> int:
        """Devices of one machine."""
        return self.count // self.machines

    @property
    def domain(self) -> int:
        """Devices of one machine joined directly: the widest group that never leaves the fabric."""
        return min(self.fabric.domain, self.per_machine)
