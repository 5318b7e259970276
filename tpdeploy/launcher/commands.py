"""What a launch runs: the order the user gave, and the command of every member."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tpdeploy.backends.base import Backend, Site
from tpdeploy.launcher import router, state
from tpdeploy.launcher.environments import find_environment
from tpdeploy.launcher.runtimes.base import Engine, Rendered
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.ports import LOOPBACK, free_ports
from tpdeploy.launcher.runtimes.processes import Leader
from tpdeploy.launcher.runtimes.registry import runtime_for, runtime_of
from tpdeploy.planner.plan import DeploymentPlan, Placement
from tpdeploy.profiles.record import Record
from tpdeploy.records import read_record

ROUTER = "router"


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
    insecure: bool = False  # open to everyone who reaches it, because the user insists
    owner: Leader | None = None  # the deployment ends when this process does; None: it stays


def order_of(name: str) -> Order:
    """The order that the deployment called `name` was launched with."""
    return read_record(state.folder_of(name) / "order.yaml", Order)


def engine_of(plan: DeploymentPlan, backend: Backend, order: Order) -> Engine:
    """The engine that is ordered, for the devices of `plan`."""
    where = Engine(backend, plan.cluster.platform, order.executable, order.python)
    return replace(where, image=order.container or "")


def replica_commands(plan: DeploymentPlan, backend: Backend, order: Order) -> list[Rendered]:
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
            found.append(_replica(plan, place, replace(site, machine=machine), backend, order))
    return found


def _replica(
    plan: DeploymentPlan,
    place: Placement,
    site: Site,
    backend: Backend,
    order: Order,
) -> Rendered:
    """The command of one replica at `site`, as its runtime gives it."""
    label = site.folder.name
    if plan.cluster.nodes > 1:
        label += f" on machine {site.machine}"
    member = Member(
        label=label,
        host=site.host,
        port=site.port,
        devices=place.devices_on(site.machine),
        health_path=backend.health_path,
    )
    command = backend.render(plan, place, site)
    command = replace(command, argv=(*command.argv, *order.engine_args))
    engine = engine_of(plan, backend, order)
    return runtime_for(engine).render(engine, member, command, site.folder)


def router_member(plan: DeploymentPlan, order: Order) -> Member | None:
    """The router, if there are replicas to share the load among."""
    if len(plan.placement) == 1:
        return None
    return Member(label=ROUTER, host=order.host, port=order.port, health_path=router.HEALTH_PATH)


def router_command(order: Order, member: Member, replicas: Iterable[Member]) -> Rendered:
    """The command of the router `member` over `replicas`, which are started unless it is shown."""
    # The machines of one replica have one address.
    workers = list(dict.fromkeys(runtime_of(replica).address(replica) for replica in replicas))
    (metrics,) = free_ports(LOOPBACK, 1)
    command = router.command(order.host, order.port, metrics, workers)
    name, *arguments = command.argv
    found = find_environment(router.ENVIRONMENT)
    program = str(found.program(name)) if found else name
    return Rendered(member, (program, *arguments), command.env, files={})
