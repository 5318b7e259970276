"""Starting a deployment by its plan, following it, and stopping it by its name."""

import fcntl
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tpdeploy.backends.base import Backend, last_exception
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.files import append_privately, make_private, write_whole
from tpdeploy.launcher import front, state
from tpdeploy.launcher.access import API_KEY, check_certificate, check_host, generate_key, read_keys
from tpdeploy.launcher.commands import Order, engine_of, replica_commands
from tpdeploy.launcher.doctor.case import Case
from tpdeploy.launcher.doctor.checks import before_launch
from tpdeploy.launcher.doctor.finding import Finding
from tpdeploy.launcher.logs import last_words
from tpdeploy.launcher.runtimes.ports import LOOPBACK, check_port, claim, is_free
from tpdeploy.launcher.runtimes.processes import Leader, end_process, is_alive, start
from tpdeploy.launcher.runtimes.registry import by_runtime, runtime_for
from tpdeploy.planner.model.stages import split_problem
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.profiles.models.library import load_model
from tpdeploy.records import dump_record

FIRST_PORT = 8000
POLL_S = 0.2
# The supervisor ends replicas within its own grace; then it is ended itself.
STOP_TIMEOUT_S = 40.0
PORT_TIMEOUT_S = 5.0
# Options that hold a secret, and the variable that keeps it off the command line.
SECRETS = {"--api-key": API_KEY, "--hf-token": "HF_TOKEN"}


def choose_port(host: str, asked: int | None) -> tuple[int, socket.socket]:
    """The port asked for, or the first free one from 8000 up, and the hold on it.

    Raises:
        InputError: the port asked for is taken, or nothing can listen on `host`.
    """
    claims = {m.port: d.name for d in state.deployments() if d.running for m in d.members}
    first, tries = (FIRST_PORT, 100) if asked is None else (asked, 1)
    for port in range(first, first + tries):
        if port not in claims and is_free(host, port) and (hold := claim(port)):
            return port, hold
    if first in claims:
        raise InputError(f"--port {first} belongs to the running deployment {claims[first]}")
    check_port(host, first)
    raise InputError(f"--port {first} belongs to a deployment that is starting")


def check(plan: DeploymentPlan, backend: Backend, order: Order) -> None:
    """Nothing, if this plan can be launched.

    Raises:
        InputError: the engine cannot run it, or an engine argument contradicts it.
    """
    problems = [f"{problem.what}: {problem.remedy}" for problem in backend.check(plan)]
    problems += _width_problems(plan, backend)
    if problems:
        raise InputError(f"{backend.name} cannot run this plan: {'; '.join(problems)}")
    _check_access(order)
    own = replica_commands(plan, backend, order)[0].argv[: -len(order.engine_args) or None]
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
    """What is not well, if the plan can run here all the same, and the front before it.

    Raises:
        InputError: it cannot; the message says what is missing and the command that installs it.
            Or it would not start here as things are, and the user does not `insist`.
    """
    engine = engine_of(plan, backend, order)
    runtime_for(engine).check(plan, engine)
    front.program()
    return before_launch(Case(engine, plan, order.host, order.port), insist=insist)


def begin(plan: DeploymentPlan, order: Order, hold: socket.socket) -> Leader:
    """Start the supervisor of a checked order, which starts everything else; return at once.

    It inherits the `hold` on the endpoint's port.

    Raises:
        InputError: a deployment of that name is running.
    """
    folder, log = state.folder_of(order.name), state.log_of(order.name, "supervisor")
    make_private(folder)
    make_private(log.parent)
    with _claimed(order.name) as lock:
        (folder / "state.yaml").unlink(missing_ok=True)
        for old in log.parent.glob("*.log"):
            old.unlink()
        write_whole(folder / "plan.yaml", dump_record(plan))
        write_whole(folder / "order.yaml", dump_record(order))
        if order.generate_key:
            generate_key(folder)
        program = [sys.executable, "-m", "tpdeploy.launcher.supervisor", order.name]
        return start(program, {}, log, keep=[lock, hold.fileno()])[1]


@contextmanager
def _claimed(name: str) -> Iterator[int]:
    """A lock on the deployment's name; its supervisor inherits it and holds it while it lives."""
    existing = state.load(name)
    where = f" at {existing.url}" if existing else ""
    refusal = InputError(
        f"deployment {name} is running{where}; "
        f"end it first (tpdeploy stop) or choose another --name"
    )
    if existing and existing.running:
        raise refusal
    with append_privately(state.folder_of(name) / "lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise refusal from error
        yield lock.fileno()


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
            words = last_words(state.log_of(name, "supervisor"), last_exception)
            raise TpdeployError(f"the supervisor of {name} did not start: {words}")
        time.sleep(POLL_S)


def stop(name: str) -> state.Deployment:
    """End everything of the deployment called `name`, its supervisor's orphans included.

    Raises:
        InputError: nothing of that name is running.
        TpdeployError: a process or a port is left.
    """
    deployment = state.running(name)
    if deployment.supervisor:
        end_process(deployment.supervisor, grace_s=STOP_TIMEOUT_S)
    last = state.load(name) or deployment
    for runtime, members in by_runtime(last.members):
        runtime.stop(members, grace_s=0.0)
    left = [str(m.port) for m in last.members if not _freed(m.port)]
    if left:
        raise TpdeployError(f"ports {', '.join(left)} are still taken")
    stopped = last.model_copy(update={"phase": "stopped"})
    state.save(stopped)
    return stopped


def _freed(port: int) -> bool:
    deadline = time.monotonic() + PORT_TIMEOUT_S
    while not is_free(LOOPBACK, port):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
