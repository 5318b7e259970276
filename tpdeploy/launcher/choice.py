"""Which deployment a command means when it is not told."""

from tpdeploy.errors import InputError
from tpdeploy.launcher.state import deployments


def chosen(name: str | None, *, ended: bool = False) -> str:
    """`name`, or that of the only running deployment; if `ended`, else of the last one launched.

    Raises:
        InputError: several are running, or none.
    """
    if name is not None:
        return name
    known = deployments()
    running = sorted(deployment.name for deployment in known if deployment.running)
    if len(running) == 1:
        return running[0]
    if running:
        raise InputError(f"several deployments are running: {', '.join(running)}; add --name")
    if ended and known:
        return max(known, key=lambda deployment: deployment.started_at).name
    raise InputError("no deployment is running; start one: tpdeploy launch")
