"""An all-reduce over the plan's groups, tried in the engine's own environment."""

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from subprocess import Popen
from threading import Thread
from typing import Any

from tpdeploy import backends
from tpdeploy.backends.base import last_exception
from tpdeploy.errors import shown
from tpdeploy.launcher.doctor.case import Case
from tpdeploy.launcher.doctor.devices import taken
from tpdeploy.launcher.doctor.finding import Finding, fail, ok, warning
from tpdeploy.launcher.doctor.topology import groups_to_try, iommu_hint
from tpdeploy.launcher.runtimes.base import Engine
from tpdeploy.launcher.runtimes.processes import reading
from tpdeploy.launcher.runtimes.registry import runtime_for
from tpdeploy.numbers import duration
from tpdeploy.profiles.machine.cores import cores_in

PROGRAM = Path(backends.__file__).parent / "programs" / "allreduce.py"
# Without a step forward of any rank for so long, one hangs. NCCL's own limit is ten minutes.
STEP_TIMEOUT_S = 20.0
# PyTorch takes seconds to load, and a minute from a cold disk.
LOAD_TIMEOUT_S = 90.0
# What a rank does after each step, in the order of the steps.
NEXT = {
    "": "starting Python",
    "started": "loading PyTorch",
    "loaded": "meeting the other ranks",
    "met": "the all-reduce over gloo",
    "gloo": "the all-reduce over NCCL",
}
LOADING = {"", "started"}
MOST_TOLD = 8  # ranks in one line
NCCL_WARNS = "NCCL WARN"
# The variables that help after each step, each set tried by itself.
CURES: Mapping[str, tuple[dict[str, str], ...]] = {
    "met": ({"GLOO_SOCKET_IFNAME": "lo"},),
    "loaded": ({"GLOO_SOCKET_IFNAME": "lo"},),
    "gloo": ({"NCCL_P2P_DISABLE": "1"}, {"NCCL_IB_DISABLE": "1"}),
}
LAST = {"cpu": "gloo", "gpu": "nccl"}


@dataclass
class Tried:
    """How far each rank of each group came, and what went wrong."""

    last: str  # the step after which a rank is at the end
    steps: dict[tuple[int, int], str]
    seconds: float = 0.0  # of the slowest group
    bytes: int = 0
    error: str = ""
    remark: str = ""  # the last warning of NCCL
    limit_s: float = LOAD_TIMEOUT_S  # for the next step forward

    @property
    def whole(self) -> bool:
        """Whether every rank came to the end."""
        return not self.error and all(step == self.last for step in self.steps.values())

    @property
    def furthest_back(self) -> str:
        """The last step that every rank has done."""
        order = [*NEXT, "nccl"]
        return min(self.steps.values(), key=order.index)

    def name(self, group: int, rank: int) -> str:
        """How people call a rank; its group counts where there are several."""
        return f"rank {rank}" + (f" of group {group}" if max(self.steps)[0] else "")

    def take(self, line: Mapping[str, Any]) -> None:
        """Record what a rank reported."""
        if "error" in line:
            who = self.name(line["group"], line["rank"])
            self.error = self.error or f"{who}: {line['error']}"
            return
        self.steps[line["group"], line["rank"]] = line["done"]
        if line["done"] == self.last:
            self.seconds = max(self.seconds, line["seconds"])
            self.bytes = line["bytes"]


def all_reduce(case: Case) -> Iterator[Finding]:
    """Find ranks that never meet in seconds, before an engine waits for them."""
    groups = groups_to_try(case)
    if not groups:
        yield ok("all-reduce", "no group of several ranks to try")
    elif case.environment is None and not case.engine.image:
        remedy = f"tpdeploy backends install {case.engine.backend.name}, or name it with --python"
        yield warning("all-reduce", "not tried: the engine is not installed", remedy)
    elif used := [found for found in taken(case) if found.verdict == "fail"]:
        seen = f"not tried, it would disturb others: {used[0].seen}"
        yield warning("all-reduce", seen, used[0].remedy)
    else:
        yield _finding(case, groups)


def _finding(case: Case, groups: Sequence[Sequence[str]]) -> Finding:
    tried = try_groups(case.engine, groups)
    if tried.whole:
        of = f"{len(groups)} group{'s' if len(groups) > 1 else ''} of {len(groups[0])}"
        size = f"{tried.bytes / 2**20:.0f} MiB in {duration(tried.seconds * 1e3)}"
        return ok("all-reduce", f"{of} over {tried.last}: {size}")
    return fail("all-reduce", where(tried), _remedy(case, groups, tried))


def where(tried: Tried) -> str:
    """What went wrong, or who hangs and who waits for them."""
    remark = f" ({shown(tried.remark)})" if tried.remark else ""
    if tried.error:
        return tried.error + remark
    told = [
        f"{tried.name(*who)} is at {NEXT[step]}"
        for who, step in sorted(tried.steps.items())
        if step != tried.last
    ]
    more = f", and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    return f"no step forward in {tried.limit_s:g} s: {', '.join(told[:MOST_TOLD])}{more}{remark}"


def _remedy(case: Case, groups: Sequence[Sequence[str]], tried: Tried) -> str:
    """What was tried and works; else what may."""
    step = tried.furthest_back
    for cure in CURES.get(step, ()):
        if not set(cure) & set(os.environ) and try_groups(case.engine, groups, cure).whole:
            words = " ".join(f"{name}={value}" for name, value in cure.items())
            also = f"; better: {iommu_hint(case)}" if "NCCL_P2P_DISABLE" in cure else ""
            return f"with it set it works: export {words}{also}"
    if step == "gloo":
        return iommu_hint(case)
    if step in CURES:
        if named := os.environ.get("GLOO_SOCKET_IFNAME"):
            return f"GLOO_SOCKET_IFNAME is {named}: unset it, or set it to lo"
        return "see that this machine's name leads to an address of its own: getent hosts $HOSTNAME"
    python = case.environment.python if case.environment else "the image's python3"
    return f"try it alone: {python} -c 'import torch'"


def try_groups(
    engine: Engine, groups: Sequence[Sequence[str]], variables: Mapping[str, str] | None = None
) -> Tried:
    """Run the program until it ends or hangs; nothing of it is left."""
    ranks = {(g, r): "" for g, group in enumerate(groups) for r in range(len(group))}
    on = "cpu" if engine.platform == "cpu" else "gpu"
    tried = Tried(LAST[on], ranks)
    asked = {"NCCL_DEBUG": "WARN", **(variables or {})}
    cores = [[cores_in(cpus) for cpus in group] for group in groups] if on == "cpu" else None
    arguments = (str(PROGRAM), json.dumps({"on": on, "groups": cores or groups}))
    with (
        runtime_for(engine).run_python(engine, arguments, asked) as argv,
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        suppress(TimeoutError),
    ):
        assert argv is not None  # noqa: S101 - it is installed, or in an image
        with reading(argv, errors, grace_s=0.0) as process:
            _read(process, tried)
        if not tried.whole and not tried.error:
            errors.seek(0)
            told = last_exception(errors.read().splitlines())
            tried.error = told or f"ended with code {process.returncode}"
    return tried


def _read(process: Popen[str], tried: Tried) -> None:
    """Take each line of the program.

    Raises:
        TimeoutError: no rank has gone a step forward for too long.
    """
    lines: Queue[str] = Queue()
    Thread(target=_pass_on, args=(process, lines), daemon=True).start()
    stepped_at = time.monotonic()
    while True:
        try:
            line = lines.get(timeout=max(0.0, stepped_at + tried.limit_s - time.monotonic()))
        except Empty as error:
            raise TimeoutError from error
        if not line:
            return
        begin = line.find('{"group"')  # libraries write into the same pipe
        if begin < 0:
            tried.remark = line.strip() if NCCL_WARNS in line else tried.remark
            continue
        tried.take(json.JSONDecoder().raw_decode(line[begin:])[0])
        stepped_at = time.monotonic()
        if any(step not in LOADING for step in tried.steps.values()):
            tried.limit_s = STEP_TIMEOUT_S


def _pass_on(process: Popen[str], lines: Queue[str]) -> None:
    """Its lines, and an empty one at the end."""
    assert process.stdout is not None  # noqa: S101 - it was asked for as a pipe
    for line in process.stdout:
        lines.put(line)
    lines.put("")
