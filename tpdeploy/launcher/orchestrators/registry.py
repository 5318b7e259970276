"""Which orchestrator runs what; built-in and foreign ones come through the same entry points."""

from tpdeploy.launcher.orchestrators.base import Orchestrator
from tpdeploy.plugins import Group

ORCHESTRATORS: Group[Orchestrator] = Group(
    "tpdeploy.orchestrators",
    "orchestrator",
    Orchestrator,  # type: ignore[type-abstract]
)
