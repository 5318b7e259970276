"""Starting a deployment by its plan: what is checked before, and how it begins."""

import fcntl
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tpdeploy.backends.base import Backend, Site
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.files import append_privately, data_home, make_private, write_whole
from tpdeploy.launcher import front, state
from tpdeploy.launcher.access import API_KEY, check_certificate, check_host, generate_key, read_keys
from tpdeploy.launcher.commands import Order, engine_of, parts_of, replica_of
from tpdeploy.launcher.control import claimed, follow, refusal, start_supervisor
from tpdeploy.launcher.doctor.case import Case
from tpdeploy.launcher.doctor.checks import before_launch
from tpdeploy.launcher.doctor.finding import Finding
from tpdeploy.launcher.logs import keep_previous
from tpdeploy.launcher.orchestrators.base import Task
from tpdeploy.launcher.orchestrators.registry import orchestrator_for
from tpdeploy.launcher.runtimes.ports import (
    FIRST_PORT,
    LOOPBACK,
    PORTS_TRIED,
    check_port,
    claim,
    free_from,
)
from tpdeploy.launcher.runtimes.processes import Leader
from tpdeploy.launcher.runtimes.registry import runtime_for
from tpdeploy.launcher.state import Deployment
from tpdeploy.planner.model.stages import split_problem
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.profiles.models.library import load_model
from tpdeploy.records import dump_record

UNDER_WAY = {"starting", "stopping"}
# Options that hold a secret, and the variable that keeps it off the command line.
ANYWHERE = Site(LOOPBACK, "0", Path(), spare_ports=("0", "0"))
SECRETS = {"--api-key": API_KEY, "--hf-token": "HF_TOKEN"}


def choose_port(host: str, asked: int | None) -> tuple[int, socket.socket]:
    """The port asked for, or the first free one from 8000 up, and the hold on it.

    Raises:
        InputError: the port asked for is taken, or nothing can listen on `host`.
    """
    here = [d for d in state.deployments() if d.running and not d.orchestrator]
    claims = {m.port: d.name for d in here for m in d.members}
    first, tries = (FIRST_PORT, PORTS_TRIED) if asked is None else (asked, 1)
    for port in free_from(host, first, tries):
        if port not in claims and (hold := claim(port)):
            return port, hold
    if first in claims:
        raise InputError(f"--port {first} belongs to the running deployment {claims[first]}")
    check_port(host, first)
    raise InputError(f"--port {first} belongs to a deployment that is starting")


def check(plan: DeploymentPlan, backend: Backend, order: Order) -> None:
    """Check that this plan can be launched.

    Raises:
        InputError: the engine cannot run it, or an engine argument contradicts it.
    """
    problems = [f"{problem.what}: {problem.remedy}" for problem in backend.check(plan)]
    problems += _width_problems(plan, backend)
    if problems:
        raise InputError(f"{backend.name} cannot run this plan: {'; '.join(problems)}")
    _check_access(order)
    if orchestrator := orchestrator_for(order.on):
        orchestrator.check_plan(Task(plan, backend, order))
        site = ANYWHERE
    else:
        replica = replica_of(plan, plan.placement[0], backend, order)
        runtime = runtime_for(replica.engine)
        runtime.check_plan(plan, replica.engine)
        site = runtime.site(replica)
    _check_arguments(plan, backend, order, site)


def _check_arguments(plan: DeploymentPlan, backend: Backend, order: Order, site: Site) -> None:
    place = plan.placement[0]
    first = parts_of(plan, place, backend, order, site).leader
    own = first.argv[: -len(order.engine_args) or None]
    own_names = {word for word in own if word.startswith("--")}
    planned = {name.replace("_", "-") for name in backend.reserved_arguments | own_names}
    for argument in order.engine_args:
        flag = argument.partition("=")[0].replace("_", "-")
        for secret, variable in SECRETS.items():
            if _means(flag, secret):
                raise InputError(f"{secret} would show in the process list; set {variable}")
        if any(_means(flag, name) for name in planned):
            raise InputError(f"{flag} is set by the plan; plan again with another value instead")


def _check_access(order: Order) -> None:
    if order.key_file and not order.generate_key:
        read_keys(order.key_file)
    elif not (order.keyed or order.generate_key):
        check_host(order.host, insecure=order.insecure)
    if order.tls_cert and order.tls_key:
        check_certificate(order.tls_cert, order.tls_key)
    elif order.tls_cert or order.tls_key:
        raise InputError("--tls-cert and --tls-key go together: name both files")


def _means(flag: str, name: str) -> bool:
    """Whether `flag` is the option `name`: engines take its beginning for the whole."""
    return flag == name or (len(flag) > 2 and name.startswith(flag))


def _width_problems(plan: DeploymentPlan, backend: Backend) -> Iterator[str]:
    """Why the model cannot be split so; a plan may have been edited since it was made."""
    split, width = plan.parallelism, plan.parallelism.tensor
    if plan.model.path is None and width == 1 and not split.data_parallel:
        return
    try:
        shape = load_model(plan.model.path or plan.model.id)
    except InputError:
        if plan.model.path:
            raise
        return  # the hub is out of reach; the engine may have the model all the same
    if split.expert_parallel or split.data_parallel:
        problem = split_problem(shape, split)
        if problem:
            yield problem
        return
    widths = backend.widths(shape, width)
    if width in widths.refused:
        yield f"{widths.refused[width]}: legal widths are {', '.join(map(str, widths.legal))}"


def check_here(
    plan: DeploymentPlan, backend: Backend, order: Order, *, insist: bool = False
) -> list[Finding]:
    """What the checks found, if the plan can run here, and the front before it.

    Raises:
        InputError: it cannot; the message says what is missing and the command that installs it.
            Or it would not start here as things are, and the user does not `insist`.
    """
    engine = engine_of(plan, backend, order)
    runtime_for(engine).check(plan, engine)
    front.program()
    case = Case(engine, plan, order.host, order.port, loads_weights=not _made_up(order))
    return before_launch(case, insist=insist)


def _made_up(order: Order) -> bool:
    """Whether the engine is told to make up its weights (--load-format=dummy)."""
    return "--load-format=dummy" in "=".join(order.engine_args)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold a lock from a launch's checks to its state, so that each sees what others take."""
    folder = data_home() / "locks"
    make_private(folder)
    with append_privately(folder / "launch") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def begin(plan: DeploymentPlan, order: Order, hold: socket.socket) -> Leader:
    """Start the supervisor of a checked order, which starts everything else.

    Return as soon as it has a state. It inherits the `hold` on the endpoint's port.

    Raises:
        InputError: a deployment of that name is running.
        TpdeployError: the supervisor ended at once.
    """
    with prepared(plan, order) as lock:
        supervisor = start_supervisor(order.name, [lock, hold.fileno()])
    follow(order.name, supervisor, lambda _: True, lambda _: None)
    return supervisor


def until_ready(name: str, supervisor: Leader, show: Callable[[Deployment], None]) -> Deployment:
    """Show each state of a deployment that begins, until it serves.

    Raises:
        TpdeployError: it does not come to serve; everything of it has ended.
    """
    deployment = follow(name, supervisor, lambda d: d.phase not in UNDER_WAY, show)
    if deployment.ended:
        raise TpdeployError(f"launch failed: {deployment.reason}")
    return deployment


@contextmanager
def prepared(plan: DeploymentPlan, order: Order) -> Iterator[int]:
    """All that a supervisor starts from is in the deployment's folder, which is locked meanwhile.

    Raises:
        InputError: a deployment of that name is running.
    """
    folder, logs = state.folder_of(order.name), state.log_of(order.name, "supervisor").parent
    make_private(folder)
    make_private(logs)
    with claimed(order.name) as lock:
        if _runs(order.name):
            raise refusal(order.name)
        (folder / "state.yaml").unlink(missing_ok=True)
        keep_previous(logs)
        write_whole(folder / "plan.yaml", dump_record(plan))
        write_whole(folder / "order.yaml", dump_record(order))
        if order.generate_key:
            generate_key(folder)
        yield lock


def _runs(name: str) -> bool:
    """Whether anything of it does; a state that cannot be read is of another release, and past."""
    with suppress(InputError):
        existing = state.load(name)
        return existing is not None and existing.running
    return False
