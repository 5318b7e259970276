"""What can be asked of a supervisor, in steps between which it watches the other members."""

import time
from collections.abc import Iterator

from tpdeploy.launcher.asks import Ask
from tpdeploy.launcher.front import FAILED_FOR_S
from tpdeploy.launcher.supervision.crew import Crew
from tpdeploy.launcher.supervision.life import Life

# Whoever has read where the replica is has reached it by then.
SETTLED_S = 1.0
# The front knows of a replica again: it turns from one where nobody was.
KNOWN_AGAIN_S = FAILED_FOR_S + SETTLED_S


def work(asked: Ask, crew: Crew) -> Iterator[None]:
    """The steps of what was asked.

    Raises:
        TpdeployError: a member failed.
    """
    return _restart(asked, crew) if asked.action == "restart" else _scale(asked, crew)


def _restart(asked: Ask, crew: Crew) -> Iterator[None]:
    """One after another, so that the others serve meanwhile."""
    for life in [life for life in crew.everyone if life.member.label in asked.members]:
        yield from _away(life, crew, asked.drain_s)
        yield from _back(life, crew)


def _scale(asked: Ask, crew: Crew) -> Iterator[None]:
    for life in crew.replicas[asked.replicas :]:
        if life.member.phase != "stopped":
            yield from _away(life, crew, asked.drain_s)
    for life in crew.replicas[: asked.replicas]:
        if life.member.phase == "stopped":
            yield from _back(life, crew)


def _away(life: Life, crew: Crew, drain_s: float) -> Iterator[None]:
    """Give it no more requests, wait for those in flight, and end it."""
    if life is crew.front:  # it finishes what it has by itself
        life.end(drain_s)
        return
    if life.member.phase == "ready":
        crew.resting.add(life.member.label)
        begun = time.monotonic()
        yield from _until(begun + SETTLED_S)
        while time.monotonic() < begun + drain_s and life.runtime.is_busy(life.member):
            yield
    life.end(crew.backend.stop_grace_s)


def _back(life: Life, crew: Crew) -> Iterator[None]:
    """Start it, until it is ready and gets requests: the next one may go away then."""
    crew.resting.discard(life.member.label)
    life.start()
    while life.member.phase != "ready":
        life.check()
        yield
    if life is not crew.front:
        yield from _until(time.monotonic() + KNOWN_AGAIN_S)


def _until(end: float) -> Iterator[None]:
    while time.monotonic() < end:
        yield
