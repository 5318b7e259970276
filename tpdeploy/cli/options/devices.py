"""What `--gpus` names: devices, this machine, or what a cluster says it has."""

from tpdeploy.api.decision import leaves_count_open
from tpdeploy.plugins import installed
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.machine.gpus_spec import parse_gpus

CLUSTERS = ("tpdeploy.runtimes", "tpdeploy.orchestrators")


def cluster_of(gpus: str, interconnect: str | None, network: str | None) -> Cluster:
    """The devices that are stated, those of this machine, or what a cluster says it has.

    Raises:
        InputError: there are no such devices, or the cluster does not tell.
    """
    if not _is_elsewhere(gpus):
        return parse_gpus(gpus, interconnect, network=network)
    # What launches takes long to import, and other plans do not need it.
    from tpdeploy.launcher import inventory  # noqa: PLC0415

    return inventory.cluster_of(gpus, interconnect, network)


def is_open(gpus: str, cluster: Cluster) -> bool:
    """Whether `gpus` leaves the number of devices to the plan."""
    return not _is_elsewhere(gpus) and leaves_count_open(gpus, cluster)


def _is_elsewhere(gpus: str) -> bool:
    """Whether `--gpus` names what runs deployments, in place of devices."""
    return any(gpus.partition(":")[0] in installed(group) for group in CLUSTERS)
