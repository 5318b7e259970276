"""What a launch runs: the order the user gave, and the command of every member."""

from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path

from tpdeploy.backends.base import Backend, Site
from tpdeploy.launcher import front, state
from tpdeploy.launcher.runtimes.base import Engine, Rendered
from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.runtimes.ports import LOOPBACK, free_ports
from tpdeploy.launcher.runtimes.processes import Leader
from tpdeploy.launcher.runtimes.registry import runtime_for, runtime_of
from tpdeploy.planner.plan import DeploymentPlan, Placement
from tpdeploy.profiles.record import Record
from tpdeploy.records import read_record

FRONT = "front"


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
    hang_timeout_s: float = 120.0  # without a sign of life: then a replica is started anew
    restarts: int = 10  # in a row, after which a member is given up
    engine_args: tuple[str, ...] = ()
    keyed: bool = False  # whether clients need the key in the environment
    key_file: Path | None = None  # or one of the keys in this file
    generate_key: bool = False  # which is made, with one in it
    tls_cert: Path | None = None  # and tls_key: what to encrypt with
    tls_key: Path | None = None
    metrics: bool = False  # whether clients may see the engines' metrics
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
    """The command of every replica on every machine."""
    return [found for place in plan.placement for found in commands_of(plan, place, backend, order)]


def commands_of(
    plan: DeploymentPlan, place: Placement, backend: Backend, order: Order
) -> list[Rendered]:
    """Those of one replica on each of its machines, on ports that are free now."""
    port, *spare = free_ports(LOOPBACK, 1 + backend.spare_ports)
    site = Site(
        host=LOOPBACK,
        port=port,
        folder=state.folder_of(order.name) / f"replica-{place.replica}",
        spare_ports=tuple(spare),
        head=f"MACHINE_{place.node}",
    )
    machines = place.machines[:1] if backend.starts_other_machines else place.machines
    return [_replica(plan, place, replace(site, machine=n), backend, order) for n in machines]


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


def front_member(order: Order) -> Member:
    """The front, which clients reach."""
    return Member(
        label=FRONT,
        host=order.host,
        port=order.port,
        tls=order.tls_cert is not None,
        health_path=front.LIVE_PATH,
    )


def front_command(
    order: Order, backend: Backend, replicas: Sequence[Member], resting: Container[str] = ()
) -> Rendered:
    """The command of the front before `replicas`; those whose labels rest get no requests."""
    # The machines of one replica have one address.
    firsts = {(each.host, each.port): each for each in replicas}.values()
    asked = front.Front(
        host=order.host,
        port=order.port,
        replicas=tuple(address_of(each, resting) for each in firsts),
        health_path=backend.health_path,
        keyed=order.keyed,
        key_file=order.key_file,
        tls=(order.tls_cert, order.tls_key) if order.tls_cert and order.tls_key else None,
        metrics_path=backend.metrics.path if order.metrics and backend.metrics else "",
    )
    folder = state.folder_of(order.name) / FRONT
    command = front.command(asked, folder)
    files = {folder / name: text for name, text in command.files.items()}
    return Rendered(front_member(order), command.argv, command.env, files)


def address_of(replica: Member, resting: Container[str]) -> str:
    """Where the front finds a replica."""
    if replica.label in resting:
        return front.NOBODY
    return runtime_of(replica).address(replica).removeprefix("http://")
