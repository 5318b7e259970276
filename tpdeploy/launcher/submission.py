"""Handing a deployment over to a cluster, and following it until it is ready."""

import secrets
import time
from collections.abc import Callable

from tpdeploy.errors import TpdeployError
from tpdeploy.files import write_whole
from tpdeploy.launcher import state
from tpdeploy.launcher.access import API_KEY, INNER_KEY, client_key, read_keys
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.launch import prepared
from tpdeploy.launcher.orchestrated import look
from tpdeploy.launcher.orchestrators.base import Orchestrator, Task
from tpdeploy.launcher.state import Deployment
from tpdeploy.profiles.models.hub import stated_token

LOOK_EVERY_S = 2.0
SILENCE_S = 60.0
MANIFEST = "manifest.yaml"
HUB_TOKEN = "HF_TOKEN"  # noqa: S105 - the name of a variable


def begin(orchestrator: Orchestrator, task: Task) -> Deployment:
    """Hand over a checked task, and keep what it is found by again.

    Raises:
        InputError: a deployment of that name is running.
        TpdeployError: the cluster refuses it; nothing of it is left there.
    """
    order = task.order
    with prepared(task.plan, order):
        path = state.folder_of(order.name) / MANIFEST
        write_whole(path, orchestrator.render(task).text)
        reference = orchestrator.submit(task, path, keys_of(order))
        deployment = Deployment(
            name=order.name,
            model=task.plan.model.id,
            backend=task.backend.name,
            url=orchestrator.endpoint(reference, order),
            key_file=order.key_file,
            orchestrator=orchestrator.name,
            reference=reference,
            members=(),
        )
        state.save(deployment)
    return deployment


def keys_of(order: Order) -> dict[str, str]:
    """What nobody else may see, by the names of variables; keys of clients are one per line."""
    clients = [client_key() or ""] if order.keyed else []
    clients += read_keys(order.key_file) if order.key_file else ()
    found = {INNER_KEY: secrets.token_urlsafe(32)}
    if clients:
        found[API_KEY] = "\n".join(clients)
    if token := stated_token():
        found[HUB_TOKEN] = token
    return found


def follow(
    deployment: Deployment, startup_timeout_s: float, show: Callable[[Deployment], None]
) -> Deployment:
    """Show how it starts until it serves.

    The time to become ready begins when all of it has its place in the cluster. That the cluster
    does not answer for a while is no reason to give up.

    Raises:
        TpdeployError: it will not start, or has not within `startup_timeout_s`.
    """
    placed_at: float | None = None
    answered_at = time.monotonic()
    while True:
        try:
            deployment, answered_at = look(deployment), time.monotonic()
        except TpdeployError:
            if time.monotonic() > answered_at + SILENCE_S:
                raise
        show(deployment)
        crashed = any(member.phase == "crashed" for member in deployment.members)
        if deployment.phase == "ready" or (deployment.phase == "degraded" and crashed):
            return deployment
        if deployment.phase == "failed" or crashed:
            raise TpdeployError(f"launch failed: {deployment.reason}")
        if placed_at is None:
            placed = all(member.started_at for member in deployment.members)
            placed_at = time.monotonic() if deployment.members and placed else None
        elif time.monotonic() > placed_at + startup_timeout_s:
            late = ", ".join(m.label for m in deployment.members if m.phase != "ready")
            raise TpdeployError(f"launch failed: {late} not ready in {startup_timeout_s:g} s")
        time.sleep(LOOK_EVERY_S)
