"""What a cluster says of its nodes."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Offer:
    """Nodes that are alike: `device` is as the catalog calls it, `called` as the cluster does."""

    device: str
    called: str
    each: int  # devices of a node
    nodes: int


def counted(nodes: Iterable[tuple[str, str, int]]) -> list[Offer]:
    """Nodes by what they have, the most devices first; each is a device, its name, and how many."""
    found = [Offer(*kind, nodes=count) for kind, count in Counter(nodes).items()]
    return sorted(found, key=lambda offer: (-offer.each * offer.nodes, offer.device))
