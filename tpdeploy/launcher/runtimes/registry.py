"""Which runtime runs what; built-in and foreign ones come through the same entry points."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache

from tpdeploy.errors import InputError
from tpdeploy.launcher.runtimes.base import Engine, Runtime
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.plugins import Group

RUNTIMES: Group[Runtime] = Group("tpdeploy.runtimes", "runtime", Runtime)  # type: ignore[type-abstract]


def runtime_for(engine: Engine) -> Runtime:
    """The runtime that the user asked for.

    Raises:
        InputError: there is none of that name.
    """
    name = engine.on.partition(":")[0]
    if name == "local" and engine.image:
        name = "container"
    try:
        return _loaded(name)
    except InputError as error:
        raise InputError(f"--on {engine.on}: {error}") from error


def by_runtime(members: Sequence[Member]) -> list[tuple[Runtime, list[Member]]]:
    """The members, by the runtime that has each of them."""
    found: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        found[member.runtime].append(member)
    return [(_loaded(name), group) for name, group in found.items()]


def runtime_of(member: Member) -> Runtime:
    """The runtime that has it."""
    return _loaded(member.runtime)


@cache
def _loaded(name: str) -> Runtime:
    """One for all members: what it learns of a cluster by one question is true of each of them."""
    return RUNTIMES.load(name)
