"""What a launch runs: the order the user gave, and the command of every member."""

from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path

from tpdeploy.backends.base import Backend, Command, Site
from tpdeploy.launcher import front, state
from tpdeploy.launcher.runtimes.base import Engine, Parts, Rendered, Replica
from tpdeploy.launcher.runtimes.member import Member
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
    on: str = "local"  # what runs it
    on_options: tuple[str, ...] = ()  # passed to that
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
    return Engine(
        backend,
        plan.cluster.platform,
        order.executable,
        order.python,
        image=order.container or "",
        on=order.on,
        options=order.on_options,
    )


def replica_commands(plan: DeploymentPlan, backend: Backend, order: Order) -> list[Rendered]:
    """What starts each replica."""
    return [replica_command(plan, place, backend, order) for place in plan.placement]


def replica_command(
    plan: DeploymentPlan, place: Placement, backend: Backend, order: Order
) -> Rendered:
    """What starts a replica, as its runtime gives it; on ports that are free now."""
    replica = replica_of(plan, place, backend, order)
    runtime = runtime_for(replica.engine)
    site = runtime.site(replica)
    member = Member(
        label=replica.folder.name,
        runtime=runtime.name,
        host=site.host,
        port=int(site.port) if site.port.isdecimal() else 0,
        devices=site.devices,
        health_path=backend.health_path,
    )
    return runtime.render(replica, member, parts_of(plan, place, backend, order, site))


def replica_of(plan: DeploymentPlan, place: Placement, backend: Backend, order: Order) -> Replica:
    """The replica at `place`, as runtimes know it."""
    folder = state.folder_of(order.name) / f"replica-{place.replica}"
    return Replica(place, engine_of(plan, backend, order), folder)


def parts_of(
    plan: DeploymentPlan, place: Placement, backend: Backend, order: Order, site: Site
) -> Parts:
    """What the machines of a replica run at `site`, with the user's own arguments."""

    def whole(command: Command) -> Command:
        return replace(command, argv=(*command.argv, *order.engine_args))

    worker = backend.render_worker(plan, place, site) if len(place.machines) > 1 else None
    return Parts(whole(backend.render(plan, place, site)), worker and whole(worker))


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
    plan: DeploymentPlan,
    backend: Backend,
    order: Order,
    replicas: Sequence[Member],
    resting: Container[str] = (),
) -> Rendered:
    """The command of the front before `replicas`; those whose labels rest get no requests."""
    asked = front.Front(
        host=order.host,
        port=order.port,
        replicas=tuple(address_of(each, resting) for each in replicas),
        health_path=backend.health_path,
        keyed=order.keyed,
        key_file=order.key_file,
        tls=(order.tls_cert, order.tls_key) if order.tls_cert and order.tls_key else None,
        metrics_path=backend.metrics.path if order.metrics and backend.metrics else "",
        router=plan.router,
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
