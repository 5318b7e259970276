"""Deployments that a cluster supervises: how they are, how they are reached, and their end."""

from collections.abc import Iterator
from contextlib import contextmanager

from tpdeploy.errors import InputError
from tpdeploy.launcher import state
from tpdeploy.launcher.orchestrators.base import Orchestrator
from tpdeploy.launcher.orchestrators.registry import ORCHESTRATORS
from tpdeploy.launcher.state import Deployment, Endpoint


def orchestrator_of(deployment: Deployment) -> Orchestrator:
    """What runs it.

    Raises:
        InputError: it is no longer installed.
    """
    return ORCHESTRATORS.load(deployment.orchestrator)


def look(deployment: Deployment) -> Deployment:
    """As its orchestrator sees it now, which is kept in its state.

    Raises:
        TpdeployError: the cluster does not answer.
    """
    view = orchestrator_of(deployment).observe(deployment.reference)
    # Members that have gone with all the rest are shown as they were.
    members = view.members or deployment.members
    told = {"phase": view.phase, "reason": view.reason, "members": members}
    seen = deployment.changed(**told)
    kept = state.load(deployment.name)
    if kept and kept.reference == deployment.reference and kept.phase == "stopped":
        return kept  # by another command meanwhile
    if seen != kept:
        state.save(seen)
    return seen


def end(deployment: Deployment) -> Deployment:
    """End all of it; nothing of it is left in the cluster.

    Raises:
        TpdeployError: something is.
    """
    orchestrator_of(deployment).stop(deployment.reference)
    stopped = deployment.changed(phase="stopped", reason="")
    state.save(stopped)
    return stopped


@contextmanager
def within_reach(endpoint: Endpoint, deployment: Deployment | None) -> Iterator[Endpoint]:
    """The endpoint as it is reached from this machine, for as long as the context lasts.

    Raises:
        TpdeployError: it cannot be reached.
    """
    if deployment is None or not deployment.orchestrator:
        yield endpoint
        return
    with orchestrator_of(deployment).reach(deployment.reference) as url:
        yield endpoint.changed(url=url)


def refuse(deployment: Deployment, what: str) -> None:
    """Refuse `what` if a cluster supervises the deployment: it is the cluster's to do.

    Raises:
        InputError: a cluster does.
    """
    if deployment.orchestrator:
        tools = orchestrator_of(deployment).tools
        raise InputError(
            f"{what}: {deployment.orchestrator} supervises deployment {deployment.name}; "
            f"use {tools or 'its own tools'}"
        )
