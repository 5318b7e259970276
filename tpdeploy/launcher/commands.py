"""What a launch runs: the order the user gave, and the command of every member."""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tpdeploy.backends.base import Backend, Command, Site
from tpdeploy.errors import InputError
from tpdeploy.launcher import router, state
from tpdeploy.launcher.containers import argv_in
from tpdeploy.launcher.environments import environment_of_python, find_environment
from tpdeploy.launcher.ports import LOOPBACK, free_ports
from tpdeploy.launcher.runtimes.processes import Leader
from tpdeploy.planner.plan import DeploymentPlan, Placement
from tpdeploy.profiles.record import Record
from tpdeploy.records import read_record

ROUTER = "router"
API_KEY = "TPDEPLOY_API_KEY"


class Order(Record):
    """What the user asked to launch, beside the plan; the supervisor reads it from its folder."""

    name: str
    backend: str
    host: str
    port: int
    executable: Path | None = None
    python: Path | None = None
    container: str | None = None  # an image that has the engine
    startup_timeout_s: float
    engine_args: tuple[str, ...] = ()
    owner: Leader | None = None  # the deployment ends when this process does; None: it stays


def order_of(name: str) -> Order:
    """The order that the deployment called `name` was launched with."""
    return read_record(state.folder_of(name) / "order.yaml", Order)


@dataclass(frozen=True)
class Labelled:
    """A command of a launch, which member it starts, and where that says whether it is well."""

    label: str
    port: int
    devices: tuple[int, ...]
    health_url: str
    command: Command
    folder: Path | None = None  # where the command's files go
    container: str = ""  # the name of the one it runs in


def replica_commands(plan: DeploymentPlan, backend: Backend, order: Order) -> list[Labelled]:
    """The command of every replica on every machine; the only one listens on the endpoint."""
    alone = len(plan.placement) == 1
    found = []
    for place in plan.placement:
        first, *spare = free_ports(LOOPBACK, 1 + backend.spare_ports)
        label = f"replica-{place.replica}"
        site = Site(
            host=order.host if alone else LOOPBACK,
            port=order.port if alone else first,
            folder=state.folder_of(order.name) / label,
            spare_ports=tuple(spare),
            head=f"MACHINE_{place.node}",
        )
        machines = place.machines[:1] if backend.starts_other_machines else place.machines
        for machine in machines:
            found.append(_labelled(plan, place, replace(site, machine=machine), backend, order))
    return found


def _labelled(
    plan: DeploymentPlan,
    place: Placement,
    site: Site,
    backend: Backend,
    order: Order,
) -> Labelled:
    """The command of one replica at `site`, in a container if the order says so."""
    rendered = backend.render(plan, place, site)
    argv = _whole_argv(plan, backend, order, rendered)
    container = f"tpdeploy-{order.name}-{site.folder.name}" if order.container else ""
    if order.container:
        keys = [backend.api_key_variable] if backend.api_key_variable else []
        variables, on_gpu = [*rendered.env, *keys], plan.cluster.platform == "cuda"
        image, folder = order.container, site.folder
        argv = argv_in(image, container, argv, variables, folder=folder, gpus=on_gpu)
    label = site.folder.name
    if plan.cluster.nodes > 1:
        label += f" on machine {site.machine}"
    return Labelled(
        label=label,
        port=site.port,
        devices=place.devices_on(site.machine),
        health_url=url_of(site.host, site.port) + backend.health_path,
        command=replace(rendered, argv=argv),
        folder=site.folder,
        container=container,
    )


def router_command(order: Order, replicas: list[Labelled]) -> Labelled | None:
    """The router's command, if there are replicas to share the load among."""
    ports = list(dict.fromkeys(replica.port for replica in replicas))
    if len(ports) == 1:
        return None
    (metrics,) = free_ports(LOOPBACK, 1)
    workers = [url_of(LOOPBACK, port) for port in ports]
    rendered = router.command(order.host, order.port, metrics, workers)
    found = find_environment(router.ENVIRONMENT)
    program = str(found.program(rendered.argv[0])) if found else rendered.argv[0]
    command = Command((program, *rendered.argv[1:]), rendered.env)
    health = url_of(order.host, order.port) + router.HEALTH_PATH
    return Labelled(ROUTER, order.port, (), health, command)


def _whole_argv(
    plan: DeploymentPlan, backend: Backend, order: Order, rendered: Command
) -> tuple[str, ...]:
    """The argument list with the path of the program and what the user adds.

    The bare name of the program where it is not installed, for a dry run.
    """
    name, *arguments = rendered.argv
    return (_program(plan, backend, order, name), *arguments, *order.engine_args)


def _program(plan: DeploymentPlan, backend: Backend, order: Order, name: str) -> str:
    if order.container:
        return name
    if order.executable:
        return str(order.executable)
    if order.python:
        return str(environment_of_python(order.python).program(name))
    with suppress(InputError):  # no environment is made for the plan's platform
        found = find_environment(backend.environment(plan.cluster.platform))
        if found and found.program(name).exists():
            return str(found.program(name))
    return name


def url_of(host: str, port: int) -> str:
    """Where a server that listens on `host` is reached from this machine."""
    return f"http://{LOOPBACK if host == '0.0.0.0' else host}:{port}"  # noqa: S104
