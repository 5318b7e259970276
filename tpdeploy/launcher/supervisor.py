"""The supervisor of one deployment: starts it, watches it, and ends all of it.

It runs in a session of its own (`python -m tpdeploy.launcher.supervisor NAME`) and keeps the
state on disk true. A replica that dies is not started again: what is left of it is ended at
once, the others serve on, and the state says `degraded`. When the last one is gone, so is the
deployment.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx

from tpdeploy.backends.base import Backend
from tpdeploy.backends.registry import load_backend
from tpdeploy.errors import TpdeployError
from tpdeploy.launcher import state
from tpdeploy.launcher.environments import Environment
from tpdeploy.launcher.launch import (
    LOOPBACK,
    Labelled,
    Order,
    engine_environment,
    last_words,
    replica_commands,
    router_command,
    router_environment,
)
from tpdeploy.launcher.processes import end_sessions, leader_of, start
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.records import read_record

POLL_S = 0.5
HEALTH_TIMEOUT_S = 2.0
# A ready vLLM leaves within 3 s of SIGTERM; one that starts ignores it.
READY_GRACE_S = 10.0
STARTING_GRACE_S = 1.0
API_KEY = "TPDEPLOY_API_KEY"


class Stopped(Exception):  # noqa: N818 - not an error: the user asked for it
    """SIGTERM or SIGINT arrived."""


class LogReader:
    """New lines of a growing log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0

    def lines(self) -> list[str]:
        """Whole lines written since the last call."""
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self.position)
            whole, newline, _ = file.read().rpartition(b"\n")
            self.position += len(whole) + len(newline)
            return whole.decode(errors="replace").splitlines()
        return []


class Supervisor:
    """Runs one order to its end."""

    def __init__(self, plan: DeploymentPlan, order: Order, backend: Backend) -> None:
        self.plan = plan
        self.order = order
        self.backend = backend
        self.replicas = replica_commands(plan, backend, order)
        self.router = router_command(order, self.replicas)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.logs: dict[str, LogReader] = {}
        commands = [*self.replicas, *([self.router] if self.router else [])]
        self.deployment = state.Deployment(
            name=order.name,
            model=plan.model.id,
            backend=backend.name,
            url=f"http://{order.host}:{order.port}",
            supervisor=leader_of(os.getpid()),
            members=tuple(
                state.Member(label=c.label, port=c.port, devices=c.devices) for c in commands
            ),
        )
        state.save(self.deployment)

    def run(self) -> None:
        """Start, watch, end; the state on disk tells how it went."""
        try:
            self._start_replicas()
            self._wait(self.replicas)
            if self.router:
                self._start(self.router, router_environment(), {})
                self._wait([self.router])
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
        environment = engine_environment(self.plan, self.backend, self.order)
        keys: dict[str, str] = {}
        if self.backend.api_key_variable and API_KEY in os.environ:
            keys[self.backend.api_key_variable] = os.environ[API_KEY]
        for replica in self.replicas:
            self._start(replica, environment, keys)

    def _start(self, what: Labelled, environment: Environment, keys: Mapping[str, str]) -> None:
        program = environment.program(what.command.argv[0])
        if self.order.executable and what.label != "router":
            program = self.order.executable
        path = f"{environment.executables}{os.pathsep}{os.environ.get('PATH', '')}"
        env = {"PATH": path, **what.command.env, **keys}
        log = state.log_of(self.order.name, what.label)
        process, leader = start([str(program), *what.command.argv[1:]], env, log)
        self.processes[what.label] = process
        self.logs[what.label] = LogReader(log)
        self._member(what.label, leader=leader, stage="starting")

    def _wait(self, commands: list[Labelled]) -> None:
        """Until all `commands` are healthy.

        Raises:
            TpdeployError: one of them ended, or they took too long.
        """
        deadline = time.monotonic() + self.order.startup_timeout_s
        waiting = list(commands)
        while waiting:
            for what in list(waiting):
                self._read_stage(what.label)
                if self.processes[what.label].poll() is not None:
                    reason = last_words(self.order.name, what.label)
                    raise TpdeployError(f"{what.label} ended while starting: {reason}")
                if self._healthy(what):
                    self._member(what.label, phase="ready", stage="ready")
                    waiting.remove(what)
            if waiting and time.monotonic() > deadline:
                labels = ", ".join(what.label for what in waiting)
                raise TpdeployError(
                    f"{labels} not ready after {self.order.startup_timeout_s:.0f} s; "
                    "allow more with --startup-timeout"
                )
            time.sleep(POLL_S)

    def _healthy(self, what: Labelled) -> bool:
        path = "/readiness" if what.label == "router" else self.backend.health_path
        host = LOOPBACK if self.order.host == "0.0.0.0" else self.order.host  # noqa: S104
        host = host if what.port == self.order.port else LOOPBACK
        try:
            url = f"http://{host}:{what.port}{path}"
            return httpx.get(url, timeout=HEALTH_TIMEOUT_S, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def _read_stage(self, label: str) -> None:
        if label == "router":
            return
        for line in self.logs[label].lines():
            stage = self.backend.progress(line)
            if stage:
                self._member(label, stage=stage)

    def _watch(self) -> None:
        """Until everything is gone.

        Raises:
            TpdeployError: the router or the last replica ended.
        """
        while True:
            for label, process in list(self.processes.items()):
                if process.poll() is not None:
                    self._lost(label, process.returncode)
            time.sleep(POLL_S)

    def _lost(self, label: str, code: int) -> None:
        """A member's first process has ended: end the rest of it, and go on if others serve."""
        if code < 0:
            how = f"was ended by signal {-code}"
        else:
            how = f"ended with code {code}: {last_words(self.order.name, label)}"
        reason = f"{label} {how}"
        del self.processes[label]
        leader = self._of(label).leader
        if leader:
            end_sessions(leader, grace_s=0.0)
        self._member(label, phase="failed", stage="")
        if not self.router or label == "router" or set(self.processes) == {"router"}:
            raise TpdeployError(reason)
        self._update(phase="degraded", reason=reason)

    def _end(self, phase: state.Phase, reason: str) -> None:
        """End every member, router first so that nobody is sent to a dying replica."""
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, signal.SIG_IGN)
        self._update(reason=reason)
        grace = READY_GRACE_S if self.deployment.phase != "starting" else STARTING_GRACE_S
        for group in (["router"], [replica.label for replica in self.replicas]):
            leaders = [m.leader for m in self.deployment.members if m.label in group and m.leader]
            end_sessions(*leaders, grace_s=grace)
        for member in self.deployment.members:
            if member.phase != "failed":
                self._member(member.label, phase="stopped", stage="")
        self._update(phase=phase)

    def _of(self, label: str) -> state.Member:
        return next(m for m in self.deployment.members if m.label == label)

    def _member(self, label: str, **changes: object) -> None:
        members = tuple(
            m.model_copy(update=changes) if m.label == label else m for m in self.deployment.members
        )
        self._update(members=members)

    def _update(self, **changes: object) -> None:
        self.deployment = self.deployment.model_copy(update=changes)
        state.save(self.deployment)


def _stop(_number: int, _frame: object) -> None:
    raise Stopped


def main(name: str) -> None:
    """Supervise the deployment whose plan and order lie in its folder."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    folder = state.folder_of(name)
    plan = read_record(folder / "plan.yaml", DeploymentPlan)
    order = read_record(folder / "order.yaml", Order)
    Supervisor(plan, order, load_backend(order.backend)).run()


if __name__ == "__main__":
    main(sys.argv[1])
