"""Writing a report, where the libraries that draw it are installed."""

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tpdeploy.errors import InputError
from tpdeploy.files import kind_of, write_whole
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.question import Question

if TYPE_CHECKING:
    from tpdeploy.harness.measure.sweep import SweepReport

NEEDED = ("jinja2", "matplotlib")


def check_report(path: Path | None) -> None:
    """Nothing, if a report can be written to `path`, or none is wanted.

    Raises:
        InputError: a library is missing, or `path` is a folder or no possible name.
    """
    if path is None:
        return
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"--report needs {' and '.join(missing)}; install: pip install 'tpdeploy[report]'"
        )
    if kind_of(path) == "folder":
        raise InputError(f"--report {path}: is a folder; name a file, as report.html")


def write_report(
    path: Path, question: Question, plan: DeploymentPlan, sweep: "SweepReport | None" = None
) -> None:
    """Write `plan`, which answers `question`, and what was measured of it as one HTML file.

    Raises:
        TpdeployError: the file cannot be written.
    """
    # Imported where they are used: matplotlib takes half a second, which no other command spends.
    from tpdeploy.cli.report.content import gather  # noqa: PLC0415
    from tpdeploy.cli.report.page import render  # noqa: PLC0415

    write_whole(path, render(gather(question, plan, sweep), datetime.now(UTC)))
