"""What a launch is about to start, said before it starts it."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tpdeploy.cli.views.doctor import show_warnings
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.doctor.finding import Finding
from tpdeploy.planner.plan import DeploymentPlan

# What the checks found of these is told also where nothing is wrong.
TOLD = ("engine", "weights", "disk")


def show_start(
    console: Console,
    plan: DeploymentPlan,
    order: Order,
    path: Path | None,
    findings: Sequence[Finding],
) -> None:
    """The model, the engine, the split, the port, the plan; then what the checks found.

    `path` is the plan file that was named; None: the current plan is started.
    """
    scheme = "https" if order.tls_cert else "http"
    where = order.on if order.on != "local" else f"{scheme}://{order.host}:{order.port}"
    lines = [f"Starting {split_of(plan)} with {order.backend}, at {where}"]
    lines.append(f"  plan: {path or 'the current one'}")
    lines += [f"  {f.check}: {f.seen}" for f in findings if f.check in TOLD and f.verdict == "ok"]
    for line in lines:
        console.print(line, soft_wrap=True)
    show_warnings(console, findings)


def split_of(plan: DeploymentPlan) -> str:
    """The model, how it is split, and over what."""
    split, cluster = plan.parallelism, plan.cluster
    replicas = f"{split.replicas} replica{'' if split.replicas == 1 else 's'}"
    return f"{plan.model.id}: {split.words}, {replicas} on {cluster.count}x {cluster.gpu}"
