"""Networks between machines: the bundled ones, and those that were measured between this user's."""

import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field

from tpdeploy.bounds import Bytes, Devices, Figure, Seconds
from tpdeploy.errors import InputError, nearest, shown
from tpdeploy.files import data_home, kind_of, write_whole
from tpdeploy.profiles import DATA
from tpdeploy.profiles.devices.fabric import Algorithm, Network
from tpdeploy.profiles.record import Record, Text
from tpdeploy.records import read_json_record, read_record


class Reduction(Record):
    """One figure: the median seconds of an all-reduce among ranks of several machines."""

    kernel: Algorithm
    group: Devices = Field(ge=2, description="ranks that add up")
    machines: Devices = Field(ge=2, description="on which they are, as many on each")
    rails: Devices = Field(description="groups at work at once, each with a rank on every machine")
    bytes: Bytes = Field(gt=0)
    seconds: Seconds
    spread: Figure = Field(description="width of the middle half of the repeats / median")


class MeasuredNetwork(Record):
    """What `tpdeploy calibrate --on` found between machines, and the network that plans take."""

    version: Literal[1] = 1
    network: Network
    runtime: Text = Field(description="what ran it on the machines")
    device: Text = Field(description="its name in the catalog")
    hardware: tuple[Text, ...] = Field(description="its names as the systems give them")
    hosts: tuple[Text, ...] = Field(min_length=2)
    devices_each: Devices = Field(description="ranks on each machine")
    versions: dict[str, str]
    measured_at: AwareDatetime
    samples: tuple[Reduction, ...]

    @property
    def source(self) -> str:
        """Where its numbers come from, in words."""
        return f"network {self.network.name} {self.network.link.source}"


def find_network(name: str) -> Network:
    """The network between machines called `name`, bundled or measured.

    Raises:
        InputError: no such network; the nearest names are offered. Or the file of a measured one
            is not what was written.
    """
    plain = name.strip().lower()
    if plain in network_names():
        return _bundled(plain)
    own = measured_network(plain)
    if own is None:
        known = (*network_names(), *measured_names())
        raise InputError(f"unknown network {name.strip()}; {nearest(name, known)}")
    return own.network


@cache
def network_names() -> tuple[str, ...]:
    """The names of the bundled networks between machines."""
    return tuple(sorted(path.stem for path in (DATA / "networks").glob("*.yaml")))


def measured_names() -> tuple[str, ...]:
    """The names of those that were measured between this user's machines."""
    return tuple(sorted(path.stem for path in folder().glob("*.json")))


def measured_with(device: str) -> tuple[str, ...]:
    """The names of those that were measured between machines with that device."""
    found = []
    for name in measured_names():
        with suppress(InputError):  # who names it is told
            own = measured_network(name)
            found += [name] if own and own.device == device else []
    return tuple(found)


def measured_network(name: str) -> MeasuredNetwork | None:
    """The one of that name that was measured, None if there is none.

    Raises:
        InputError: its file is not what was written.
    """
    plain = name.strip().lower()
    path = folder() / f"{plain}.json"
    if plain in network_names() or not _is_name(plain) or not kind_of(path):
        return None
    again = "measure again: tpdeploy calibrate --on"
    try:
        found = read_json_record(path, MeasuredNetwork)
    except InputError as error:
        raise InputError(f"{error}; {again}") from error
    if found.network.name != plain:
        raise InputError(f"{path} is of a network {shown(found.network.name)}; {again}")
    return found


def check_name(name: str) -> None:
    """Return if a measured network can be called `name`.

    Raises:
        InputError: it cannot, or a bundled one is.
    """
    if not _is_name(name):
        raise InputError(
            f"--network-name {name!r}: use up to 60 small letters, digits, '.', '_' and '-'"
        )
    if name in network_names():
        raise InputError(f"--network-name {name}: a bundled network is called so; choose another")


def keep(measured: MeasuredNetwork) -> Path:
    """Write it whole where plans will find it; return where that is."""
    path = folder() / f"{measured.network.name}.json"
    write_whole(path, measured.model_dump_json(indent=2) + "\n")
    return path


def folder() -> Path:
    """Where measured networks are kept."""
    return data_home() / "networks"


@cache
def _bundled(name: str) -> Network:
    return read_record(DATA / "networks" / f"{name}.yaml", Network)


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,59}", name) is not None
