"""What is refused before anything is declared."""

from collections.abc import Iterator

from tpdeploy.errors import InputError
from tpdeploy.launcher.orchestrators.base import Task
from tpdeploy.launcher.orchestrators.ray.config import ENGINE, application_of
from tpdeploy.launcher.orchestrators.ray.dashboard import Dashboard, address_of
from tpdeploy.launcher.orchestrators.ray.details import Details
from tpdeploy.launcher.orchestrators.ray.endpoint import LOOPBACKS
from tpdeploy.launcher.orchestrators.scaling import OPTION


def refusals(task: Task) -> Iterator[str]:
    """What Ray Serve LLM cannot do of what is asked."""
    plan, order = task.plan, task.order
    if task.backend.name != ENGINE:
        yield f"Ray Serve LLM runs {ENGINE}, not {task.backend.name}; give --backend {ENGINE}"
    if plan.parallelism.data_parallel:
        yield "no data-parallel attention; plan with --dp 1"
    if order.keyed or order.key_file or order.generate_key:
        yield (
            "Ray Serve LLM asks clients for no key; unset TPDEPLOY_API_KEY and leave out "
            "--generate-key and --api-key-file, or put a gateway that asks before it"
        )
    if order.tls_cert:
        yield "no --tls-cert; encrypt at a gateway before it"
    if order.metrics:
        yield "no --metrics; Ray exports those of the engines itself, at each node's metrics port"
    if order.container:
        yield "no --container; replicas run in the environment or image of Ray's nodes"
    others = [o for o in order.on_options if not o.startswith(f"{OPTION}=")]
    if others:
        yield f"no options for it, here {' '.join(others)}"


def check_names(task: Task, details: Details) -> None:
    """Check that neither the name nor the path is in use."""
    name, path = application_of(task.order), f"/{task.order.name}"
    if name in details.applications:
        raise InputError(
            f"the cluster has an application {name} already; choose another --name, or stop it"
        )
    for other in details.applications.values():
        if other.route_prefix == path:
            raise InputError(f"application {other.name} has {path}; choose another --name")


def check_proxy(task: Task, details: Details) -> None:
    """Check that Serve listens, or can listen, where it was asked to, within reach from here."""
    order, there, url = task.order, details.http_options, address_of(task.order.on)
    if order.host in LOOPBACKS and Dashboard(url).host not in LOOPBACKS:
        raise InputError(
            f"--host {order.host} is the head's own, which {url} is not from here: run this on the "
            "head, or give the --host that Serve is to listen on there"
        )
    if there and (there.host, there.port) != (order.host, order.port):
        raise InputError(
            f"Serve on that cluster listens on {there.host}:{there.port} until it is shut down, "
            f"not on {order.host}:{order.port}; give --host {there.host} --port {there.port}"
        )
