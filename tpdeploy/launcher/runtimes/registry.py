"""Which runtime runs what."""

from collections import defaultdict
from collections.abc import Sequence

from tpdeploy.launcher.runtimes.base import Engine, Runtime
from tpdeploy.launcher.runtimes.container import Container
from tpdeploy.launcher.runtimes.local import Local
from tpdeploy.launcher.runtimes.member import Member


def runtime_for(engine: Engine) -> Runtime:
    """The runtime that the user asked for."""
    return Container() if engine.image else Local()


def by_runtime(members: Sequence[Member]) -> list[tuple[Runtime, list[Member]]]:
    """The members, by the runtime that has each of them."""
    found: dict[type[Runtime], list[Member]] = defaultdict(list)
    for member in members:
        found[_of(member)].append(member)
    return [(kind(), group) for kind, group in found.items()]


def runtime_of(member: Member) -> Runtime:
    """The runtime that has it."""
    return _of(member)()


def _of(member: Member) -> type[Runtime]:
    return Container if member.container else Local
