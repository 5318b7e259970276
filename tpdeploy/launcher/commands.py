"""What a launch runs: the order the user gave, and the command of every member."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tpdeploy.backends.base import Backend, Command
from tpdeploy.errors import InputError
from tpdeploy.launcher import router
from tpdeploy.launcher.environments import find_environment
from tpdeploy.launcher.ports import LOOPBACK, free_ports
from tpdeploy.launcher.processes import Leader
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.profiles.record import Record

ROUTER = "router"


class Order(Record):
    """What the user asked to launch, beside the plan; the supervisor reads it from its folder."""

    name: str
    backend: str
    host: str
    port: int
    executable: Path | None = None
    startup_timeout_s: float
    engine_args: tuple[str, ...] = ()
    owner: Leader | None = None  # the deployment ends when this process does; None: it stays


@dataclass(frozen=True)
class Labelled:
    """A command of a launch, which member it starts, and where that says whether it is well."""

    label: str
    port: int
    devices: tuple[int, ...]
    health_url: str
    command: Command


def replica_commands(plan: DeploymentPlan, backend: Backend, order: Order) -> list[Labelled]:
    """The command of every replica; the only one listens on the endpoint itself."""
    alone = len(plan.placement) == 1
    host = order.host if alone else LOOPBACK
    ports = [order.port] if alone else free_ports(LOOPBACK, len(plan.placement))
    found = []
    for place, port in zip(plan.placement, ports, strict=True):
        rendered = backend.render(plan, place, host, port)
        program = _engine_program(plan, backend, order, rendered.argv[0])
        argv = (program, *rendered.argv[1:], *order.engine_args)
        health = url_of(host, port) + backend.health_path
        command = Command(argv, rendered.env)
        found.append(Labelled(f"replica-{place.replica}", port, place.devices, health, command))
    return found


def router_command(order: Order, replicas: list[Labelled]) -> Labelled | None:
    """The router's command, if there are replicas to share the load among."""
    if len(replicas) == 1:
        return None
    (metrics,) = free_ports(LOOPBACK, 1)
    workers = [url_of(LOOPBACK, replica.port) for replica in replicas]
    rendered = router.command(order.host, order.port, metrics, workers)
    found = find_environment(router.ENVIRONMENT)
    program = str(found.program(rendered.argv[0])) if found else rendered.argv[0]
    command = Command((program, *rendered.argv[1:]), rendered.env)
    health = url_of(order.host, order.port) + router.HEALTH_PATH
    return Labelled(ROUTER, order.port, (), health, command)


def _engine_program(plan: DeploymentPlan, backend: Backend, order: Order, name: str) -> str:
    """The path of the program, or its bare name where it is not installed, for a dry run."""
    if order.executable:
        return str(order.executable)
    with suppress(InputError):  # no environment is made for the plan's platform
        found = find_environment(backend.environment(plan.cluster.platform))
        if found:
            return str(found.program(name))
    return name


def url_of(host: str, port: int) -> str:
    """Where a server that listens on `host` is reached from this machine."""
    return f"http://{LOOPBACK if host == '0.0.0.0' else host}:{port}"  # noqa: S104
