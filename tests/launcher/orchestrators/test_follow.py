"""How a deployment that a cluster has is followed until it serves."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tpdeploy.errors import TpdeployError
from tpdeploy.launcher import submission
from tpdeploy.launcher.runtimes.member import Member, Phase
from tpdeploy.launcher.state import Deployment


@dataclass
class Clock:
    """Time that goes on by itself while nobody looks."""

    now: float = 0.0
    looks: Iterator[object] = field(default_factory=lambda: iter(()))

    def look(self, deployment: Deployment) -> Deployment:
        told = next(self.looks)
        if isinstance(told, TpdeployError):
            raise told
        assert isinstance(told, Deployment)
        return told

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(submission, "look", made.look)
    monkeypatch.setattr(time, "sleep", made.sleep)
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


def deployment(phase: Phase = "starting", *, placed: bool = True) -> Deployment:
    member = Member(label="replica-0", port=1, phase=phase)
    if placed:
        member = member.model_copy(update={"started_at": "2026-11-26T12:00:00Z"})
    told = {"name": "d", "model": "m", "backend": "b", "url": "u", "orchestrator": "kubernetes"}
    return Deployment(**told, phase=phase, members=(member,))


def test_silence_for_a_while_ends_nothing(clock: Clock) -> None:
    """An API server that is being replaced is back within a minute."""
    silence = TpdeployError("no answer")
    clock.looks = iter([deployment(), *[silence] * 20, deployment("ready")])
    assert submission.follow(deployment(), 1000, lambda _: None).phase == "ready"


def test_silence_for_long_does(clock: Clock) -> None:
    """Then nobody knows whether it starts."""
    clock.looks = iter([deployment(), *[TpdeployError("no answer")] * 40])
    with pytest.raises(TpdeployError, match="no answer"):
        submission.follow(deployment(), 1000, lambda _: None)


def test_the_time_to_start_counts_from_its_place(clock: Clock) -> None:
    """However long it waited for nodes; and it is over when it is over."""
    waits, starts = deployment(placed=False), deployment()
    clock.looks = iter([*[waits] * 500, *[starts] * 20, deployment("ready")])
    assert submission.follow(waits, 60, lambda _: None).phase == "ready"
    clock.looks = iter([starts] * 40)
    with pytest.raises(TpdeployError, match="replica-0 not ready in 60 s"):
        submission.follow(starts, 60, lambda _: None)
