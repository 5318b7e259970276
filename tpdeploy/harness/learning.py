"""Learning from the validations that were kept on this machine."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from tpdeploy.errors import InputError
from tpdeploy.files import data_home
from tpdeploy.harness.report import ValidationReport
from tpdeploy.planner.learning import Run, learn
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.question import Question
from tpdeploy.profiles.learned import Correction, ModelClass, keep, model_class
from tpdeploy.profiles.measured import shares_of

# The newest of each load and split; older ones tell of an older engine or driver.
MOST_RUNS = 12
MOST_FILES = 200

Ask = Callable[[DeploymentPlan], Question]
Lesson = tuple[ValidationReport, Run]


def validations() -> Iterator[ValidationReport]:
    """The reports of single loads kept here, newest first."""
    files = sorted((data_home() / "validations").glob("*.json"), reverse=True)
    for path in files[:MOST_FILES]:
        report = _read(path)
        if report:
            yield report


def relearn(engine: str, device: str, ask: Ask) -> list[Correction]:
    """Learn anew from what is kept of `engine` on `device`, and keep it for plans.

    One correction a class of models and way of sharing a CPU's cores. `ask` gives the question
    that a plan answers, counted without correction; runs of models that are gone are left out.
    """
    groups: dict[tuple[ModelClass, tuple[int, ...]], list[Lesson]] = defaultdict(list)
    for report in _teaching(engine, device):
        try:
            question = ask(report.plan)
        except InputError:
            continue
        group = groups[model_class(question.shape), shares_of(question.cluster)]
        if len(group) < MOST_RUNS:
            group.append((report, _run(report, question)))
    return [_correction(kind, lessons) for (kind, _), lessons in groups.items()]


def _teaching(engine: str, device: str) -> Iterator[ValidationReport]:
    """The newest report of each load and split, of those that plans may learn from."""
    seen: set[tuple[str, str, str]] = set()
    for report in validations():
        plan = report.plan
        split, load = plan.parallelism.model_dump_json(), report.workload.model_dump_json()
        key = plan.model.model_dump_json(), split, load
        same = (plan.backend, plan.cluster.gpu) == (engine, device)
        if report.not_learned is None and same and key not in seen:
            seen.add(key)
            yield report


def _read(path: Path) -> ValidationReport | None:
    try:
        return ValidationReport.model_validate_json(path.read_bytes())
    except (ValidationError, FileNotFoundError):  # an older version's, or removed meanwhile
        return None


def _run(report: ValidationReport, question: Question) -> Run:
    measured = report.measured
    tpot = measured.tpot_ms.mean if measured.tpot_ms else None
    return Run(question, report.plan, report.workload, measured.ttft_ms.mean, tpot)


def _correction(kind: ModelClass, lessons: list[Lesson]) -> Correction:
    runs = [run for _, run in lessons]
    learned, cluster = learn(runs), runs[0].question.cluster
    correction = Correction(
        engine=cluster.efficiency.engine,
        device=cluster.accelerator.name,
        shares=shares_of(cluster),
        model_class=kind,
        base=cluster.measured,
        factors=learned.factors,
        models=tuple(sorted({run.plan.model.id for run in runs})),
        runs=len(runs),
        last=max(report.started_at for report, _ in lessons),
        ttft_error_before=learned.ttft_errors[0],
        tpot_error_before=learned.tpot_errors[0],
        ttft_error=learned.ttft_errors[1],
        tpot_error=learned.tpot_errors[1],
    )
    keep(correction)
    return correction
