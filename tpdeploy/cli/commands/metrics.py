"""`tpdeploy metrics`: what Prometheus and Grafana need to watch a deployment."""

import json
import sys
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
import yaml

from tpdeploy.backends.registry import load_backend
from tpdeploy.cli.options.deployment import Name
from tpdeploy.cli.output import err
from tpdeploy.cli.views.dashboard import dashboard as dashboard_of
from tpdeploy.errors import InputError
from tpdeploy.launcher.access import read_keys
from tpdeploy.launcher.choice import chosen
from tpdeploy.launcher.commands import FRONT, Order, order_of
from tpdeploy.launcher.front import METRICS_PATH, OWN_METRICS_PATH
from tpdeploy.launcher.orchestrated import refuse
from tpdeploy.launcher.runtimes.registry import runtime_of
from tpdeploy.launcher.state import Deployment, running

app = typer.Typer(add_completion=False, rich_markup_mode=None)

KEY_FILE = "KEY_FILE"


@app.command()
def metrics(
    name: Name = None,
    scrape_config: Annotated[
        bool, typer.Option("--scrape-config", help="Print a configuration for Prometheus.")
    ] = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Print a dashboard for Grafana to import.")
    ] = False,
) -> None:
    """Print what Prometheus or Grafana needs to watch a deployment launched with --metrics.

    Prometheus then has the metrics of every replica, and of the deployment itself: who is ready,
    restarts, and what the plan predicts.
    """
    if scrape_config == dashboard:
        raise InputError("choose --scrape-config or --dashboard")
    deployment = running(chosen(name))
    refuse(deployment, "metrics")
    names = load_backend(deployment.backend).metrics
    if names is None:
        raise InputError(f"{deployment.backend} has no metrics")
    if dashboard:
        found = dashboard_of(deployment.backend, names)
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    order = order_of(deployment.name)
    if not order.metrics:
        raise InputError(
            f"deployment {deployment.name} does not show its metrics; launch it with --metrics"
        )
    content = {"scrape_configs": [_job(deployment, order)]}
    sys.stdout.write(yaml.safe_dump(content, sort_keys=False))


def _job(deployment: Deployment, order: Order) -> dict[str, Any]:
    """One job: each replica is a path of its own at the front, and so is the deployment."""
    front = next(member for member in deployment.members if member.label == FRONT)
    address = urlsplit(runtime_of(front).address(front))
    replicas = [member.label for member in deployment.members if member.label != FRONT]
    paths = {f"{METRICS_PATH}/{number}": label for number, label in enumerate(replicas)}
    targets = [_target(deployment, address.netloc, *each) for each in paths.items()]
    targets.append(_target(deployment, address.netloc, OWN_METRICS_PATH, ""))
    job: dict[str, Any] = {"job_name": f"tpdeploy-{deployment.name}", "scheme": address.scheme}
    job["scrape_interval"] = "10s"
    if order.keyed or order.key_file:
        job["authorization"] = {"type": "Bearer", "credentials_file": _key_file(order)}
    if order.tls_cert:
        job["tls_config"] = {"ca_file": str(order.tls_cert)}
    return {**job, "static_configs": targets}


def _target(deployment: Deployment, address: str, path: str, replica: str) -> dict[str, Any]:
    labels = {"__metrics_path__": path, "deployment": deployment.name, "model": deployment.model}
    labels["instance"] = f"{deployment.name}/{replica or 'deployment'}"
    if replica:
        labels["replica"] = replica
    return {"targets": [address], "labels": labels}


def _key_file(order: Order) -> str:
    """The file of its key, if that holds just one."""
    if order.key_file and len(read_keys(order.key_file)) == 1:
        return str(order.key_file)
    err.print(f"Replace {KEY_FILE} by the path of a file with one of the keys.", soft_wrap=True)
    return KEY_FILE
