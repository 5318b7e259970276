"""The supervisor of one deployment: starts it, watches it, and ends all of it.

It runs by itself (`python -m tpdeploy.launcher.supervisor NAME`) and keeps the state on disk
true. A replica that dies is not started again: what is left of it is ended at
once, the others serve on, and the state says `degraded`. When the last one is gone, so is the
deployment.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from tpdeploy.backends.base import Backend, last_exception
from tpdeploy.backends.registry import load_backend
from tpdeploy.errors import TpdeployError
from tpdeploy.launcher import state
from tpdeploy.launcher.access import API_KEY, INNER_KEY, client_key, make_inner_key
from tpdeploy.launcher.commands import (
    FRONT,
    Order,
    front_command,
    front_member,
    order_of,
    replica_commands,
)
from tpdeploy.launcher.logs import LogReader, last_words
from tpdeploy.launcher.runtimes.base import Observed, Rendered
from tpdeploy.launcher.runtimes.member import Member, Phase
from tpdeploy.launcher.runtimes.processes import is_alive, this_process
from tpdeploy.launcher.runtimes.registry import by_runtime
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.records import read_record

POLL_S = 0.2
# Engines that are still starting ignore SIGTERM.
STARTING_GRACE_S = 1.0

log = logging.getLogger(__name__)
# Set by SIGTERM and SIGINT, and looked at between steps: no step is left half done.
stop_asked = threading.Event()


class Stopped(Exception):  # noqa: N818 - not an error: the user asked for it
    """The deployment is to end, or its owner has."""


class Supervisor:
    """Runs one order to its end."""

    def __init__(self, plan: DeploymentPlan, order: Order, backend: Backend) -> None:
        self.order = order
        self.backend = backend
        self.replicas = replica_commands(plan, backend, order)
        self.started: list[str] = []  # and not known to have ended
        self.client_key = client_key() or ""
        os.environ.pop(API_KEY, None)  # engines are not to know it
        self.inner_key = make_inner_key(state.folder_of(order.name))
        members = [*(replica.member for replica in self.replicas), front_member(order)]
        self.runtimes = {m.label: runtime for runtime, of in by_runtime(members) for m in of}
        self.logs = {m.label: LogReader(state.log_of(order.name, m.label)) for m in members}
        self.deployment = state.Deployment(
            name=order.name,
            model=plan.model.id,
            backend=backend.name,
            url=f"{'https' if order.tls_cert else 'http'}://{order.host}:{order.port}",
            key_file=order.key_file,
            certificate=order.tls_cert,
            supervisor=this_process(),
            members=tuple(members),
        )
        state.save(self.deployment)

    def run(self) -> None:
        """Start, watch, end; the state on disk tells how it went."""
        try:
            self._start_replicas()
            self._start_front()
            self._update(phase="ready")
            self._watch()
        except Stopped:
            self._end("stopped", "")
        except TpdeployError as error:
            self._end("failed", str(error))
        except BaseException as error:
            self._end("failed", f"{type(error).__name__}: {error}")
            raise

    def _start_replicas(self) -> None:
        variable = self.backend.api_key_variable
        keys = {variable: self.inner_key} if variable else {}
        for replica in self.replicas:
            self._start(replica, keys)
        self._wait([replica.member.label for replica in self.replicas])

    def _start_front(self) -> None:
        """Once the replicas run: not every runtime knows before where that will be."""
        replicas = [m for m in self.deployment.members if m.label != FRONT]
        keys = {INNER_KEY: self.inner_key, API_KEY: self.client_key}
        self._start(front_command(self.order, self.backend, replicas), keys)
        self._wait([FRONT])

    def _start(self, what: Rendered, keys: Mapping[str, str]) -> None:
        label = what.member.label
        started = self.runtimes[label].start(what, keys, self.logs[label].path)
        self.started.append(label)
        self._keep(started.model_copy(update={"stage": "starting"}))

    def _wait(self, waiting: list[str]) -> None:
        """Until all of the members `waiting` are healthy.

        Raises:
            TpdeployError: one of them ended, or they took too long.
        """
        deadline = time.monotonic() + self.order.startup_timeout_s
        while waiting:
            for label in list(waiting):
                self._read_stage(label)
                if not self._observed(label).runs:
                    raise TpdeployError(f"{label} ended while starting: {self._last_words(label)}")
                member, runtime = self._of(label), self.runtimes[label]
                if runtime.answers(member) and runtime.listens(member):
                    self._member(label, phase="ready", stage="ready")
                    waiting.remove(label)
            if waiting and time.monotonic() > deadline:
                raise TpdeployError(
                    f"{', '.join(waiting)} not ready after {self.order.startup_timeout_s:.0f} s; "
                    "allow more with --startup-timeout"
                )
            self._pause()

    def _read_stage(self, label: str) -> None:
        stages = [self.backend.progress(line) for line in self.logs[label].lines()]
        told = [stage for stage in stages if stage and label != FRONT]
        if told:
            self._member(label, stage=told[-1])

    def _watch(self) -> None:
        """Until everything is gone.

        Raises:
            TpdeployError: the front or the last replica ended.
        """
        while True:
            for label in list(self.started):
                seen = self._observed(label)
                if not seen.runs:
                    self._lost(label, seen.end)
            self._pause()

    def _pause(self) -> None:
        """Sleep until the next look.

        Raises:
            Stopped: the user asked for the end, or the launch that this one belongs to is gone.
        """
        owner = self.order.owner
        if stop_asked.wait(POLL_S) or (owner and not is_alive(owner)):
            raise Stopped

    def _observed(self, label: str) -> Observed:
        return self.runtimes[label].observe(self._of(label))

    def _lost(self, label: str, how: str) -> None:
        """A member has ended: end the rest of it, and go on if others serve."""
        member, runtime = self._of(label), self.runtimes[label]
        runtime.stop([member], grace_s=0.0)
        self.started.remove(label)
        reason = f"{label} {how}: {self._last_words(label)}"
        self._member(label, phase="failed", stage=how)
        if label == FRONT or self.started == [FRONT]:
            raise TpdeployError(reason)
        self._update(phase="degraded", reason=reason)

    def _end(self, phase: Phase, reason: str) -> None:
        """End every member, the front first so that nobody is sent to a dying replica."""
        self._update(reason=reason)
        starting = self.deployment.phase == "starting"
        grace = STARTING_GRACE_S if starting else self.backend.stop_grace_s
        fronts = [m for m in self.deployment.members if m.label == FRONT]
        replicas = [m for m in self.deployment.members if m.label != FRONT]
        for group in (fronts, replicas):
            self.runtimes[group[0].label].stop(group, grace)
        for member in self.deployment.members:
            if member.phase != "failed":
                self._member(member.label, phase="stopped", stage="")
        self._update(phase=phase)

    def _last_words(self, label: str) -> str:
        failure = last_exception if label == FRONT else self.backend.failure
        return last_words(self.logs[label].path, failure)

    def _of(self, label: str) -> Member:
        return next(m for m in self.deployment.members if m.label == label)

    def _member(self, label: str, **changes: Any) -> None:
        self._keep(self._of(label).model_copy(update=changes))

    def _keep(self, member: Member) -> None:
        """Put `member` in the place of what was known of it."""
        members = self.deployment.members
        self._update(members=tuple(member if m.label == member.label else m for m in members))

    def _update(self, **changes: Any) -> None:
        """Change the state, also on disk; a full disk is no reason to stop serving."""
        self.deployment = self.deployment.model_copy(update=changes)
        try:
            state.save(self.deployment)
        except TpdeployError:
            log.exception("the state on disk is out of date")


def main(name: str) -> None:
    """Supervise the deployment whose plan and order lie in its folder."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop_asked.set())
    folder = state.folder_of(name)
    plan = read_record(folder / "plan.yaml", DeploymentPlan)
    order = order_of(name)
    Supervisor(plan, order, load_backend(order.backend)).run()


if __name__ == "__main__":
    main(sys.argv[1])
