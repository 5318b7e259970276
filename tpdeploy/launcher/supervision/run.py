"""A supervisor as a process: what it is told by signals, and what it starts from."""

import os
import signal
from pathlib import Path

from tpdeploy.backends.registry import load_backend
from tpdeploy.files import kind_of, read_text
from tpdeploy.launcher import state
from tpdeploy.launcher.access import API_KEY
from tpdeploy.launcher.commands import order_of
from tpdeploy.launcher.supervision.supervisor import Supervisor, stop_asked
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.records import read_record


def supervise(name: str) -> state.Deployment:
    """Start the deployment called `name`, or take it over if it runs; as it was when it ended."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop_asked.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed terminal ends no deployment
    _take_credential()
    plan = read_record(state.folder_of(name) / "plan.yaml", DeploymentPlan)
    order = order_of(name)
    supervisor = Supervisor(plan, order, load_backend(order.backend))
    supervisor.run()
    return supervisor.deployment


def _take_credential() -> None:
    """The key of clients, where a service manager hands it over in a file (systemd.exec(5))."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and kind_of(Path(folder) / API_KEY) == "file":
        os.environ[API_KEY] = read_text(Path(folder) / API_KEY)
