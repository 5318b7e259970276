"""The supervisor of one deployment: starts it, keeps it alive, and ends all of it.

It keeps the state on disk true. What ends is started again, later each time, and given up when it
has ended too often in a row; the others serve on meanwhile. A supervisor that finds a deployment
whose own has died takes it over as it is.
"""

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import psutil

from tpdeploy.backends.base import Backend
from tpdeploy.errors import TpdeployError, one_line
from tpdeploy.launcher import asks, state
from tpdeploy.launcher.access import API_KEY, INNER_KEY, client_key, inner_key, make_inner_key
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.figures import Sampler
from tpdeploy.launcher.logs import rotate
from tpdeploy.launcher.runtimes.member import Member, Phase
from tpdeploy.launcher.runtimes.processes import is_alive, this_process
from tpdeploy.launcher.runtimes.registry import by_runtime
from tpdeploy.launcher.supervision.crew import Crew, planned_members
from tpdeploy.launcher.supervision.notify import Manager
from tpdeploy.launcher.supervision.work import work
from tpdeploy.planner.plan import DeploymentPlan

POLL_S = 0.2
# Engines that are still starting ignore SIGTERM.
STARTING_GRACE_S = 1.0
# Beside the drain, what the end of every member takes at most.
END_S = 60.0

log = logging.getLogger(__name__)
# Set by SIGTERM and SIGINT, and looked at between steps: no step is left half done.
stop_asked = threading.Event()


class Stopped(Exception):  # noqa: N818 - not an error: the user asked for it
    """The deployment is to end, or its owner has."""


class Supervisor:
    """Runs one order to its end."""

    def __init__(self, plan: DeploymentPlan, order: Order, backend: Backend) -> None:
        self.order, self.backend = order, backend
        self.deployment = _taken_over(order.name) or _new(plan, order, backend)
        folder, members = state.folder_of(order.name), self.deployment.members
        keys = {API_KEY: client_key() or _key_of(members), INNER_KEY: inner_key(folder)}
        os.environ.pop(API_KEY, None)  # engines are not to know it
        self.crew = Crew(plan, order, backend, members, keys)
        self.work: Iterator[None] = iter(())  # what was asked for and is under way
        self.drain_s = backend.stop_grace_s
        self.manager = Manager()
        self.sampler = Sampler(backend)
        state.save(self.deployment)
        self.saved = self.deployment  # as it is on disk

    def run(self) -> None:
        """Start, keep alive, end; the state on disk tells how it went."""
        try:
            if self.deployment.phase == "starting":
                self._start()
            if self.deployment.phase != "stopping":
                self._serve()
            self._end("stopped", "")
        except Stopped:
            self._end("stopped", "")
        except TpdeployError as error:
            self._end("failed", str(error))
        except BaseException as error:
            self._end("failed", f"{type(error).__name__}: {error}")
            raise

    def _start(self) -> None:
        """The front comes last: not every runtime knows before where a replica will be.

        Raises:
            TpdeployError: a member failed. Nothing has served yet, and what is wrong stays wrong.
        """
        started = []
        for group in (self.crew.replicas, [self.crew.front]):
            started += group
            for life in group:
                if life.member.started_at is None:  # not by an earlier supervisor
                    life.start()
            while any(life.member.phase != "ready" for life in group):
                self._tell(phase="starting")
                self._pause()
                for life in started:
                    life.look()
                    life.check()

    def _serve(self) -> None:
        """Until it is to end.

        Raises:
            TpdeployError: there is nothing left that could serve.
        """
        while True:
            for life in self.crew.everyone:
                life.look()
            self.crew.show_front()
            self._work()
            self.sampler.tick(self.deployment)
            self._tell(phase=self.crew.phase, reason=self.crew.reason)
            if self.crew.is_lost:
                raise TpdeployError(self.crew.reason)
            self._pause()

    def _pause(self) -> None:
        """Sleep until the next look, with logs that stay short.

        Raises:
            Stopped: the user asked for the end, or the launch that this one belongs to is gone.
        """
        self.manager.tell("WATCHDOG=1")
        for label in ("supervisor", *(member.label for member in self.crew.members)):
            rotate(state.log_of(self.order.name, label))
        owner = self.order.owner
        if stop_asked.wait(POLL_S) or (owner and not is_alive(owner)):
            asked = asks.pending(self.order.name)
            asks.taken(self.order.name)
            self.drain_s = asked.drain_s if asked else self.drain_s
            raise Stopped

    def _work(self) -> None:
        """Go on with what was asked for, or take up the next."""
        try:
            next(self.work)
        except StopIteration:
            self._take_up()
        except TpdeployError as error:
            self._tell(refused=str(error))
            self.work = iter(())

    def _take_up(self) -> None:
        asked = asks.pending(self.order.name)
        if asked is None or asked.action == "stop":  # that comes with a signal
            self._tell(doing="")
            return
        # In this order: whoever takes over from here finds it in one place or in both.
        self._tell(doing=asked.action, ask_id=asked.id, refused="")
        asks.taken(self.order.name)
        self.work = work(asked, self.crew)

    def _end(self, phase: Phase, reason: str) -> None:
        """End every member, the front first so that nobody is sent to a dying replica."""
        starting = self.deployment.phase == "starting"
        self._tell(phase="stopping", reason=reason)
        self.manager.tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(1e6 * (self.drain_s + END_S))}")
        self.crew.front.end(STARTING_GRACE_S if starting else self.drain_s)
        grace_s = STARTING_GRACE_S if starting else self.backend.stop_grace_s
        for runtime, members in by_runtime([life.member for life in self.crew.replicas]):
            runtime.stop(members, grace_s)
        for life in self.crew.replicas:
            life.end(0.0)
        self._tell(phase=phase)

    def _tell(self, **changes: Any) -> None:
        """Keep the state, also on disk; a full disk is no reason to stop serving."""
        told = self.deployment.changed(members=self.crew.members, **changes)
        if told != self.deployment:
            ready = ["READY=1"] if told.phase == "ready" else []
            self.manager.tell(*ready, f"STATUS={told.phase} {one_line(told.reason)}")
            self.deployment = told
        if told != self.saved:
            try:
                state.save(told)
            except TpdeployError as error:
                log.warning("the state on disk is out of date: %s", error)
            else:
                self.saved = told


def _new(plan: DeploymentPlan, order: Order, backend: Backend) -> state.Deployment:
    """Of which nothing runs yet."""
    make_inner_key(state.folder_of(order.name))
    return state.Deployment(
        name=order.name,
        model=plan.model.id,
        backend=backend.name,
        url=f"{'https' if order.tls_cert else 'http'}://{order.host}:{order.port}",
        key_file=order.key_file,
        certificate=order.tls_cert,
        supervisor=this_process(),
        members=planned_members(plan, backend, order),
    )


def _taken_over(name: str) -> state.Deployment | None:
    """That whose supervisor has died, if something of it runs; by this process from now on."""
    kept = state.load(name)
    if kept is None or kept.ended or not kept.running:
        return None
    lost = "its supervisor was killed meanwhile; see: tpdeploy status" if kept.doing else ""
    return kept.changed(supervisor=this_process(), doing="", refused=lost or kept.refused)


def _key_of(members: Sequence[Member]) -> str:
    """The client's key as the front that runs has it: whoever takes over was not told."""
    leader = members[-1].leader
    with suppress(psutil.Error):
        if leader and is_alive(leader):
            return psutil.Process(leader.pid).environ().get(API_KEY, "")
    return ""
