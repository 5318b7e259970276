"""Whether the weights are here, or can be downloaded to a disk with room; and room for logs."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from tpdeploy.files import data_home
from tpdeploy.launcher.doctor.case import Case
from tpdeploy.launcher.doctor.finding import Finding, fail, ok, warning
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.profiles.models.hub import checkpoint_sizes, download_problem, endpoint
from tpdeploy.profiles.models.hub_cache import downloaded_bytes, hub_cache
from tpdeploy.profiles.models.weights import weights_problem

GB = 10**9
# Judgements: without the first nothing of a deployment can be written down, with the second its
# logs have room for days.
LEAST_ROOM, AMPLE_ROOM = 16 * 10**6, GB


def weights(case: Case) -> Iterator[Finding]:
    """Where the weights are. Those that are to be downloaded are told by `download`."""
    if case.plan is None or not case.loads_weights:
        return
    model = case.plan.model
    if model.path:
        problem = weights_problem(Path(model.path))
        if problem:
            yield fail("weights", f"{model.path}: {problem}", "copy or download the whole model")
        else:
            yield ok("weights", f"in {model.path}")
    elif case.cached_weights:
        yield ok("weights", f"in {case.cached_weights}")


def download(case: Case) -> Iterator[Finding]:
    """Whether the disk has room for the weights that are not here."""
    plan = case.to_download
    if plan is None:
        return
    cache, model = hub_cache(), plan.model.id
    told = sum(checkpoint_sizes(model).values())
    lacking = max(0, (told or checkpoint_bytes(plan)) - downloaded_bytes(model))
    room = free_bytes(cache)
    about = "" if told else "about "
    size = f"{about}{lacking / GB:,.1f} GB of {model} are to be downloaded"
    seen = f"{size}, {cache} has {room / GB:,.1f} GB of room"
    if room < lacking:
        yield fail("disk", seen, "make room, or set HF_HOME to another disk")
    else:
        yield ok("disk", seen)


def hub(case: Case) -> Iterator[Finding]:
    """Whether the hub gives out the model; asked only where it has to."""
    if case.to_download is None:
        return
    model = case.to_download.model.id
    if told := download_problem(model):
        problem, remedy = told
        yield fail("hub", f"{model} is not on this machine, and {problem}", remedy)
    else:
        yield ok("hub", f"{endpoint()} gives out {model}")


def room(case: Case) -> Iterator[Finding]:
    """Room for state and logs."""
    home = data_home()
    free = free_bytes(home)
    seen = f"{home} has {free / GB:,.1f} GB of room"
    remedy = "make room, or set TPDEPLOY_HOME to another disk"
    if free < LEAST_ROOM:
        yield fail("logs", f"{seen}: logs and state cannot be kept", remedy)
    elif free < AMPLE_ROOM:
        yield warning("logs", f"{seen}, which logs may fill", remedy)
    else:
        yield ok("logs", seen)


def checkpoint_bytes(plan: DeploymentPlan) -> int:
    """Bytes of the checkpoint on disk, about.

    A plain one is `parameters x bytes of its dtype`. Of a quantized one the ranks' weights are
    known, of which replicated tensors count several times.
    """
    model = plan.model
    if model.stored_as is None:
        return model.parameters * (model.native_dtype or model.dtype).bits // 8
    return plan.memory_per_gpu.weights_bytes * plan.parallelism.ranks


def free_bytes(folder: Path) -> int:
    """What the disk has room for, on which `folder` is or would be made."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free
