"""The life of one member: started, watched, and started again after it has ended."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tpdeploy.errors import TpdeployError
from tpdeploy.launcher.logs import LogReader, last_words
from tpdeploy.launcher.runtimes.base import Rendered, Runtime
from tpdeploy.launcher.runtimes.member import Member, Phase
from tpdeploy.launcher.supervision.liveness import Liveness

# Of what a member has left: its workers end by themselves, and free what they share.
LOST_GRACE_S = 2.0
FIRST_DELAY_S, MOST_DELAY_S = 1.0, 300.0
# A member that has served this long has not failed in a row with what was before.
STEADY_S = 600.0


@dataclass(frozen=True)
class Rules:
    """When a member is given up."""

    startup_timeout_s: float
    hang_timeout_s: float  # without a sign of life
    restarts: int  # in a row


@dataclass(frozen=True)
class Kind:
    """What a member is: how it is started, and what its engine makes of its log and its health."""

    render: Callable[[], Rendered]
    keys: Mapping[str, str]
    log: Path
    progress: Callable[[str], str | None]
    failure: Callable[[Sequence[str]], str | None]
    liveness: Callable[[Member], Liveness]


def delay_s(failures: int) -> float:
    """How long to wait before a member is started again that has failed so often in a row."""
    return min(MOST_DELAY_S, FIRST_DELAY_S * 2.0 ** (failures - 1))


class Life:
    """A member and its supervision: call `look` repeatedly; it returns soon."""

    def __init__(self, member: Member, runtime: Runtime, kind: Kind, rules: Rules) -> None:
        self.member, self.runtime, self.kind, self.rules = member, runtime, kind, rules
        self.log = LogReader(kind.log)
        self.failures = 0  # in a row
        self.since = time.monotonic()  # of its phase
        self.waits = False  # for its turn to begin
        self.liveness: Liveness | None = None

    @property
    def is_silent(self) -> bool:
        """Whether it showed no sign of life when last checked."""
        return self.liveness is not None and self.liveness.silent_s > 0

    def start(self) -> None:
        """Start it; that it cannot be started is a failure like others."""
        again = self.member.started_at is not None
        self.log.skip()
        try:
            started = self.runtime.start(self.kind.render(), self.kind.keys, self.kind.log)
        except TpdeployError as error:
            self._failed(f"cannot be started: {error}")
            return
        self.member = started.changed(
            restarts=self.member.restarts + again,
            last_end="" if self.member.phase == "stopped" else self.member.last_end,
            started_at=datetime.now(UTC),
        )
        self._enter("starting", "starting")

    def look(self) -> None:
        """Check on it, and start, restart or end it as needed."""
        match self.member.phase:
            case "starting":
                self._look_at_start()
            case "ready":
                self._look_at_service()
            case "restarting" if time.monotonic() > self.since + delay_s(self.failures):
                self.start()

    def check(self) -> None:
        """Check that it has not failed since it was last wanted.

        Raises:
            TpdeployError: it has.
        """
        if self.failures:
            raise TpdeployError(f"{self.member.label} {self.member.last_end}")

    def end(self, grace_s: float) -> None:
        """End it on request."""
        self._end(grace_s)
        self.failures = 0
        self._enter("stopped", "")

    def _look_at_start(self) -> None:
        seen = self.runtime.observe(self.member)
        if self.waits and not seen.waits:  # its turn has come
            self._change(stage="starting")
        self.waits = bool(seen.waits)
        stages = [self.kind.progress(line) for line in self.log.lines()]
        told = [stage for stage in stages if stage]
        if told:
            self._change(stage=told[-1])
        try:
            if not seen.runs:
                self._failed(self._told(f"{seen.end} while starting"))
            elif seen.waits:  # which is nobody's fault, and takes as long as it takes
                self.since = time.monotonic()
                self._change(stage=seen.waits)
            elif self.runtime.answers(self.member) and self.runtime.listens(self.member):
                self._enter("ready", "ready")
                self.liveness = self.kind.liveness(self.member)
            elif time.monotonic() > self.since + self.rules.startup_timeout_s:
                allowed = f"{self.rules.startup_timeout_s:.0f} s"
                self._failed(f"not ready after {allowed}; allow more with --startup-timeout")
        except TpdeployError as error:
            self._failed(str(error))

    def _look_at_service(self) -> None:
        if self.liveness is None:  # an earlier supervisor saw it come up
            self.liveness = self.kind.liveness(self.member)
        seen = self.runtime.observe(self.member)
        if not seen.runs:
            self._failed(self._told(seen.end))
        elif seen.waits:  # begun again by its runtime
            self.liveness.end()
            self.liveness = None
            self._enter("starting", seen.waits)
        elif self.liveness.silent_s > self.rules.hang_timeout_s:
            self._failed(f"gave no sign of life for {self.rules.hang_timeout_s:.0f} s")
        elif self.failures and time.monotonic() > self.since + STEADY_S:
            self.failures = 0

    def _failed(self, how: str) -> None:
        self.failures += 1
        try:
            self._end(LOST_GRACE_S)
        except TpdeployError as error:  # what it has left may still have its device
            how += f"; {error}"
        crashed = self.failures > self.rules.restarts
        self._enter("crashed" if crashed else "restarting", "", last_end=how)

    def _end(self, grace_s: float) -> None:
        if self.liveness:
            self.liveness.end()
            self.liveness = None
        self.runtime.stop([self.member], grace_s)

    def _told(self, how: str) -> str:
        """`how` it ended, with what it wrote of that; who was killed has written nothing of it."""
        words = last_words(
            self.kind.log, self.kind.failure, self.log.begun, guess="was ended by" not in how
        )
        return f"{how}: {words}" if words else how

    def _enter(self, phase: Phase, stage: str, **changes: Any) -> None:
        self.since = time.monotonic()
        self._change(phase=phase, stage=stage, **changes)

    def _change(self, **changes: Any) -> None:
        self.member = self.member.changed(**changes)
