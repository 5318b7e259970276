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


def keep_previous(plan: DeploymentPlan) -> str:
    """What `plan` is about to replace as the current plan, in words; nothing if that is the same.

    What is replaced is kept beside it. One of another release is not read, and not kept.
    """
    try:
        previous = read_record(current_plan_path(), DeploymentPlan)
    except InputError:
        return ""
    if _starts(previous) == _starts(plan):
        return ""
    kept = current_plan_path().with_name("previous-plan.yaml")
    write_whole(kept, dump_record(previous))
    split = f"{previous.parallelism.words} x {previous.parallelism.replicas}"
    devices = f"{previous.cluster.count}x {previous.cluster.gpu}"
    return (
        f"This is now the plan that launch starts. The one before, {previous.model.id} with "
        f"{previous.backend}, {split} on {devices}, is in {kept}"
    )


def _starts(plan: DeploymentPlan) -> tuple[object, ...]:
    """What decides what a launch of `plan` starts."""
    return plan.model, plan.cluster, plan.backend, plan.parallelism, plan.placement, plan.limits


def write_plan(plan: DeploymentPlan, path: Path | None) -> Path:
    """Write the plan whole to `path`, or remember it as the current plan; return where it is."""
    target = path or current_plan_path()
    write_whole(target, dump_record(plan))
    return target
