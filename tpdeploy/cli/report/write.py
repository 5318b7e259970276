"""Writing a report, where the libraries that draw it are installed."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tpdeploy.errors import InputError
from tpdeploy.files import kind_of, write_whole
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.model.layer_split import LayerSplit
from tpdeploy.planner.plan import DeploymentPlan

if TYPE_CHECKING:
    from tpdeploy.harness.measure.sweep import SweepReport

NEEDED = ("jinja2", "matplotlib")
PICTURES = (".svg", ".png")


def check_report(path: Path | None) -> None:
    """Check that a report can be written to `path`, if one is wanted.

    Raises:
        InputError: a library is missing, or `path` is a folder or no possible name.
    """
    if path is None:
        return
    _check("--report", path, NEEDED, "report.html")


def check_picture(option: str, path: Path | None, kinds: Sequence[str] = PICTURES) -> None:
    """Check that a picture can be written to `path`, if one is wanted.

    Raises:
        InputError: the library is missing, or `path` is a folder or of another kind.
    """
    if path is None:
        return
    if path.suffix.lower() not in kinds:
        raise InputError(f"{option} {path}: name a file that ends in {' or '.join(kinds)}")
    _check(option, path, ("matplotlib",), f"picture{kinds[0]}")


def _check(option: str, path: Path, needed: Sequence[str], example: str) -> None:
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise InputError(
            f"{option} needs {' and '.join(missing)}; install: pip install 'tpdeploy[report]'"
        )
    if kind_of(path) == "folder":
        raise InputError(f"{option} {path}: is a folder; name a file, as {example}")


def write_report(
    path: Path, inputs: PlanInputs, plan: DeploymentPlan, sweep: "SweepReport | None" = None
) -> None:
    """Write `plan`, which answers `inputs`, and what was measured of it as one HTML file.

    Raises:
        TpdeployError: the file cannot be written.
    """
    # Imported where they are used: matplotlib takes half a second, which no other command spends.
    from tpdeploy.cli.report.content import gather  # noqa: PLC0415
    from tpdeploy.cli.report.page import render  # noqa: PLC0415

    write_whole(path, render(gather(inputs, plan, sweep), datetime.now(UTC)))


def write_plot(path: Path, inputs: PlanInputs, plan: DeploymentPlan) -> None:
    """Write the day of `plan`, which answers `inputs`, or its throughput against TPOT.

    Raises:
        TpdeployError: the file cannot be written.
    """
    from tpdeploy.cli.report.content import gather  # noqa: PLC0415 - as above
    from tpdeploy.cli.report.plots import save_plot  # noqa: PLC0415

    save_plot(gather(inputs, plan), path)


def write_layer(path: Path, split: LayerSplit) -> None:
    """Write a picture of `split`.

    Raises:
        TpdeployError: the file cannot be written.
    """
    from tpdeploy.cli.report.layer_picture import save_layer  # noqa: PLC0415 - as above

    save_layer(split, path)
