"""Learning from the validations that were kept on this machine."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tpdeploy.errors import InputError
from tpdeploy.files import data_home
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.learning.calibrations import shares_of
from tpdeploy.learning.corrections import Correction, ModelClass, find, forget, keep, model_class
from tpdeploy.learning.fit import Learned, Run, gains, learn, median_errors
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.records import read_json_record

# The newest two of each load and split, of the same engine: together they show how much a machine
# varies; older ones tell of an older engine or driver.
REPEATS = 2
MOST_RUNS = 12
MOST_FILES = 200

Ask = Callable[[DeploymentPlan], PlanInputs]
Lesson = tuple[ValidationReport, Run]


def validations() -> Iterator[ValidationReport]:
    """The reports of single loads kept here, newest first."""
    files = sorted((data_home() / "validations").glob("*.json"), reverse=True)
    for path in files[:MOST_FILES]:
        report = _read(path)
        if report:
            yield report


@dataclass(frozen=True)
class Taught:
    """What is kept for a class of models: the new fit, the one before, or nothing."""

    correction: Correction
    kept: Literal["new", "old", "none"]


def relearn(engine: str, device: str, ask: Ask) -> list[Taught]:
    """Fit `engine` on `device` again to the validations that are kept, and store the result.

    One correction per class of models and way of sharing a CPU's cores. `ask` gives the question
    that a plan answers, counted without correction; runs of models that are gone are left out.
    """
    groups: dict[tuple[ModelClass, tuple[int, ...]], list[Lesson]] = defaultdict(list)
    for report in _teaching(engine, device):
        try:
            inputs = ask(report.plan)
        except InputError:
            continue
        group = groups[model_class(inputs.shape), shares_of(inputs.cluster)]
        if len(group) < MOST_RUNS:
            group.append((report, _run(report, inputs)))
    return [_taught(kind, lessons) for (kind, _), lessons in groups.items()]


def _teaching(engine: str, device: str) -> Iterator[ValidationReport]:
    """The newest reports of each load and split, of those that plans may learn from."""
    seen: dict[tuple[str, str, str], list[str | None]] = defaultdict(list)
    for report in validations():
        plan = report.plan
        split, server = plan.parallelism.model_dump_json(), report.versions.get("server")
        key = plan.model.model_dump_json(), split, _load(report)
        repeats = seen[key]
        same = (plan.backend, plan.cluster.gpu) == (engine, device)
        new = len(repeats) < REPEATS and {*repeats} <= {server}
        if report.not_learned is None and same and new:
            repeats.append(server)
            yield report


def _load(report: ValidationReport) -> str:
    """What was sent; targets change nothing of it."""
    return report.workload.model_dump_json(exclude={"ttft", "tpot"})


def _read(path: Path) -> ValidationReport | None:
    try:
        return read_json_record(path, ValidationReport)
    except InputError:  # an older version's, or removed meanwhile
        return None


def _run(report: ValidationReport, inputs: PlanInputs) -> Run:
    measured = report.measured
    tpot = measured.tpot_ms.mean if measured.tpot_ms else None
    return Run(inputs, report.plan, report.workload, measured.ttft_ms.mean, tpot)


def _taught(kind: ModelClass, lessons: list[Lesson]) -> Taught:
    """Keep the fit if it is nearer than no correction, else the one before if that is."""
    runs = [run for _, run in lessons]
    learned, inputs = learn(runs), runs[0].inputs
    correction = _correction(kind, lessons, learned)
    if gains(learned.before, learned.after):
        keep(correction)
        return Taught(correction, "new")
    old = _known(inputs)
    if old and gains(learned.before, median_errors(runs, old.factors)):
        return Taught(correction, "old")
    forget(correction)
    return Taught(correction, "none")


def _known(inputs: PlanInputs) -> Correction | None:
    try:
        return find(inputs.cluster, inputs.shape)
    except InputError:  # a broken file; what is learned replaces it
        return None


def _correction(kind: ModelClass, lessons: list[Lesson], learned: Learned) -> Correction:
    runs, times = [run for _, run in lessons], [report.started_at for report, _ in lessons]
    cluster = runs[0].inputs.cluster
    return Correction(
        engine=cluster.efficiency.engine,
        device=cluster.accelerator.name,
        shares=shares_of(cluster),
        model_class=kind,
        base=cluster.measured,
        factors=learned.factors,
        models=tuple(sorted({run.plan.model.id for run in runs})),
        runs=len(runs),
        last=max(times),
        ttft_error_before=learned.before.ttft,
        tpot_error_before=learned.before.tpot,
        ttft_error=learned.after.ttft,
        tpot_error=learned.after.tpot,
        loads=len({_load(report) for report, _ in lessons}),
        first=min(times),
        ttft_left_out=learned.left_out.ttft,
        tpot_left_out=learned.left_out.tpot,
    )
