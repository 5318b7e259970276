"""The short form of a cluster: `8xH100`, `2x8xH200`, `1x3090+1x3070`, `2xCPU`, `auto`."""

import re

from tpdeploy.bounds import MOST_DEVICES
from tpdeploy.errors import InputError, nearest, shown
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.devices.catalog import (
    accelerator_names,
    assemble,
    choose_fabric,
    find_accelerator,
    find_fabric,
    is_accelerator,
)
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.devices.fabric import Fabric
from tpdeploy.profiles.devices.instances import Rented, find_instance, instance_names
from tpdeploy.profiles.devices.mixed import as_weakest, weakest
from tpdeploy.profiles.devices.networks import measured_with
from tpdeploy.profiles.devices.unserved import unserved
from tpdeploy.profiles.machine.detect import cpu_cluster, detect

FORMS = "8xH100, 2x8xH200 (two machines of eight), p5.48xlarge, GB200-NVL72, 2xCPU or auto"
TIMES = r"\s*[xX*]\s*"
COUNTS_FIRST = re.compile(rf"(?P<counts>(?:-?\d+{TIMES}){{1,2}})(?P<name>\S.*)")
COUNT_LAST = re.compile(rf"(?P<name>.*?\S)(?:{TIMES}|\s*:\s*)(?P<counts>-?\d+)")
COUNT_BESIDE = re.compile(r"(?P<counts>\d+)\s*(?P<name>\D.*)")
COUNT_ALONE = re.compile(r"-?\d+\s*[xX*:]|")


def counts_and_name(spec: str) -> tuple[list[int], str]:
    """The counts that `spec` states, of machines and of devices in each, and the device's name.

    A name that is known is no count: `4090` is one, `RTX3090` does not end in one.

    >>> counts_and_name("2x8xH200"), counts_and_name("h100:8"), counts_and_name("4090")
    (([2, 8], 'H200'), ([8], 'h100'), ([], '4090'))
    """
    text = spec.strip()
    if is_known(text):
        return [], text
    if first := COUNTS_FIRST.fullmatch(text):
        return [_count(digits) for digits in re.findall(r"-?\d+", first["counts"])], first["name"]
    for form in (COUNT_LAST, COUNT_BESIDE):
        found = form.fullmatch(text)
        if found and is_known(found["name"]):
            return [_count(found["counts"])], found["name"]
    return [], text


def is_known(name: str) -> bool:
    """Whether `name` is that of a device or of a machine that a provider rents."""
    return is_accelerator(name) or find_instance(name) is not None


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
    if "+" in text:
        _refuse_network(spec, network)
        return _mixed(spec, text.split("+"), interconnect)
    counts, name = counts_and_name(text)
    if COUNT_ALONE.fullmatch(name) or (not counts and text.isdecimal() and not is_known(text)):
        raise InputError(f"--gpus {spec!r}: give a count and a name, as {FORMS}")
    rented = find_instance(name)
    machines, count = _per_machine(spec, counts, rented)
    if machines < 1 or count < 1:
        raise InputError(f"--gpus {spec}: counts must be at least 1, as in {FORMS}")
    if machines * count > MOST_DEVICES:
        raise InputError(f"--gpus {shown(spec)}: more than {MOST_DEVICES:,} in all")
    if machines == 1:
        _refuse_network(spec, network)
    if rented:
        return _of_provider(rented, machines, interconnect, network)
    device = _device(spec, name)
    if device.platform != "cpu":
        return _stated(device, machines, count, name, interconnect, network=network)
    if machines > 1:
        raise InputError(f"--gpus {spec}: CPU shares are of this machine; give {count}xCPU")
    return cpu_cluster(count, interconnect)


def _mixed(spec: str, parts: list[str], interconnect: str | None) -> Cluster:
    """Devices of several kinds in one machine."""
    if not all(part.strip() for part in parts):
        raise InputError(f"--gpus {spec}: need devices on both sides of +, as 1x3090+1x3070")
    clusters = [parse_gpus(part) for part in parts]
    if any(each.machines > 1 or each.accelerator.platform == "cpu" for each in clusters):
        raise InputError(f"--gpus {spec}: + joins GPUs of one machine, as 1x3090+1x3070")
    devices = [each.accelerator for each in clusters]
    try:
        device = weakest(devices)
    except InputError as error:
        raise InputError(f"--gpus {spec}: {error}") from error
    count = sum(each.count for each in clusters)
    cluster = _stated(device, 1, count, device.name, interconnect, network=None)
    return as_weakest(cluster, devices)


def _per_machine(spec: str, counts: list[int], rented: Rented | None) -> tuple[int, int]:
    """How many machines, and how many devices each."""
    if rented is None:
        machines, count = [1, 1, *counts][-2:]
        return machines, count
    one = rented.instance
    if len(counts) > 1:
        whole = "machine" if one.machines == 1 else "rack"
        raise InputError(f"--gpus {spec}: {rented.name} is a whole {whole}; give 2x{rented.name}")
    return [1, *counts][-1] * one.machines, one.count


def _device(spec: str, name: str) -> Accelerator:
    """The device called `name`; where there is none machines of providers are offered, too."""
    if not is_accelerator(name) and not unserved(name):
        near = nearest(name, (*accelerator_names(), *instance_names()), listed_by="tpdeploy gpus")
        raise InputError(f"--gpus {spec}: unknown GPU {shown(name)}; {near}")
    try:
        return find_accelerator(name)
    except InputError as error:
        raise InputError(f"--gpus {spec}: {error}") from error


def _count(digits: str) -> int:
    """A count; one with more digits than allowed becomes a number above the maximum."""
    return MOST_DEVICES + 1 if len(digits) > len(str(MOST_DEVICES)) + 1 else int(digits)


def _refuse_network(spec: str, network: str | None) -> None:
    if network is not None:
        raise InputError(
            f"--network {network}: {spec.strip()} is one machine; state several, as 2x8xH200"
        )


def _of_provider(
    rented: Rented, machines: int, interconnect: str | None, network: str | None
) -> Cluster:
    """`machines` machines of a provider: its fabric and network unless others are asked for."""
    machine, device = rented.instance, find_accelerator(rented.instance.gpu)
    cluster = _stated(
        device,
        machines,
        machine.count,
        device.name,
        interconnect,
        network=network,
        fabric=machine.fabric,
        usual=machine.network,
    )
    racks = f"{machine.machines} machines of " if machine.machines > 1 else ""
    meant = f"{rented.name} of {rented.provider} is {racks}{machine.count} x {device.name}."
    return cluster.changed(assumptions=(meant, *cluster.assumptions))


def _stated(
    device: Accelerator,
    machines: int,
    per_machine: int,
    called: str,
    interconnect: str | None,
    *,
    network: str | None,
    fabric: str | None = None,
    usual: str | None = None,
) -> Cluster:
    """The devices on what was asked for, else on `fabric` and `usual`, else as most often."""
    fabric_name = choose_fabric(device, interconnect or fabric)
    machines, per_machine = _in_trays(find_fabric(fabric_name), machines, per_machine, called)
    cluster = assemble(device, fabric_name, machines, per_machine, network=network, usual=usual)
    joined = cluster.fabric
    if joined.isolated and cluster.count > 1:
        raise InputError(
            f"{cluster.count} {called}: MIG slices do not reach one another; plan one, each "
            "further one serves as much again"
        )
    if per_machine > joined.domain and cluster.beyond is None:
        needed = -(-machines * per_machine // joined.domain)
        raise InputError(
            f"{per_machine} {called} on one machine: {joined.name} joins {joined.domain}; "
            f"state the machines, as {needed}x{joined.domain}x{called}"
        )
    how = "as asked" if interconnect else "assumed"
    same = called.lower() == device.name.lower()
    meant = device.name if same else f"{called} is {device.name}"
    assumptions = [
        f"{meant}, {per_machine} per machine, on {joined.name} ({how}): {joined.description}."
    ]
    if machines > 1:
        assumptions.append(_between(cluster, asked=network is not None))
    return cluster.changed(assumptions=tuple(assumptions))


def _in_trays(fabric: Fabric, machines: int, each: int, called: str) -> tuple[int, int]:
    """How many machines, and how many devices each: `8xGB200` is two trays of four.

    Devices that a network alone joins (DGX Spark) are machines of one.

    Raises:
        InputError: machines that hold more devices than a tray.
    """
    tray = fabric.per_machine or each
    if each <= tray:
        return machines, each
    needed = -(-machines * each // tray)
    if machines > 1 or each % tray:
        raise InputError(
            f"{each} {called} on one machine: {fabric.name} joins machines of {tray}; "
            f"state the machines, as {needed}x{tray}x{called}"
        )
    return needed, tray


def _between(cluster: Cluster, *, asked: bool) -> str:
    """What joins the machines, and what follows for tensor parallelism."""
    how = "as asked" if asked else "assumed"
    fabric, network = cluster.fabric, cluster.network
    joined = "joined by a network that is not known"
    if network:
        joined = f"joined by {network.name} ({how}): {network.description}"
    if fabric.spans_machines:
        together = cluster.domain // cluster.per_machine
        same = f"{together} on one {fabric.name}, {joined}"
        joined = f"on the same {fabric.name} ({how})" if cluster.domain == cluster.count else same
    measured = " or ".join(() if asked else measured_with(cluster.accelerator.name))
    hint = f" Measured between such machines: --network {measured}." if measured else ""
    machines = f"{cluster.machines} machines, {joined}"
    if cluster.widest > cluster.per_machine:
        return f"{machines}; a tensor-parallel group may span several of them.{hint}"
    return f"{machines}; no tensor-parallel group spans two of them unless --tp asks for it.{hint}"
