"""`tpdeploy doctor`: what is wrong with this machine, or in the way of a plan on it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from tpdeploy.backends.base import Platform
from tpdeploy.backends.registry import load_backend
from tpdeploy.cli.options import launch as given
from tpdeploy.cli.output import err, out, print_json
from tpdeploy.cli.planfile import current_plan_path, read_plan
from tpdeploy.cli.views.doctor import show_finding, show_summary
from tpdeploy.errors import InputError
from tpdeploy.launcher.doctor.case import Case
from tpdeploy.launcher.doctor.checks import CHECKS, examine
from tpdeploy.launcher.doctor.finding import Finding
from tpdeploy.launcher.runtimes.base import Engine
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.profiles.machine.detect import detect
from tpdeploy.profiles.record import Record

DEFAULT_BACKEND = "vllm"

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Examination(Record):
    """Everything that was found."""

    findings: tuple[Finding, ...]


@app.command()
def doctor(
    plan: Annotated[
        Path | None,
        typer.Argument(help="Plan file. [default: current plan; without one, the machine alone]"),
    ] = None,
    *,
    backend: Annotated[
        str | None, typer.Option(help="Engine. [default: the plan's; without one, vllm]")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only what launch checks: no all-reduce.")
    ] = False,
    executable: given.Executable = None,
    python: given.Python = None,
    container: given.Container = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check whether this machine can run the plan.

    Driver, devices, memory, links, engine, limits, disk, hub, and an all-reduce over the plan's
    groups. Each line is ok, a warning or a fail, with what helps. Exit code 1 if anything fails.
    """
    chosen = read_plan(plan) if plan or current_plan_path().exists() else None
    case = Case(_engine(chosen, backend, executable, python, container), chosen)
    found = []
    for finding in _examined(case, quick=quick):
        found.append(finding)
        if not json:
            show_finding(out, finding)
    if json:
        print_json(Examination(findings=tuple(found)))
    else:
        show_summary(out, found)
    if any(finding.verdict == "fail" for finding in found):
        raise typer.Exit(1)


def _engine(
    plan: DeploymentPlan | None,
    backend: str | None,
    executable: Path | None,
    python: Path | None,
    image: str | None,
) -> Engine:
    platform = plan.cluster.platform if plan else _platform()
    name = backend or (plan.backend if plan else DEFAULT_BACKEND)
    return Engine(load_backend(name), platform, executable, python, image or "")


def _platform() -> Platform:
    """Of this machine; GPUs that no plan can be made for are examined all the same."""
    try:
        return detect().accelerator.platform
    except InputError:
        return "cuda"


def _examined(case: Case, *, quick: bool) -> Iterator[Finding]:
    """The quick checks, then the slow ones while something moves in a terminal."""
    yield from examine(case, [check for check in CHECKS if check.quick])
    if quick:
        return
    slow = [check for check in CHECKS if not check.quick]
    with err.status(f"{', '.join(check.name for check in slow)} ...", spinner="line"):
        found = list(examine(case, slow))
    yield from found
