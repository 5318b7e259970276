"""What a launch consists of: the commands of a plan, and starting and stopping it by name."""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tpdeploy.backends.base import Backend, Command
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.files import write_whole
from tpdeploy.launcher import router, state
from tpdeploy.launcher.environments import (
    Environment,
    environment_of_executable,
    find_environment,
)
from tpdeploy.launcher.ports import check_port, free_ports, is_free
from tpdeploy.launcher.processes import Leader, end_sessions, is_alive, leader_of
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.profiles.record import Record
from tpdeploy.records import dump_record

LOOPBACK = "127.0.0.1"
FIRST_PORT = 8000
POLL_S = 0.2
# The supervisor ends replicas within its own grace; then it is ended itself.
STOP_TIMEOUT_S = 40.0
LAST_LINES = 400
# Python's own last line of a traceback, wherever a logger's prefix puts it.
ERROR_LINE = re.compile(r"\b\w*(Error|Exception): ")


class Order(Record):
    """What the user asked to launch, beside the plan; the supervisor reads it from its folder."""

    name: str
    backend: str
    host: str
    port: int
    executable: Path | None = None
    startup_timeout_s: float
    engine_args: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labelled:
    """A command of a launch and which member it starts."""

    label: str
    port: int
    devices: tuple[int, ...]
    command: Command


def choose_port(host: str, asked: int | None) -> int:
    """The port asked for, or the first free one from 8000 up.

    Raises:
        InputError: the port asked for is taken.
    """
    if asked is not None:
        check_port(host, asked)
        return asked
    free = (port for port in range(FIRST_PORT, FIRST_PORT + 100) if is_free(host, port))
    return next(free, 0) or free_ports(host, 1)[0]


def replica_commands(plan: DeploymentPlan, backend: Backend, order: Order) -> list[Labelled]:
    """The command of every replica; the only one listens on the endpoint itself."""
    alone = len(plan.placement) == 1
    host = order.host if alone else LOOPBACK
    ports = [order.port] if alone else free_ports(LOOPBACK, len(plan.placement))
    found = []
    for place, port in zip(plan.placement, ports, strict=True):
        rendered = backend.render(plan, place, host, port)
        command = Command((*rendered.argv, *order.engine_args), rendered.env)
        found.append(Labelled(f"replica-{place.replica}", port, place.devices, command))
    return found


def router_command(order: Order, replicas: list[Labelled]) -> Labelled | None:
    """The router's command, if there are replicas to share the load among."""
    if len(replicas) == 1:
        return None
    (metrics,) = free_ports(LOOPBACK, 1)
    workers = [f"http://{LOOPBACK}:{replica.port}" for replica in replicas]
    command = router.command(order.host, order.port, metrics, workers)
    return Labelled("router", order.port, (), command)


def check(plan: DeploymentPlan, backend: Backend, order: Order) -> None:
    """Nothing, if this plan can be launched.

    Raises:
        InputError: the engine cannot run it, or an engine argument contradicts it.
    """
    problems = backend.check(plan)
    if problems:
        words = "; ".join(f"{problem.what}: {problem.remedy}" for problem in problems)
        raise InputError(f"{backend.name} cannot run this plan: {words}")
    own = backend.render(plan, plan.placement[0], order.host, order.port).argv
    for argument in order.engine_args:
        flag = argument.partition("=")[0]
        if flag == "--api-key":
            raise InputError("--api-key would show in the process list; set TPDEPLOY_API_KEY")
        if flag.startswith("--") and flag in own:
            raise InputError(f"{flag} is set by the plan; plan again with another value instead")


def engine_environment(plan: DeploymentPlan, backend: Backend, order: Order) -> Environment:
    """The environment to run the engine in.

    Raises:
        InputError: none is installed; the message holds the command that installs it.
    """
    if order.executable:
        return environment_of_executable(order.executable)
    found = find_environment(backend.environment(plan.cluster.platform))
    if found is None:
        raise InputError(
            f"{backend.name} is not installed; run: tpdeploy backends install {backend.name}"
        )
    return found


def router_environment() -> Environment:
    """The router's environment.

    Raises:
        InputError: it is not installed.
    """
    found = find_environment(router.ENVIRONMENT)
    if found is None:
        raise InputError("the router is not installed; run: tpdeploy backends install router")
    return found


def begin(plan: DeploymentPlan, order: Order) -> Leader:
    """Start the supervisor of a checked order, which starts everything else; return at once.

    Raises:
        InputError: a deployment of that name is running.
    """
    existing = state.load(order.name)
    if existing and existing.running:
        raise InputError(
            f"deployment {order.name} is running at {existing.url}; "
            f"end it first (tpdeploy stop) or choose another --name"
        )
    folder = state.folder_of(order.name)
    (folder / "state.yaml").unlink(missing_ok=True)
    for log in (folder / "logs").glob("*.log"):
        log.unlink()
    write_whole(folder / "plan.yaml", dump_record(plan))
    write_whole(folder / "order.yaml", dump_record(order))
    log = state.log_of(order.name, "supervisor")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tpdeploy.launcher.supervisor", order.name],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return leader_of(process.pid)


def follow(
    name: str,
    supervisor: Leader,
    until: Callable[[state.Deployment], bool],
    show: Callable[[state.Deployment], None],
) -> state.Deployment:
    """Show each state of a deployment until `until` holds or its supervisor has ended.

    Raises:
        TpdeployError: the supervisor died without leaving a state.
    """
    while True:
        alive = is_alive(supervisor)
        deployment = state.load(name)
        if deployment:
            show(deployment)
            if until(deployment) or not alive:
                return deployment
        elif not alive:
            raise TpdeployError(
                f"the supervisor of {name} did not start: {last_words(name, 'supervisor')}"
            )
        time.sleep(POLL_S)


def stop(name: str) -> state.Deployment:
    """End everything of the deployment called `name`, its supervisor's orphans included.

    Raises:
        InputError: nothing of that name is running.
        TpdeployError: a process or a port is left.
    """
    deployment = state.running(name)
    if deployment.supervisor and is_alive(deployment.supervisor):
        end_sessions(deployment.supervisor, grace_s=STOP_TIMEOUT_S)
    end_sessions(*(m.leader for m in deployment.members if m.leader), grace_s=0.0)
    left = [m.port for m in deployment.members if not _freed(m.port)]
    if left:
        raise TpdeployError(f"ports {', '.join(map(str, left))} are still taken")
    last = state.load(name) or deployment
    stopped = last.model_copy(update={"phase": "stopped"})
    state.save(stopped)
    return stopped


def last_words(name: str, label: str) -> str:
    """The line of a member's log that says best why it ended."""
    log = state.log_of(name, label)
    if not log.exists():
        return "no log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    told = [line.strip() for line in lines if ERROR_LINE.search(line)]
    written = [line.strip() for line in lines if line.strip()]
    return (told or written or ["nothing was written"])[-1][-300:]


def _freed(port: int) -> bool:
    deadline = time.monotonic() + 5
    while not is_free(LOOPBACK, port):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
