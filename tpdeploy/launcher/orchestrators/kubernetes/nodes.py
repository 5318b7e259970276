"""The devices of a cluster, as the labels and the resources of its nodes tell."""

from collections.abc import Iterable, Iterator
from typing import Any

from tpdeploy.errors import InputError
from tpdeploy.launcher.offers import Offer, counted
from tpdeploy.profiles.devices.labels import LABELS, RESOURCES, labelled

Json = dict[str, Any]


def offers_of(nodes: Iterable[Json]) -> list[Offer]:
    """The nodes that are up and take pods, by their devices.

    Raises:
        InputError: they have devices, and none that the catalog knows.
    """
    known, unknown = [], []
    for label, count in _labelled(nodes):
        try:
            known.append((labelled(label).name, label, count))
        except InputError:
            unknown.append(label or "no product label")
    if unknown and not known:
        words = ", ".join(sorted(set(unknown)))
        raise InputError(
            f"the GPUs of the nodes are not in the catalog ({words}); name the nearest ones, as "
            "2x8xH100"
        )
    return counted(known)


def _labelled(nodes: Iterable[Json]) -> Iterator[tuple[str, int]]:
    """The product label of each node with devices, and how many."""
    for node in filter(_is_up, nodes):
        labels = node["metadata"].get("labels") or {}
        has = node["status"].get("allocatable") or {}
        for platform, label in LABELS.items():
            count = int(has.get(RESOURCES[platform], 0))
            if count:
                yield labels.get(label, ""), count


def _is_up(node: Json) -> bool:
    conditions = node["status"].get("conditions") or ()
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and not node.get("spec", {}).get("unschedulable")
