"""Machines: clusters of other sizes with the same devices."""

from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.profiles.devices.catalog import assemble
from tpdeploy.profiles.devices.cluster import Cluster

MACHINE = 8
MOST_MACHINES = 8


def per_machine(cluster: Cluster) -> int:
    """The largest number of such devices in one machine."""
    return (
        MACHINE
        if cluster.beyond
        else cluster.fabric.per_machine or min(MACHINE, cluster.fabric.domain)
    )


def assembled(inputs: PlanInputs, machines: int, each: int) -> Cluster:
    """`machines` machines with `each` of the devices, on the same fabric and network."""
    cluster = inputs.cluster
    network = inputs.network if machines > 1 else None
    built = assemble(cluster.accelerator, cluster.fabric.name, machines, each, network=network)
    return built.changed(efficiency=cluster.efficiency)
