"""The bundled accelerators, fabrics and efficiencies, found by name and put together."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import yaml

from tpdeploy.errors import InputError, nearest, shown
from tpdeploy.files import kind_of
from tpdeploy.profiles import DATA
from tpdeploy.profiles.devices import mig
from tpdeploy.profiles.devices.accelerator import Accelerator, Efficiency
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.devices.fabric import Curve, Fabric, Measurements
from tpdeploy.profiles.devices.networks import find_network, measured_network
from tpdeploy.profiles.devices.pcie import (
    DIRECT,
    FORMS,
    MEASURED_BOTH,
    Pcie,
    direct_fabric,
    parsed,
    scaled_fabric,
)
from tpdeploy.profiles.devices.unserved import unserved
from tpdeploy.profiles.naming import gpu_key
from tpdeploy.records import Loader, read_record

# Every class of device has a file for this engine.
DEFAULT_ENGINE = "vllm"
# A judgement: an engine without runs may be slower or quicker than the default one by so much.
BORROWED_TPOT, BORROWED_TTFT = 0.6, 1.5
# What a short word stands for: the beginnings of the names of its fabrics.
WORDS = {"nvlink": "nv", "nvswitch": "nvswitch", "pcie": "pcie"}


def find_accelerator(name: str) -> Accelerator:
    """The accelerator called `name`, by its name, an alias or the driver's product name.

    Blanks, dashes and the maker's name make no difference. A MIG slice is called by its GPU and
    its profile.

    Raises:
        InputError: no such accelerator or slice; the nearest names are offered. Or one that no
            engine here runs on.
    """
    path = _accelerator_keys().get(gpu_key(name))
    if path is not None:
        return _accelerator_in(path)
    if slice_of := mig.parsed(name):
        return _slice(*slice_of)
    if why := unserved(name):
        raise InputError(why)
    raise InputError(
        f"unknown GPU {shown(name)}; {nearest(name, accelerator_names())} (all: tpdeploy gpus)"
    )


def is_accelerator(name: str) -> bool:
    """Whether an accelerator is called `name`, or it says a slice of one."""
    gpu, _ = mig.parsed(name) or (name, "")
    return gpu_key(gpu) in _accelerator_keys()


@cache
def find_fabric(name: str) -> Fabric:
    """The fabric called `name`; PCIe without a record is scaled from the nearest one with.

    Raises:
        InputError: no such fabric; the nearest names are offered.
    """
    path = DATA / "fabrics" / f"{name.lower()}.yaml"
    if path in _files("fabrics"):
        return read_record(path, Fabric)
    if link := parsed(name.lower()):
        return scaled_fabric(find_fabric(link.base.name), link, link.share)
    raise InputError(f"unknown interconnect {name}; {nearest(name, fabric_names())}")


@cache
def measured_curves(fabric: str, device: str) -> tuple[Curve, ...]:
    """Curves measured on `fabric` with `device`, else with the first other GPU on this fabric."""
    link = parsed(fabric)
    folder = DATA / "curves" / (link.base.name if link else fabric)
    own = folder / f"{device.lower()}.yaml"
    paths = [own] if own.exists() else sorted(folder.glob("*.yaml"))
    return _curves_in(paths[0]) if paths else ()


def measured_on(fabric: str) -> tuple[str, ...]:
    """The GPUs with which collectives were measured on `fabric`."""
    paths = sorted((DATA / "curves" / fabric).glob("*.yaml"))
    found = [curve.gpu for path in paths for curve in _curves_in(path)]
    return tuple(dict.fromkeys(found))


@cache
def efficiency_of(architecture: str, engine: str = DEFAULT_ENGINE) -> Efficiency:
    """The efficiency of `engine` on `architecture`; the default engine's if there is none.

    The ranges of what is taken over are as wide as those of devices without public runs.
    """
    own = DATA / "efficiency" / engine / f"{architecture}.yaml"
    if kind_of(own):
        return read_record(own, Efficiency)
    found = read_record(DATA / "efficiency" / DEFAULT_ENGINE / f"{architecture}.yaml", Efficiency)
    wide = {
        "confidence": "low",
        "note": f"taken over from {DEFAULT_ENGINE}: no public runs of {engine}",
        "tpot": max(found.errors.tpot, BORROWED_TPOT),
        "ttft": max(found.errors.ttft, BORROWED_TTFT),
        "parts": (),
    }
    return found.changed(errors=found.errors.changed(**wide))


def with_engine(cluster: Cluster, engine: str) -> Cluster:
    """`cluster` with the efficiency of `engine`."""
    efficiency = efficiency_of(cluster.accelerator.architecture, engine)
    return cluster.changed(efficiency=efficiency)


def accelerators() -> tuple[Accelerator, ...]:
    """Every bundled accelerator."""
    return tuple(map(_accelerator_in, _files("accelerators")))


def accelerator_names() -> tuple[str, ...]:
    """The names of the bundled accelerators, and the short ones; not the driver's, with blanks."""
    return tuple(name for name in _accelerator_files() if " " not in name)


def fabric_names() -> tuple[str, ...]:
    """The names of the bundled fabrics."""
    return tuple(path.stem for path in _files("fabrics"))


def choose_fabric(device: Accelerator, interconnect: str | None) -> str:
    """The name of the fabric: the first `device` is sold with, or the one `interconnect` means.

    PCIe of a stated generation is taken for every device that is plugged into it.

    Raises:
        InputError: the device is not sold with it.
    """
    if interconnect is None:
        return device.fabrics[0]
    asked = interconnect.strip().lower()
    word = WORDS.get(asked)
    for fabric in device.fabrics:
        if fabric == asked or (word and fabric.startswith(word)):
            return fabric
    link = parsed(asked)
    if link and any(parsed(fabric) for fabric in device.fabrics):
        return link.name
    if word or link or asked in fabric_names():
        sold = " or ".join(device.fabrics)
        raise InputError(f"--interconnect {interconnect}: {device.name} comes with {sold}")
    known = (*WORDS, *fabric_names())
    near = nearest(asked, known)
    raise InputError(f"--interconnect {interconnect}: unknown; {near} (PCIe: {FORMS})")


def assemble(
    device: Accelerator,
    fabric_name: str,
    machines: int,
    per_machine: int,
    *,
    network: str | None = None,
    usual: str | None = None,
) -> Cluster:
    """The cluster of `machines` machines with `per_machine` devices each on a fabric.

    `network` joins several machines; without it the fabric does as far as it reaches from one to
    the other, else the `usual` network, or that which machines on this fabric have.

    Raises:
        InputError: no such network.
    """
    cluster = _alone(device, fabric_name, machines, per_machine, network=network, usual=usual)
    slower = cluster.fabric.slower
    return cluster.changed(
        slower=assemble(device, slower, machines, per_machine) if slower else None,
        faster=tuple(
            _alone(device, name, machines, per_machine) for name in _faster(fabric_name, device)
        ),
    )


def _alone(
    device: Accelerator,
    fabric_name: str,
    machines: int,
    per_machine: int,
    *,
    network: str | None = None,
    usual: str | None = None,
) -> Cluster:
    """The cluster without its slower and faster alternatives."""
    fabric = _measured_fabric(fabric_name, device)
    if network:
        fabric = fabric.changed(tray=None)
    between = (network or usual or fabric.network) if machines > 1 else None
    own = measured_network(between) if between else None
    return Cluster(
        accelerator=device,
        efficiency=efficiency_of(device.architecture),
        fabric=fabric,
        beyond=_measured_fabric(fabric.beyond, device) if fabric.beyond else None,
        network=find_network(between) if between else None,
        count=machines * per_machine,
        machines=machines,
        measured=(own.source,) if own else (),
    )


def _measured_fabric(name: str, device: Accelerator) -> Fabric:
    """The fabric with its curves: those of the device, else of a machine of its class.

    PCIe devices that exchange directly take the curves of such ones, scaled to their link.
    """
    link = parsed(name)
    if link and link.is_direct(usually=device.peer_to_peer):
        direct = direct_fabric(find_fabric(DIRECT.name), link)
        return direct.changed(curves=measured_curves(DIRECT.name, device.name))
    return find_fabric(name).changed(curves=measured_curves(name, device.name))


def on_other_path(cluster: Cluster) -> Cluster | None:
    """The devices of `cluster` with P2P if they are taken to have none, else without.

    None where links are not PCIe of a generation that was measured with and without, or where
    the machine itself was measured.
    """
    link, device = parsed(cluster.fabric.name), cluster.accelerator
    if link is None or link.generation > MEASURED_BOTH or cluster.count == 1 or cluster.measured:
        return None
    direct = link.is_direct(usually=device.peer_to_peer)
    name = replace(link, path="host" if direct else "p2p").name
    other = assemble(device, name, cluster.machines, cluster.per_machine)
    return cluster.changed(fabric=other.fabric, slower=other.slower, faster=other.faster)


def _faster(fabric: str, device: Accelerator) -> list[str]:
    """The fabrics above `fabric` that were measured with `device`, or are its kind's NVLink."""
    link = parsed(fabric)
    widest = Pcie(link.generation).name if link else fabric
    own = [p.parent.name for p in (DATA / "curves").glob(f"*/{device.name.lower()}.yaml")]
    linked = [name for name in device.fabrics if not parsed(name)]
    return [
        name
        for name in dict.fromkeys([*linked, *own])
        if name != fabric and measured_curves(name, device.name) and widest in _below(name)
    ]


def _below(name: str) -> list[str]:
    """`name` and the fabrics that are slower."""
    slower = find_fabric(name).slower
    return [name, *(_below(slower) if slower else [])]


def _slice(gpu: str, profile_name: str) -> Accelerator:
    """The slice `profile_name` of the GPU called `gpu`, else of its kind with other memory."""
    base = find_accelerator(gpu)
    kind = [
        _accelerator_in(path)
        for path in _files("accelerators")
        if gpu_key(path.stem).startswith(gpu_key(gpu))
    ]
    kind.sort(key=lambda device: device.fabrics[0] != base.fabrics[0])
    for device in (base, *kind):
        profile = mig.profile_of(device, profile_name)
        if profile and device.mig:
            return mig.sliced(device, profile, device.mig)
    if base.mig is None:
        raise InputError(f"{base.name} has no MIG slices; plan it whole")
    known = ", ".join(dict.fromkeys(profile.name for profile in mig.profiles(base.mig)))
    raise InputError(f"{base.name} has no MIG profile {profile_name}; it has {known}")


@cache
def _accelerator_keys() -> dict[str, Path]:
    """What is the same for all spellings of each name, and the file of its accelerator."""
    return {gpu_key(name): path for name, path in _accelerator_files().items()}


@cache
def _accelerator_files() -> dict[str, Path]:
    """Each name and alias, and the file of its accelerator; only their heads are parsed."""
    names: dict[str, Path] = {}
    for path in _files("accelerators"):
        head = path.read_text(encoding="utf-8").partition("\nvendor:")[0]
        content = yaml.load(head, Loader)  # noqa: S506 - a SafeLoader in both cases
        for name in (content["name"], *content.get("aliases", ())):
            names[name] = path
    return names


@cache
def _accelerator_in(path: Path) -> Accelerator:
    return read_record(path, Accelerator)


@cache
def _curves_in(path: Path) -> tuple[Curve, ...]:
    return read_record(path, Measurements).curves


@cache
def _files(kind: str) -> tuple[Path, ...]:
    return tuple(sorted((DATA / kind).glob("*.yaml")))
