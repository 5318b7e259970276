"""Which orchestrator runs what; built-in and foreign ones come through the same entry points."""

from tpdeploy.errors import InputError, nearest, shown
from tpdeploy.launcher.orchestrators.base import Orchestrator
from tpdeploy.launcher.runtimes.registry import RUNTIMES
from tpdeploy.plugins import Group

ORCHESTRATORS: Group[Orchestrator] = Group(
    "tpdeploy.orchestrators",
    "orchestrator",
    Orchestrator,  # type: ignore[type-abstract]
)


def orchestrator_for(on: str) -> Orchestrator | None:
    """The orchestrator that `--on` names; None if it names a runtime.

    Raises:
        InputError: it names neither.
    """
    name = on.partition(":")[0]
    if name in RUNTIMES.names():
        return None
    if name not in ORCHESTRATORS.names():
        known = (*RUNTIMES.names(), *ORCHESTRATORS.names())
        raise InputError(f"--on {shown(on)}: {nearest(name, known)}")
    return ORCHESTRATORS.load(name)
