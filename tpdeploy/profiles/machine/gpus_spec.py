"""The short form of a cluster: `8xH100`, `2x8xH200`, `2xCPU`, `auto`."""

import re

from tpdeploy.bounds import MOST_DEVICES
from tpdeploy.errors import InputError, shown
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.devices.catalog import assemble, choose_fabric, find_accelerator
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.devices.networks import measured_with
from tpdeploy.profiles.machine.detect import cpu_cluster, detect

FORMS = "8xH100, 2x8xH200 (two nodes of eight), 2xCPU or auto"
SPEC = re.compile(r"(?P<counts>(?:-?\d+[xX]){0,2})(?P<name>\S.*)")
COUNT_ALONE = re.compile(r"-?\d+[xX]")


def parse_gpus(
    spec: str, interconnect: str | None = None, *, network: str | None = None
) -> Cluster:
    """The cluster that `spec`, `interconnect` and, between machines, `network` describe.

    Raises:
        InputError: a count below 1, an unknown name, an interconnect the device is not sold
            with, or a network for one machine; the message says what would work.
    """
    text = spec.strip()
    if text.lower() == "auto":
        _refuse_network(spec, network)
        return detect(interconnect)
    match = SPEC.fullmatch(text)
    if match is None or COUNT_ALONE.fullmatch(match["name"]):
        raise InputError(f"--gpus {spec!r}: give a count and a name, as {FORMS}")
    nodes, count = ([1, 1] + [_count(n) for n in re.findall(r"-?\d+", match["counts"])])[-2:]
    if nodes < 1 or count < 1:
        raise InputError(f"--gpus {spec}: counts must be at least 1, as in {FORMS}")
    if nodes * count > MOST_DEVICES:
        raise InputError(f"--gpus {shown(spec)}: more than {MOST_DEVICES:,} in all")
    try:
        device = find_accelerator(match["name"])
    except InputError as error:
        raise InputError(f"--gpus {spec}: {error}") from error
    if nodes == 1:
        _refuse_network(spec, network)
    if device.platform != "cpu":
        return _stated(device, nodes, count, match["name"], interconnect, network=network)
    if nodes > 1:
        raise InputError(f"--gpus {spec}: CPU shares are of this machine; give {count}xCPU")
    return cpu_cluster(count, interconnect)


def _count(digits: str) -> int:
    """A count; one that has more digits than any that is allowed stands for all such."""
    return MOST_DEVICES + 1 if len(digits) > len(str(MOST_DEVICES)) + 1 else int(digits)


def _refuse_network(spec: str, network: str | None) -> None:
    if network is not None:
        raise InputError(
            f"--network {network}: {spec.strip()} is one machine; state several, as 2x8xH200"
        )


def _stated(
    device: Accelerator,
    nodes: int,
    per_node: int,
    called: str,
    interconnect: str | None,
    *,
    network: str | None,
) -> Cluster:
    fabric_name = choose_fabric(device, interconnect)
    cluster = assemble(device, fabric_name, nodes, per_node, network)
    fabric = cluster.fabric
    if per_node > fabric.domain and cluster.beyond is None:
        machines = -(-nodes * per_node // fabric.domain)
        raise InputError(
            f"{per_node} {called} on one machine: {fabric.name} joins {fabric.domain}; "
            f"state the machines, as {machines}x{fabric.domain}x{called}"
        )
    how = "as asked" if interconnect else "assumed"
    same = called.lower() == device.name.lower()
    meant = device.name if same else f"{called} is {device.name}"
    assumptions = [
        f"{meant}, {per_node} a machine, on {fabric.name} ({how}): {fabric.description}."
    ]
    if nodes > 1:
        assumptions.append(_between(cluster, asked=network is not None))
    return cluster.model_copy(update={"assumptions": tuple(assumptions)})


def _between(cluster: Cluster, *, asked: bool) -> str:
    """What joins the machines, and what follows for tensor parallelism."""
    how = "as asked" if asked else "assumed"
    fabric, network = cluster.fabric, cluster.network
    if fabric.spans_machines and cluster.count <= fabric.domain:
        joined = f"on the same {fabric.name} ({how})"
    elif network:
        joined = f"joined by {network.name} ({how}): {network.description}"
    else:
        joined = "joined by a network that is not known"
    measured = " or ".join(() if asked else measured_with(cluster.accelerator.name))
    hint = f" Measured between such machines: --network {measured}." if measured else ""
    return f"{cluster.nodes} machines, {joined}; no tensor-parallel group spans two of them.{hint}"
