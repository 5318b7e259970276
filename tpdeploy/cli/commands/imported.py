"""`tpdeploy validate --from FILE`: what another load generator measured."""

from pathlib import Path

import typer

from tpdeploy.backends.inputs import inputs_of
from tpdeploy.cli.commands.sweep import run_one
from tpdeploy.errors import InputError
from tpdeploy.harness.imported.report import imported_report
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.harness.measure.sweep import predicted
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.replay import predict_plan

# Options that say what to send, and where to: with --from nothing is sent.
SENDING = (
    *("url", "inside", "requests", "duration", "warmup", "concurrency", "rate", "arrivals"),
    *("length_spread", "shared_prefix", "prompts", "sweep", "client_image"),
)


def check_alone(context: typer.Context) -> None:
    """Check that --from is used without the options that say what to send.

    Raises:
        InputError: it does not; the first of them is named.
    """
    for name in SENDING:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            option = name.replace("_", "-")
            raise InputError(f"--from and --{option}: with --from nothing is sent; leave one out")


def run_imported(plan: DeploymentPlan, file: Path, html: Path | None) -> ValidationReport:
    """The run in `file` against `plan`, predicted for its own load; as `html` if asked.

    Raises:
        InputError: what is in `file` cannot be held against this plan; or, under another load
            than the plan's, its model or devices are not known here.
    """
    report = imported_report(file, plan)
    if html:
        return run_one(plan, report.workload, lambda *_: report, html)
    if report.workload == plan.workload:
        return report
    (prediction,) = predict_plan(inputs_of(plan), plan, [report.workload])
    return predicted(report, prediction)
