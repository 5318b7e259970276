"""The supervisor of one deployment: starts it, keeps it alive, and ends all of it.

It keeps the state on disk true. What ends is started again, later each time, and given up when it
has ended too often in a row; the others serve on meanwhile. A supervisor that finds a deployment
whose own has died takes it over as it is.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import psutil

from tpdeploy.backends.base import Backend, last_exception
from tpdeploy.errors import TpdeployError, one_line
from tpdeploy.files import write_whole
from tpdeploy.launcher import asks, state
from tpdeploy.launcher.access import API_KEY, INNER_KEY, client_key, inner_key, make_inner_key
from tpdeploy.launcher.asks import Ask
from tpdeploy.launcher.commands import FRONT, Order, commands_of, front_command, front_member
from tpdeploy.launcher.figures import Sampler
from tpdeploy.launcher.logs import rotate
from tpdeploy.launcher.runtimes.base import Rendered
from tpdeploy.launcher.runtimes.member import Member, Phase
from tpdeploy.launcher.runtimes.processes import is_alive, this_process
from tpdeploy.launcher.runtimes.registry import by_runtime
from tpdeploy.launcher.supervision.life import Kind, Life, Rules
from tpdeploy.launcher.supervision.liveness import EngineLife, Liveness
from tpdeploy.launcher.supervision.notify import Manager
from tpdeploy.planner.plan import DeploymentPlan, Placement

POLL_S = 0.2
# Engines that are still starting ignore SIGTERM.
STARTING_GRACE_S = 1.0
# The front is asked often: it does nothing but pass on.
FRONT_EVERY_S, FRONT_HANG_TIMEOUT_S = 2.0, 10.0
# The front reads its configuration again within a second, and closes idle connections after two.
FRONT_READS_S = 3.0

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
        self.plan, self.order, self.backend = plan, order, backend
        self.folder = state.folder_of(order.name)
        kept = state.load(order.name)
        self.adopted = kept is not None and kept.running
        members = kept.members if kept and self.adopted else self._planned()
        runtimes = {m.label: runtime for runtime, of in by_runtime(members) for m in of}
        self.inner_key = inner_key(self.folder) if self.adopted else make_inner_key(self.folder)
        self.client_key = client_key() or _key_of(members)
        os.environ.pop(API_KEY, None)  # engines are not to know it
        lives = [Life(m, runtimes[m.label], self._kind(m.label), self._rules(m)) for m in members]
        self.front = lives.pop()
        self.replicas = lives
        self.resting: set[str] = set()  # replicas that are to get no requests
        self.shown: Rendered | None = None  # the front's configuration as it was last written
        self.work: Iterator[None] = iter(())  # what was asked for and is under way
        self.drain_s = backend.stop_grace_s
        self.manager = Manager()
        self.sampler = Sampler(backend)
        self.deployment = state.Deployment(
            name=order.name,
            model=plan.model.id,
            backend=backend.name,
            url=f"{'https' if order.tls_cert else 'http'}://{order.host}:{order.port}",
            key_file=order.key_file,
            certificate=order.tls_cert,
            supervisor=this_process(),
            members=members,
        )
        if kept and self.adopted:
            self.deployment = kept.model_copy(
                update={"supervisor": this_process(), "doing": "", "refused": ""}
            )
        state.save(self.deployment)

    @property
    def lives(self) -> list[Life]:
        """Of every member."""
        return [*self.replicas, self.front]

    def run(self) -> None:
        """Start, keep alive, end; the state on disk tells how it went."""
        try:
            if self.deployment.phase == "starting":
                self._start()
            self._serve()
        except Stopped:
            self._end("stopped", "")
        except TpdeployError as error:
            self._end("failed", str(error))
        except BaseException as error:
            self._end("failed", f"{type(error).__name__}: {error}")
            raise

    def _planned(self) -> tuple[Member, ...]:
        found = [self._render(place) for place in self.plan.placement]
        return (*(rendered.member for rendered in found), front_member(self.order))

    def _render(self, place: Placement) -> Rendered:
        # Of one machine only: others are refused before.
        return commands_of(self.plan, place, self.backend, self.order)[0]

    def _render_front(self) -> Rendered:
        if self.order.keyed and not self.client_key:
            raise TpdeployError(f"the key of its clients is lost; set {API_KEY} and launch again")
        replicas = [life.member for life in self._wanted()]
        away = {m.label for m in replicas if m.phase != "ready"} | self.resting
        return front_command(self.order, self.backend, replicas, away)

    def _kind(self, label: str) -> Kind:
        written = state.log_of(self.order.name, label)
        if label == FRONT:
            keys = {INNER_KEY: self.inner_key, API_KEY: self.client_key}
            return Kind(self._render_front, keys, written, _none, last_exception, self._front_life)
        engine = self.backend
        keys = {engine.api_key_variable: self.inner_key} if engine.api_key_variable else {}
        place = next(p for p in self.plan.placement if label == f"replica-{p.replica}")
        render = partial(self._render, place)
        return Kind(render, keys, written, engine.progress, engine.failure, self._life)

    def _rules(self, member: Member) -> Rules:
        order = self.order
        hang_timeout_s = FRONT_HANG_TIMEOUT_S if member.label == FRONT else order.hang_timeout_s
        return Rules(order.startup_timeout_s, hang_timeout_s, order.restarts)

    def _life(self, member: Member) -> Liveness:
        url = self._of(member.label).runtime.address(member)
        return Liveness(EngineLife(url, self.backend, self.plan.model.id, self.inner_key))

    def _front_life(self, member: Member) -> Liveness:
        return Liveness(partial(self.front.runtime.answers, member), FRONT_EVERY_S)

    def _start(self) -> None:
        """The front comes last: not every runtime knows before where a replica will be.

        Raises:
            TpdeployError: a member failed. Nothing has served yet, and what is wrong stays wrong.
        """
        started: list[Life] = []
        for group in (self.replicas, [self.front]):
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
            for life in self.lives:
                life.look()
            self._show_front()
            self._work()
            self.sampler.tick(self.deployment)
            self._tell(phase=self._phase(), reason=self._reason())
            if self._is_over():
                raise TpdeployError(self._reason())
            self._pause()

    def _show_front(self) -> None:
        """Write the front's configuration anew where a replica has come, gone or moved.

        What is written before it is ready, it may not see.
        """
        if self.front.member.phase != "ready":
            self.shown = None
            return
        now = self._render_front()
        if now != self.shown:
            for path, text in now.files.items():
                write_whole(path, text)
        self.shown = now

    def _wanted(self) -> list[Life]:
        return [life for life in self.replicas if life.member.phase != "stopped"]

    def _is_over(self) -> bool:
        phases = {life.member.phase for life in self._wanted()}
        return self.front.member.phase == "crashed" or phases == {"crashed"}

    def _phase(self) -> Phase:
        serving = [life.member.phase == "ready" for life in self._wanted()]
        if self.front.member.phase != "ready" or not any(serving):
            return "down"
        return "ready" if all(serving) else "degraded"

    def _reason(self) -> str:
        """What keeps it from being whole."""
        members = [life.member for life in (*self._wanted(), self.front)]
        missing = [m for m in members if m.phase != "ready" and m.last_end]
        return "; ".join(f"{m.label} {m.last_end}" for m in missing)

    def _pause(self) -> None:
        """Sleep until the next look, with logs that stay short.

        Raises:
            Stopped: the user asked for the end, or the launch that this one belongs to is gone.
        """
        self.manager.tell("WATCHDOG=1")
        for label in ("supervisor", *(life.member.label for life in self.lives)):
            rotate(state.log_of(self.order.name, label))
        owner = self.order.owner
        if stop_asked.wait(POLL_S) or (owner and not is_alive(owner)):
            asked = asks.take(self.order.name)
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
        if not asks.pending(self.order.name):
            self._tell(doing="")
            return
        asked = asks.take(self.order.name)
        if asked and asked.action != "stop":
            self.work = self._restart(asked) if asked.action == "restart" else self._scale(asked)
            self._tell(doing=asked.action, refused="")

    def _restart(self, asked: Ask) -> Iterator[None]:
        """One after another, so that the others serve meanwhile."""
        chosen = [life for life in self.lives if life.member.label in asked.members]
        for life in chosen:
            yield from self._rest(life, asked.drain_s)
            yield from self._again(life)

    def _scale(self, asked: Ask) -> Iterator[None]:
        for life in self.replicas[asked.replicas :]:
            if life.member.phase != "stopped":
                yield from self._rest(life, asked.drain_s)
        for life in self.replicas[: asked.replicas]:
            if life.member.phase == "stopped":
                yield from self._again(life)

    def _rest(self, life: Life, drain_s: float) -> Iterator[None]:
        """Give it no more requests, wait for those in flight, and end it."""
        if life is not self.front and life.member.phase == "ready":
            self.resting.add(life.member.label)
            begun = time.monotonic()
            until = begun + FRONT_READS_S
            while time.monotonic() < until or (
                life.runtime.is_busy(life.member) and time.monotonic() < begun + drain_s
            ):
                yield
        # The front itself finishes what it has.
        life.end(drain_s if life is self.front else self.backend.stop_grace_s)

    def _again(self, life: Life) -> Iterator[None]:
        """Start it, until it is ready.

        Raises:
            TpdeployError: it has failed.
        """
        self.resting.discard(life.member.label)
        life.start()
        while life.member.phase != "ready":
            life.check()
            yield

    def _end(self, phase: Phase, reason: str) -> None:
        """End every member, the front first so that nobody is sent to a dying replica."""
        starting = self.deployment.phase == "starting"
        self._tell(phase="stopping", reason=reason)
        self.manager.tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(1e6 * (self.drain_s + END_S))}")
        self.front.end(STARTING_GRACE_S if starting else self.drain_s)
        grace_s = STARTING_GRACE_S if starting else self.backend.stop_grace_s
        for runtime, members in by_runtime([life.member for life in self.replicas]):
            runtime.stop(members, grace_s)
        for life in self.replicas:
            life.end(0.0)
        self._tell(phase=phase)

    def _of(self, label: str) -> Life:
        return next(life for life in self.lives if life.member.label == label)

    def _tell(self, **changes: Any) -> None:
        """Keep the state, also on disk; a full disk is no reason to stop serving."""
        members = tuple(life.member for life in self.lives)
        told = self.deployment.model_copy(update={"members": members, **changes})
        if told == self.deployment:
            return
        ready = ["READY=1"] if told.phase == "ready" else []
        self.manager.tell(*ready, f"STATUS={told.phase} {one_line(told.reason)}")
        self.deployment = told
        try:
            state.save(told)
        except TpdeployError:
            log.exception("the state on disk is out of date")


def _none(_line: str) -> None:
    """The front tells of no stages."""


def _key_of(members: Sequence[Member]) -> str:
    """The client's key as the front that runs has it: whoever takes over was not told."""
    leader = members[-1].leader
    with suppress(psutil.Error):
        if leader and is_alive(leader):
            return psutil.Process(leader.pid).environ().get(API_KEY, "")
    return ""
