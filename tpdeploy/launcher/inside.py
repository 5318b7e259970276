"""A client near the members of a deployment that run on other machines."""

import socket
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from ipaddress import ip_address
from urllib.parse import urlsplit

from tpdeploy.backends.registry import load_backend
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.launcher.access import is_loopback
from tpdeploy.launcher.commands import engine_of, order_of
from tpdeploy.launcher.orchestrated import orchestrator_of
from tpdeploy.launcher.orchestrators.base import Client
from tpdeploy.launcher.runtimes.processes import reading
from tpdeploy.launcher.runtimes.registry import runtime_for, runtime_of
from tpdeploy.launcher.state import Deployment
from tpdeploy.planner.plan import DeploymentPlan

GRACE_S = 10.0
ERROR = "Error: "  # how tpdeploy begins the line that says what was wrong


def client_of(deployment: Deployment, plan: DeploymentPlan, image: str) -> Client:
    """What runs `tpdeploy client` near its members, launched with `plan`.

    `image` has tpdeploy, for clusters that run images alone; empty: one that installs it.

    Raises:
        InputError: nothing does; the message says what would work.
    """
    order = order_of(deployment.name)
    if image and not deployment.orchestrator:
        raise InputError(f"--client-image is for --on kubernetes, not for {order.on}")
    try:
        if deployment.orchestrator:
            return orchestrator_of(deployment).client(deployment.reference, order, image)
        engine = engine_of(plan, load_backend(order.backend), order)
        argv = runtime_for(engine).client(engine)
        return lambda: nullcontext(argv)
    except InputError as error:
        raise InputError(f"--inside: deployment {deployment.name}: {error}") from error


def url_from_there(deployment: Deployment) -> str:
    """The URL at which a machine of its members reaches the endpoint, be it on this one.

    Raises:
        InputError: none does.
    """
    if deployment.orchestrator:
        return deployment.url
    url = urlsplit(deployment.url)
    host = url.hostname or ""
    if is_loopback(host):
        raise InputError(
            f"--inside: {deployment.url} is reached from this machine alone; launch it with "
            "--host ADDRESS, one that the members' machines reach"
        )
    if not _is_everywhere(host):
        return deployment.url
    member = deployment.members[0]
    towards = urlsplit(runtime_of(member).address(member)).hostname or ""
    return f"{url.scheme}://{_own_address(towards)}:{url.port}"


def conversation(argv: tuple[str, ...], line: str, on_line: Callable[[str], None]) -> None:
    """Run `argv` with `line` as its input, which stays open until it ends, and hear its lines.

    Raises:
        InputError: it says that what was asked cannot be.
        TpdeployError: it has failed; the message is the last line that it has written on stderr.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        with reading(argv, errors, GRACE_S, subprocess.PIPE) as process:
            assert process.stdin is not None  # noqa: S101 - it was asked for as a pipe
            assert process.stdout is not None  # noqa: S101
            try:
                process.stdin.write(line)
                process.stdin.flush()
            except BrokenPipeError:
                pass  # it says why
            for said in process.stdout:
                on_line(said)
        if process.returncode:
            errors.seek(0)
            raise _failure(errors.read().splitlines(), process.returncode)


def _failure(said: list[str], code: int) -> TpdeployError:
    """What a client that ended with `code` says of why."""
    own = [line.removeprefix(ERROR) for line in said if line.startswith(ERROR)]
    words = (own or said or [f"it ended with code {code}"])[-1]
    if own and code == InputError.exit_code:
        return InputError(words)
    return TpdeployError(words if own else f"the client has failed: {words}")


def _is_everywhere(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _own_address(towards: str) -> str:
    """This machine's address on the way to another; nothing is sent.

    Raises:
        InputError: there is no way.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect((towards, 9))
        except OSError as error:
            raise InputError(f"--inside: no way to {towards}: {error.strerror}") from error
        return str(asked.getsockname()[0])
