"""Follow, instruct, take over and stop a deployment, by its name."""

import fcntl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from tpdeploy.backends.base import last_exception
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.files import append_privately, kind_of, write_whole
from tpdeploy.launcher import state
from tpdeploy.launcher.asks import Ask, pending, put, taken
from tpdeploy.launcher.commands import order_of
from tpdeploy.launcher.logs import last_words
from tpdeploy.launcher.orchestrated import end, look, refuse, within_reach
from tpdeploy.launcher.runtimes.ports import LOOPBACK, claim, is_free
from tpdeploy.launcher.runtimes.processes import Leader, end_process, is_alive, start
from tpdeploy.launcher.runtimes.registry import by_runtime
from tpdeploy.launcher.supervision import run
from tpdeploy.records import dump_record

POLL_S = 0.2
# The supervisor ends replicas within its own grace; then it is ended itself.
STOP_TIMEOUT_S = 40.0
PORT_TIMEOUT_S = 5.0
ADOPTION_TIMEOUT_S = 30.0


def adopt(name: str) -> state.Deployment | None:
    """The deployment called `name` with a new supervisor, as its own has died.

    Also one that another command has given it meanwhile. None if none could take it over.
    """
    order = order_of(name)
    successor = None
    deadline = time.monotonic() + ADOPTION_TIMEOUT_S
    while time.monotonic() < deadline and (successor is None or is_alive(successor)):
        deployment = state.load(name)
        if deployment is None or deployment.ended:
            return None
        if deployment.supervised:
            return deployment
        if successor is None:
            # One that was killed lets go of its name when the last of its threads has ended.
            with suppress(InputError), claimed(name) as lock:
                hold = claim(order.port)
                successor = start_supervisor(name, [lock, *([hold.fileno()] if hold else [])])
        time.sleep(POLL_S)
    return None


def supervise(name: str) -> None:
    """Start the deployment called `name` as it was launched, or take it over; until it ends.

    Raises:
        InputError: it was never launched, or it has a supervisor.
        TpdeployError: it failed.
    """
    if not kind_of(state.folder_of(name) / "order.yaml"):
        raise InputError(f"no deployment called {name} has been launched; start with: launch")
    deployment = state.load(name)
    if deployment and not deployment.ended:
        refuse(deployment, "supervise")
    order = order_of(name)
    if order.owner:
        write_whole(
            state.folder_of(name) / "order.yaml",
            dump_record(order.changed(owner=None)),
        )
    with claimed(name):
        hold = claim(order.port)
        last = run.supervise(name)
        del hold
    if last.phase == "failed":
        raise TpdeployError(f"deployment {name} has failed: {last.reason}")


def start_supervisor(name: str, keep: Sequence[int]) -> Leader:
    """Start a supervisor of the deployment called `name`, which inherits the open files `keep`."""
    program = [sys.executable, "-m", "tpdeploy.launcher.supervision", name]
    return start(program, {}, state.log_of(name, "supervisor"), keep=keep)[1]


@contextmanager
def claimed(name: str) -> Iterator[int]:
    """A lock on the deployment's name; its supervisor inherits it and holds it while it lives.

    Raises:
        InputError: another one holds it.
    """
    with append_privately(state.folder_of(name) / "lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise refusal(name) from error
        yield lock.fileno()


def refusal(name: str) -> InputError:
    """The error for a second deployment of the same name."""
    where = ""
    with suppress(InputError):
        existing = state.load(name)
        where = f" at {existing.url}" if existing else ""
    return InputError(
        f"deployment {name} is running{where}; "
        f"end it first (tpdeploy stop) or choose another --name"
    )


def follow(
    name: str,
    supervisor: Leader,
    until: Callable[[state.Deployment], bool],
    show: Callable[[state.Deployment], None],
) -> state.Deployment:
    """Show each state of a deployment until `until` holds, or it has ended.

    A supervisor that is killed on the way is replaced.

    Raises:
        TpdeployError: the supervisor ended without leaving a state.
    """
    while True:
        alive = is_alive(supervisor)
        deployment = state.load(name)
        if deployment:
            show(deployment)
            if until(deployment) or deployment.ended:
                return deployment
        if not alive:
            taken_over = adopt(name) if deployment else None
            if taken_over is None or taken_over.supervisor is None:
                words = last_words(state.log_of(name, "supervisor"), last_exception)
                raise TpdeployError(f"the supervisor of {name} has ended: {words}")
            supervisor = taken_over.supervisor
        time.sleep(POLL_S)


def ask(name: str, asked: Ask, show: Callable[[state.Deployment], None]) -> state.Deployment:
    """Ask the supervisor of the running deployment called `name` for something, and wait for it.

    Raises:
        InputError: nothing of that name is running, or it is busy.
        TpdeployError: it could not be done.
    """
    deployment = supervised(name)
    if deployment.doing or pending(name):
        raise InputError(f"deployment {name} is busy: {deployment.doing or 'asked already'}")
    if deployment.supervisor is None:
        raise TpdeployError(f"deployment {name} has no supervisor")
    put(name, asked)

    def is_done(deployment: state.Deployment) -> bool:
        return deployment.ask_id == asked.id and not deployment.doing

    done = follow(name, deployment.supervisor, is_done, show)
    if done.refused or done.ended:
        raise TpdeployError(done.refused or done.reason)
    return done


def supervised(name: str) -> state.Deployment:
    """The running deployment called `name`, with a supervisor: one that was killed is replaced.

    Raises:
        InputError: nothing of that name is running.
    """
    deployment = state.running(name)
    return deployment if deployment.supervised else adopt(name) or deployment


def take_over_orphans() -> list[str]:
    """Give every deployment whose supervisor was killed a new one; their names."""
    unwatched = [d for d in state.deployments() if not d.supervised and not d.ended]
    return [d.name for d in unwatched if d.running and adopt(d.name)]


@contextmanager
def endpoint_of(name: str) -> Iterator[state.Endpoint]:
    """The endpoint of the running deployment called `name`, as it is reached from here.

    Raises:
        InputError: it is not running, or not ready yet.
        TpdeployError: its cluster does not answer.
    """
    deployment = seen_now(name)
    with within_reach(state.running_endpoint(name), deployment) as endpoint:
        yield endpoint


def seen_now(name: str) -> state.Deployment:
    """The running deployment called `name`; its state is that of this moment.

    Raises:
        InputError: nothing of that name is running.
        TpdeployError: its cluster does not answer.
    """
    deployment = state.running(name)
    return look(deployment) if deployment.orchestrator else deployment


def refuse_parts(name: str) -> None:
    """Check that every member of the deployment called `name` serves, as its plan assumes.

    Raises:
        InputError: a member does not.
    """
    deployment = state.load(name)
    away = [m for m in deployment.members if m.phase != "ready"] if deployment else []
    if deployment and away:
        words = ", ".join(f"{m.label} is {m.phase}" for m in away)
        scale = f", or: tpdeploy scale --replicas {len(deployment.members) - 1}"
        raise InputError(
            f"deployment {name} is not whole, and its plan is for all of it: {words}; "
            f"wait for it{'' if deployment.orchestrator else scale}"
        )


def stop(name: str, drain_s: float | None = None) -> state.Deployment:
    """End everything of the deployment called `name`, its supervisor's orphans included.

    `drain_s` are allowed for requests in flight; None: as its engine has it.

    Raises:
        InputError: nothing of that name is running.
        TpdeployError: a process or a port is left.
    """
    deployment = state.running(name)
    if deployment.orchestrator:
        if drain_s is not None:
            refuse(deployment, "--drain")
        return end(deployment)
    if deployment.supervisor:
        if drain_s is not None:
            put(name, Ask(action="stop", drain_s=drain_s))
        end_process(deployment.supervisor, grace_s=STOP_TIMEOUT_S + (drain_s or 0.0))
    taken(name)  # by nobody, if there was no supervisor
    last = state.load(name) or deployment
    left = []
    for runtime, members in by_runtime(last.members):
        runtime.stop(members, grace_s=0.0)
        left += [str(m.port) for m in members if runtime.here and not _freed(m.port)]
    if left:
        raise TpdeployError(f"ports {', '.join(left)} are still taken")
    stopped = last.changed(phase="stopped")
    state.save(stopped)
    return stopped


def _freed(port: int) -> bool:
    deadline = time.monotonic() + PORT_TIMEOUT_S
    while not is_free(LOOPBACK, port):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
