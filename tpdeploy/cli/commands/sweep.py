"""A sweep as `tpdeploy validate` runs it: each load measured and kept, then all together."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tpdeploy.backends.inputs import inputs_of
from tpdeploy.cli.output import err
from tpdeploy.cli.report.write import write_report
from tpdeploy.errors import InputError
from tpdeploy.files import data_home, write_whole
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.harness.measure.sweep import SweepReport, predicted, sweep_report
from tpdeploy.planner.plan import DeploymentPlan, Prediction
from tpdeploy.planner.search.recorded import predict_recorded
from tpdeploy.planner.search.replay import predict_plan
from tpdeploy.planner.trace import Trace
from tpdeploy.planner.workload import Workload

STAMP = "%Y%m%dT%H%M%S.%fZ"
# Measures one load, of which this is expected. Its number draws the prompts: no two loads of a
# sweep send the same ones, which the server might still have in its prefix cache.
Measure = Callable[[Workload, Prediction, int], ValidationReport]


def run_sweep(
    plan: DeploymentPlan, loads: Sequence[Workload], measure: Measure, html: Path | None
) -> SweepReport:
    """Measure `plan` under each of `loads`, keep each report, and write all as `html` if asked.

    Raises:
        InputError: the plan's model or devices are not known here.
        TpdeployError: a load of which not one request succeeded; what was measured before is kept.
    """
    inputs = inputs_of(plan)
    predictions = predict_plan(inputs, plan, loads)
    reports = []
    for number, (load, prediction) in enumerate(zip(loads, predictions, strict=True)):
        reports.append(predicted(measure(load, prediction, number), prediction))
        keep(reports[-1], None)
    sweep = sweep_report(reports, predictions)
    if html:
        write_report(html, inputs, plan, sweep)
    return sweep


def run_one(
    plan: DeploymentPlan,
    load: Workload,
    measure: Measure,
    html: Path | None,
    trace: Trace | None = None,
) -> ValidationReport:
    """Measure `plan` under one load, predicted for it, and write `html` if asked.

    Nothing is predicted, and that is said, where the plan's model or devices are not known here.

    Raises:
        InputError: they are not, and the page was asked for.
        TpdeployError: not one request succeeded.
    """
    try:
        inputs = inputs_of(plan)
    except InputError as error:
        if html:
            raise
        err.print(f"No prediction under this load: {error}", soft_wrap=True)
        return measure(load, plan.prediction, 0)
    if trace:
        prediction = predict_recorded(inputs, plan, load, trace)
    else:
        (prediction,) = predict_plan(inputs, plan, [load])
    report = predicted(measure(load, prediction, 0), prediction)
    if html:
        write_report(html, inputs, plan, sweep_report([report], [prediction]))
    return report


def keep(report: ValidationReport | SweepReport, path: Path | None) -> Path:
    """Write `report` to `path`, or where its kind is kept; return where it is."""
    folder = "sweeps" if isinstance(report, SweepReport) else "validations"
    target = path or data_home() / folder / f"{report.started_at:{STAMP}}.json"
    write_whole(target, report.model_dump_json(indent=2) + "\n")
    return target
