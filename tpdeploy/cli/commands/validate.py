"""`tpdeploy validate`: measure a running deployment; hold it against prediction and target."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from tpdeploy.api.measuring import measure_here
from tpdeploy.api.trace import as_recorded, stated_trace
from tpdeploy.backends.base import Backend
from tpdeploy.backends.registry import load_backend
from tpdeploy.cli.commands.imported import check_alone, run_imported
from tpdeploy.cli.commands.learn import learn_and_tell
from tpdeploy.cli.commands.send import Send, measure_inside
from tpdeploy.cli.commands.sweep import Measure, keep, run_one, run_sweep
from tpdeploy.cli.options import common as options
from tpdeploy.cli.options import validate as given
from tpdeploy.cli.options.deployment import Name
from tpdeploy.cli.options.plan import TraceBad, TraceFile, TraceSpeed, TraceWindow
from tpdeploy.cli.options.quiet import Quiet
from tpdeploy.cli.output import err, out, print_json
from tpdeploy.cli.planfile import read_plan
from tpdeploy.cli.report.write import check_report
from tpdeploy.cli.views.sweep import show_sweep
from tpdeploy.cli.views.validation import load_in_words, show_report
from tpdeploy.errors import InputError
from tpdeploy.harness.load.recorder import Progress
from tpdeploy.harness.load.requests import Draw, read_requests
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.harness.measure.sweep import SweepReport, loads_of, teaches
from tpdeploy.harness.measure.teaching import Launched
from tpdeploy.harness.measure.validation import (
    Measurement,
    expected_latency_s,
    measurement,
    replay_of,
)
from tpdeploy.launcher.choice import chosen
from tpdeploy.launcher.commands import order_of
from tpdeploy.launcher.control import refuse_parts, seen_now, take_over_orphans
from tpdeploy.launcher.orchestrated import within_reach
from tpdeploy.launcher.own_metrics import OwnMetrics
from tpdeploy.launcher.state import Deployment, Endpoint, deployments, running_endpoint
from tpdeploy.launcher.state import load as load_deployment
from tpdeploy.planner.plan import DeploymentPlan, Prediction
from tpdeploy.planner.trace import Trace
from tpdeploy.planner.workload import Workload

# What a trace says itself.
TOLD_BY_TRACE = (
    *("requests", "duration", "concurrency", "rate", "length_spread", "prompts", "sweep"),
)

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def validate(
    context: typer.Context,
    plan: given.Plan = None,
    *,
    url: given.Url = None,
    name: Name = None,
    inside: given.Inside = False,
    client_image: given.ClientImage = None,
    requests: given.Requests = None,
    duration: given.Duration = None,
    warmup: given.Warmup = None,
    concurrency: given.Concurrency = None,
    rate: given.Rate = None,
    trace: TraceFile = None,
    trace_speed: TraceSpeed = None,
    trace_window: TraceWindow = None,
    trace_bad: TraceBad = None,
    arrivals: given.Arrivals = "poisson",
    length_spread: given.LengthSpread = None,
    shared_prefix: given.SharedPrefix = 0,
    prompts: given.Prompts = None,
    seed: given.Seed = None,
    sweep: given.Sweep = None,
    from_: given.From = None,
    report: given.Report = None,
    output: given.Output = None,
    json: given.Json = False,
    quiet: Quiet = False,
    verbose: given.Verbose = False,
) -> None:
    """Measure latency under the plan's workload.

    Exit code 1: a target is missed, too few requests tell whether one is met, or a request failed.
    """
    check_report(report)
    if from_ is not None:
        check_alone(context)
        imported = run_imported(_planned(plan, name), from_, report)
        _tell(imported, output, report, json=json, explained=verbose)
        return
    if client_image and not inside:
        raise InputError(f"--client-image {client_image}: add --inside")
    endpoint, deployment = _target(plan, url, name)
    deployed = endpoint.plan
    stated = stated_trace(context.params, TOLD_BY_TRACE)
    most, before = deployed.limits.max_model_len, deployed.workload.recording
    recorded = stated.read(most, before) if stated else None
    load = _load(context.params, deployed.workload, recorded)
    run = _runner(context.params, endpoint, deployment, recorded)
    found = _measured(deployed, load, sweep, run, report, trace=recorded)
    _learn(found, deployed)
    _tell(found, output, report, json=json, explained=verbose)


def _runner(
    params: Mapping[str, Any],
    endpoint: Endpoint,
    deployment: Deployment | None,
    recorded: Trace | None,
) -> Measure:
    """What measures one load of the endpoint, as the options say."""
    engine = load_backend(deployment.backend if deployment else endpoint.plan.backend)
    launched = _launched(deployment.name) if deployment else None
    inside, seed = params["inside"], params["seed"]
    send = _sender(deployment, params["prompts"], params["client_image"], inside=inside)
    # Prompts of an earlier run may still be in the server's prefix cache.
    first_seed = secrets.randbelow(2**31) if seed is None else seed

    def run(sent: Workload, prediction: Prediction, number: int) -> ValidationReport:
        how = replace(
            _measurement(params, sent, prediction, recorded),
            draw=Draw(first_seed + number, params["shared_prefix"]),
            exact=engine.fixes_output_length,
        )
        own = _own_metrics(deployment, engine)
        with nullcontext(endpoint) if inside else within_reach(endpoint, deployment) as reached:
            return _run(reached, how, own, launched, send)

    return run


def _own_metrics(deployment: Deployment | None, engine: Backend) -> OwnMetrics | None:
    """What the engines themselves measure, where each of them can be asked."""
    if deployment is None or deployment.orchestrator:
        return None
    return OwnMetrics(deployment, engine)


def _measured(
    plan: DeploymentPlan,
    load: Workload,
    sweep: str | None,
    run: Measure,
    report: Path | None,
    *,
    trace: Trace | None,
) -> ValidationReport | SweepReport:
    """Several loads, one that is not the plan's or has a page to fill, or the plan's own."""
    if sweep is not None:
        loads = loads_of(sweep, load)
        for each in loads:
            options.under(load, concurrency=each.concurrency, rate=each.rate)
        return run_sweep(plan, loads, run, report)
    if report or load != plan.workload:
        return run_one(plan, load, run, report, trace)
    return run(load, plan.prediction, 0)


def _learn(found: ValidationReport | SweepReport, plan: DeploymentPlan) -> None:
    """Keep it where plans learn from it, if it teaches; a sweep has kept its runs."""
    if not teaches(found):
        return
    if isinstance(found, ValidationReport):
        keep(found, None)
    learn_and_tell(plan.backend, plan.cluster.gpu)


def _tell(
    found: ValidationReport | SweepReport,
    output: Path | None,
    report: Path | None,
    *,
    json: bool,
    explained: bool,
) -> None:
    """Keep and show what was found; exit with 1 if that is a failure."""
    path = keep(found, output)
    if report:
        err.print(f"Page written: {report}", soft_wrap=True)
    if json:
        print_json(found)
    elif isinstance(found, SweepReport):
        show_sweep(out, found, path)
    else:
        show_report(out, found, path, explained=explained)
    if found.verdict in {"fail", "unknown"}:
        raise typer.Exit(1)


def _planned(plan: Path | None, name: str | None) -> DeploymentPlan:
    """The plan given, else the running deployment's, else the current one."""
    if plan is None and (name or any(deployment.running for deployment in deployments())):
        name = chosen(name)
        deployment = load_deployment(name)
        if deployment and deployment.running:
            return running_endpoint(name).plan
    return read_plan(plan)


def _target(
    plan: Path | None, url: str | None, name: str | None
) -> tuple[Endpoint, Deployment | None]:
    """The endpoint to measure, the plan to hold it against, and whose it is."""
    if url is not None:
        return Endpoint(url=url, plan=read_plan(plan)), None
    take_over_orphans()
    name = chosen(name)
    seen_now(name)
    found = running_endpoint(name)
    refuse_parts(name)
    endpoint = found.changed(plan=read_plan(plan)) if plan else found
    return endpoint, load_deployment(name)


def _launched(name: str) -> Launched:
    """What the running deployment called `name` was started with."""
    order = order_of(name)
    return Launched(running_endpoint(name).plan, order.backend, order.engine_args)


def _measurement(
    asked: Mapping[str, Any], sent: Workload, prediction: Prediction, recorded: Trace | None
) -> Measurement:
    """How a load is measured, but for its prompts and whether answers have exact lengths."""
    if recorded:
        how = replay_of(sent, recorded, asked["warmup"])
    else:
        latency_s = expected_latency_s(prediction, sent)
        how = measurement(sent, asked["requests"], asked["duration"], asked["warmup"], latency_s)
    return replace(how, arrivals=asked["arrivals"], prompts=asked["prompts"])


def _load(asked: Mapping[str, Any], planned: Workload, recorded: Trace | None) -> Workload:
    """What is sent: as recorded, or the plan's requests under the load that was asked for."""
    concurrency, rate, sweep = asked["concurrency"], asked["rate"], asked["sweep"]
    if sweep is not None and (concurrency or rate):
        raise InputError(f"--sweep {sweep}: names the loads; leave --concurrency and --rate out")
    if recorded:
        return as_recorded(planned, recorded)
    load = _workload(planned, concurrency, rate, asked["length_spread"])
    if asked["prompts"]:
        read_requests(asked["prompts"], load.output_tokens)  # a bad file is told before the first
    return load


def _workload(
    planned: Workload, concurrency: int | None, rate: float | None, length_spread: float | None
) -> Workload:
    """The plan's workload, or the same requests under another load or of other lengths."""
    if concurrency is not None and rate is not None:
        raise InputError("--concurrency and --rate: give one of them, not both")
    if concurrency is None and rate is None:
        if length_spread is None:
            return planned
        concurrency, rate = planned.concurrency, planned.rate
    return options.under(planned, concurrency=concurrency, rate=rate, length_spread=length_spread)


def _run(
    endpoint: Endpoint,
    how: Measurement,
    own: OwnMetrics | None,
    launched: Launched | None,
    send: Send,
) -> ValidationReport:
    with _progress_bar() as bar:
        task = bar.add_task("starting", total=how.warm_up)
        bar.console.print(f"Measuring {endpoint.url}: {load_in_words(how.workload)}", style="dim")

        def show(progress: Progress) -> None:
            if own and progress.phase == "measurement":
                own.begin()
            failed = f", {progress.failed} failed" if progress.failed else ""
            bar.update(
                task,
                description=progress.phase + failed,
                completed=progress.done,
                total=progress.total,
            )

        found = send(endpoint, how, launched, show)
    return found.changed(engine_ms=own.end()) if own else found


def _sender(
    deployment: Deployment | None, prompts: Path | None, image: str | None, *, inside: bool
) -> Send:
    """What measures from here, or from a machine where the replicas are."""
    if not inside:
        return measure_here
    if deployment is None:
        raise InputError("--inside is for a deployment that launch --on started; leave --url out")
    if prompts:
        raise InputError("--inside: --prompts is a file of this machine; leave one of them out")
    return measure_inside(deployment, image or "")


@contextmanager
def _progress_bar() -> Iterator[Bar]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Bar(
        *columns, TimeElapsedColumn(), console=err, transient=True, disable=not err.is_terminal
    ) as bar:
        yield bar
