"""The current plan: where `plan` leaves it and `launch` and `validate` find it."""

from pathlib import Path

from tpdeploy.errors import InputError
from tpdeploy.files import data_home, write_whole
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.records import dump_record, read_record


def current_plan_path() -> Path:
    """Where the last plan is remembered."""
    return data_home() / "plan.yaml"


def read_plan(path: Path | None) -> DeploymentPlan:
    """The plan in `path`, or the current plan when it is None.

    Raises:
        InputError: no such file, no current plan, an unknown key or an impossible value.
    """
    if path is None and not current_plan_path().exists():
        raise InputError("there is no current plan; make one: tpdeploy plan MODEL --gpus 8xH100")
    return read_record(path or current_plan_path(), DeploymentPlan)


def write_plan(plan: DeploymentPlan, path: Path | None) -> Path:
    """Write the plan whole to `path`, or remember it as the current plan; return where it is."""
    target = path or current_plan_path()
    write_whole(target, dump_record(plan))
    return target
