"""`tpdeploy validate`: measure a running deployment; hold it against prediction and target."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from tpdeploy.cli.output import err, out, print_json
from tpdeploy.cli.planfile import read_plan
from tpdeploy.cli.validation_view import load_in_words, show_report
from tpdeploy.errors import InputError
from tpdeploy.files import data_home, write_whole
from tpdeploy.harness.client import key_from_environment
from tpdeploy.harness.recorder import Progress
from tpdeploy.harness.report import ValidationReport
from tpdeploy.harness.validation import Measurement, measurement
from tpdeploy.harness.validation import validate as measure
from tpdeploy.launcher.state import running_endpoint
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.workload import Workload

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def validate(
    plan: Annotated[
        Path | None, typer.Argument(help="Plan file. [default: the running deployment's]")
    ] = None,
    *,
    url: Annotated[
        str | None, typer.Option(help="Endpoint, instead of the running deployment's.")
    ] = None,
    name: Annotated[str, typer.Option(help="Which running deployment.")] = "default",
    requests: Annotated[
        int | None, typer.Option(min=1, help="Requests to measure. [default: 4 rounds, 32 or more]")
    ] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds to measure; with --requests, the first.")
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option(min=0, help="Most warm-up requests. [default: 3 rounds, fewer if settled]"),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests in flight, instead of the plan's load.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Requests a second, instead of the plan's load.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Report file. [default: kept, and named]")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Measure latency under the plan's workload. Exit code 1: a target missed, a request failed."""
    endpoint, deployed = _target(plan, url, name)
    workload = _workload(deployed.workload, concurrency, rate)
    how = measurement(workload, requests, duration, warmup)
    report = _run(deployed, endpoint, how)
    path = output or _default_path(report)
    write_whole(path, report.model_dump_json(indent=2) + "\n")
    if json:
        print_json(report)
    else:
        show_report(out, report, path)
    if report.verdict == "fail":
        raise typer.Exit(1)


def _target(plan: Path | None, url: str | None, name: str) -> tuple[str, DeploymentPlan]:
    """The endpoint to measure and the plan to hold it against."""
    if url is not None:
        return url, read_plan(plan)
    running = running_endpoint(name)
    return running.url, read_plan(plan) if plan else running.plan


def _workload(planned: Workload, concurrency: int | None, rate: float | None) -> Workload:
    """The plan's workload, or the same requests under another load."""
    if concurrency is None and rate is None:
        return planned
    if concurrency is not None and rate is not None:
        raise InputError("--concurrency and --rate: give one of them, not both")
    if rate is not None and rate <= 0:
        raise InputError(f"--rate {rate:g}: must be greater than 0")
    return planned.model_copy(update={"concurrency": concurrency, "rate": rate})


def _run(plan: DeploymentPlan, endpoint: str, how: Measurement) -> ValidationReport:
    with _progress_bar() as bar:
        task = bar.add_task("warm-up", total=how.warm_up)
        bar.console.print(f"Measuring {endpoint}: {load_in_words(how.workload)}", style="dim")

        def show(progress: Progress) -> None:
            failed = f", {progress.failed} failed" if progress.failed else ""
            bar.update(
                task,
                description=progress.phase + failed,
                completed=progress.done,
                total=progress.total,
            )

        return asyncio.run(
            measure(plan, endpoint, how, api_key=key_from_environment(), on_progress=show)
        )


@contextmanager
def _progress_bar() -> Iterator[Bar]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(
        *columns, TimeElapsedColumn(), console=err, transient=True, disable=not err.is_terminal
    ) as bar:
        yield bar


def _default_path(report: ValidationReport) -> Path:
    stamp = report.started_at.strftime("%Y%m%dT%H%M%S.%fZ")
    return data_home() / "validations" / f"{stamp}.json"
