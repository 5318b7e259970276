"""Members that have to wait for their turn, and what is shown of it."""

from pathlib import Path
from typing import cast

from tpdeploy.launcher.runtimes.base import Observed, Rendered, Runtime
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.supervision.life import Kind, Life, Rules
from tpdeploy.launcher.supervision.liveness import Liveness


class Queue:
    """A runtime whose member waits at the first look, and has its turn at the second."""

    def __init__(self) -> None:
        self.seen = [Observed(runs=True, waits="in Slurm's queue"), Observed(runs=True)]

    def observe(self, member: Member) -> Observed:
        return self.seen.pop(0)

    def answers(self, member: Member) -> bool:
        return False


def never(*_: object) -> Liveness:
    raise AssertionError("it has not come up")


def test_whose_turn_has_come_waits_no_longer(tmp_path: Path) -> None:
    """Though its engine has said nothing yet: loading libraries takes minutes."""
    member = Member(label="replica-0", runtime="slurm", port=0, phase="starting", reference="7")
    kind = Kind(lambda: cast(Rendered, None), {}, tmp_path / "log", str, lambda _: None, never)
    life = Life(member, cast(Runtime, Queue()), kind, Rules(60.0, 60.0, 3))
    life.look()
    assert life.member.stage == "in Slurm's queue"
    life.look()
    assert life.member.stage == "starting"
