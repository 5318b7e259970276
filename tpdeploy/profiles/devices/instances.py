"""Machines by the names that they are rented or sold under: `p5.48xlarge`, `DGX-H100`."""

from functools import cache

from pydantic import Field

from tpdeploy.profiles import DATA
from tpdeploy.profiles.naming import key_of
from tpdeploy.profiles.record import Provenance, Record, Text
from tpdeploy.records import read_record


class Instance(Record):
    """One kind of machine, under every name of sizes that differ in CPUs and memory alone.

    A rack that is sold whole has several `machines`.
    """

    names: tuple[Text, ...] = Field(min_length=1)
    gpu: Text
    count: int = Field(gt=0, description="GPUs of one machine")
    machines: int = Field(default=1, gt=0, description="of one rack; 1: it is a machine")
    fabric: Text | None = Field(default=None, description="None: the one its GPU is assumed on")
    network: Text = Field(description="between such machines, or between such racks")


class Provider(Provenance):
    """What one provider rents, or one maker sells."""

    provider: Text
    prefixes: tuple[Text, ...] = Field(
        default=(), description="what names may begin with besides, or be written without"
    )
    instances: tuple[Instance, ...] = Field(min_length=1)


class Rented(Record):
    """An instance as it was found: under one of its names, at one provider."""

    name: Text
    provider: Text
    instance: Instance


def find_instance(name: str) -> Rented | None:
    """The machine that some provider calls `name`, however that is spelled; None if none does.

    >>> found = find_instance("ml.P5.48xlarge")
    >>> found.name, found.instance.count, found.instance.gpu
    ('p5.48xlarge', 8, 'H100-SXM-80GB')
    """
    return _by_key().get(key_of(name.strip()))


def instance_names() -> tuple[str, ...]:
    """The names of all instances, as their providers write them."""
    return tuple(dict.fromkeys(rented.name for rented in _by_key().values()))


@cache
def providers() -> tuple[Provider, ...]:
    """Every provider that has a record."""
    paths = sorted((DATA / "instances").glob("*.yaml"))
    return tuple(read_record(path, Provider) for path in paths)


@cache
def _by_key() -> dict[str, Rented]:
    found = {}
    for provider in providers():
        for instance in provider.instances:
            for name in instance.names:
                rented = Rented(name=name, provider=provider.provider, instance=instance)
                for spelled in (name, *_with_or_without(name, provider.prefixes)):
                    found[key_of(spelled)] = rented
    return found


def _with_or_without(name: str, prefixes: tuple[str, ...]) -> list[str]:
    return [
        name.removeprefix(prefix) if name.startswith(prefix) else prefix + name
        for prefix in prefixes
    ]
