"""PCIe of any generation and number of lanes, from the nearest one that has a record.

Its name says what it is: `pcie-gen4-x8`, and without lanes sixteen. `pcie-gen4-p2p`: devices reach
each other's memory; `pcie-gen4-host`: they go through that of the host; else as the device usually
does. The bytes of a message take longer by the share of the record's bytes/s that such a link has.
"""

import re
from dataclasses import dataclass, replace

from tpdeploy.profiles.devices.fabric import Fabric

NAME = re.compile(r"pcie-gen(?P<generation>[3-6])(?:-x(?P<lanes>16|8|4))?(?:-(?P<path>p2p|host))?")
MOST_LANES = 16
FORMS = "pcie-gen3 to pcie-gen6, each also with -x8 or -x4, and with -p2p or -host"
# Records: generation 3 has a stated model, 4 and 5 were measured.
RECORDED = range(3, 6)
# The newest generation that was measured with P2P and without.
MEASURED_BOTH = 4


@dataclass(frozen=True)
class Pcie:
    """A link of one generation and number of lanes."""

    generation: int
    lanes: int = MOST_LANES
    path: str = ""  # p2p, host; else as the device usually does

    @property
    def name(self) -> str:
        """The name of a fabric of such links."""
        lanes = "" if self.lanes == MOST_LANES else f"-x{self.lanes}"
        path = f"-{self.path}" if self.path else ""
        return f"pcie-gen{self.generation}{lanes}{path}"

    @property
    def base(self) -> "Pcie":
        """The link with a record that this one is scaled from."""
        return Pcie(min(self.generation, RECORDED[-1]))

    @property
    def slower(self) -> "Pcie | None":
        """The same lanes of the generation before."""
        older = self.generation - 1
        return replace(self, generation=older) if older >= RECORDED[0] else None

    def is_direct(self, *, usually: bool) -> bool:
        """Whether devices reach each other's memory; `usually`: such devices do."""
        return self.path == "p2p" or (not self.path and usually)

    @property
    def share(self) -> float:
        """Its bytes/s over those of `base`: each generation doubles them."""
        return self.over(self.base)

    def over(self, other: "Pcie") -> float:
        """Its bytes/s over those of `other`."""
        generations: float = 2.0 ** (self.generation - other.generation)
        return generations * self.lanes / other.lanes


def parsed(name: str) -> Pcie | None:
    """The link that `name` says, if it is such a name."""
    match = NAME.fullmatch(name)
    if match is None:
        return None
    return Pcie(int(match["generation"]), int(match["lanes"] or MOST_LANES), match["path"] or "")


# Devices that exchange directly: the fastest link that was measured so.
DIRECT = Pcie(RECORDED[-1])


def scaled_fabric(base: Fabric, wanted: Pcie, share: float) -> Fabric:
    """The fabric `wanted`, whose links have `share` of the bytes/s of those of `base`."""
    what = f"PCIe {wanted.generation}.0 x{wanted.lanes} through the host, no NVLink; "
    update = {
        "name": wanted.name,
        "description": f"{what}{share:g} of the bytes/s of {base.name}, the same start",
        "slower": wanted.slower.name if wanted.slower else None,
        "share": share,
    }
    if share == 1:
        del update["description"]
    return base.changed(**update)


def direct_fabric(base: Fabric, wanted: Pcie) -> Fabric:
    """The fabric `wanted` between devices that exchange directly, from such a one, `base`."""
    fabric = scaled_fabric(base, wanted, wanted.over(DIRECT))
    rate = "" if fabric.share == 1 else f", at {fabric.share:g} of the bytes/s of {base.name}"
    how = "" if wanted.path else "are taken to "
    other = replace(wanted, path="host").name
    what = (
        f"PCIe {wanted.generation}.0 x{wanted.lanes}, no NVLink; devices {how}exchange directly "
        f"(P2P){rate}; if yours do not, --interconnect {other}"
    )
    return fabric.changed(description=what)
