"""A run of another load generator, compared with a plan."""

import platform
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from tpdeploy import __version__
from tpdeploy.errors import InputError
from tpdeploy.files import MOST_TABLE_BYTES
from tpdeploy.harness.imported.aiperf import read_aiperf
from tpdeploy.harness.imported.run import ImportedRun
from tpdeploy.harness.imported.vllm import read_vllm
from tpdeploy.harness.measure.comparison import compare, overall
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.harness.measure.teaching import Reason
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.workload import Workload
from tpdeploy.records import read_json

KNOWN = "`vllm bench serve --save-result`, aiperf (profile_export_aiperf.json) or genai-perf"


def imported_report(path: Path, plan: DeploymentPlan) -> ValidationReport:
    """The run in the file `path` against `plan`; predicted only under the plan's own load.

    Raises:
        InputError: no such file, of no known tool, of another model, of requests longer than the
            plan allows, or without a statistic that a report has.
    """
    run = _read(path, plan.workload)
    _check(path, run, plan)
    prediction = plan.prediction if run.workload == plan.workload else None
    rows = compare(run.measured, prediction, run.workload)
    return ValidationReport(
        started_at=run.started_at,
        endpoint=str(path),
        measured_by=run.tool,
        not_learned=Reason(kind="tool", why=f"a run that {run.tool} measured"),
        versions={"tpdeploy": __version__, "python": platform.python_version(), "load": run.tool},
        plan=plan,
        workload=run.workload,
        seed=None,
        definitions=run.definitions,
        warm_up=None,
        measured=run.measured,
        rows=rows,
        expected=prediction,
        verdict=overall(rows, run.measured.failed),
        requests=run.requests,
    )


def _read(path: Path, planned: Workload) -> ImportedRun:
    """The run in `path`; its keys tell which tool wrote it."""
    content = _content(path)
    try:
        if "total_input_tokens" in content:
            return read_vllm(content, planned)
        if "request_latency" in content:
            written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            return read_aiperf(content, planned, written)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {where}: {first['msg']}; expected a file of {KNOWN}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    raise InputError(f"{path}: not a result of {KNOWN}")


def _content(path: Path) -> dict[str, object]:
    content = read_json(path, MOST_TABLE_BYTES)
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a result of {KNOWN}")
    return content


def _check(path: Path, run: ImportedRun, plan: DeploymentPlan) -> None:
    """Raise InputError unless the run can be from this deployment."""
    names = {plan.model.id, plan.model.path}
    if not names & set(run.models):
        raise InputError(
            f"{path}: measured {', '.join(run.models)}, the plan is for {plan.model.id}: give the "
            "plan it was launched with"
        )
    limit, load = plan.limits.max_model_len, run.workload
    if load.context_tokens > limit:
        raise InputError(
            f"{path}: {load.input_tokens} tokens in and {load.output_tokens} out exceed the plan's "
            f"max_model_len {limit}"
        )
