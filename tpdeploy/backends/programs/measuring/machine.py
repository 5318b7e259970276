"""Machine: what is measured, one share of a CPU or one GPU, and how it is timed."""

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle, islice
from pathlib import Path
from statistics import quantiles
from typing import Any

import torch
import torch.distributed as dist

Run = Callable[[], object]

# What calling an engine's kernels raises where another release has them otherwise, or none has.
ALTERED = (ImportError, AttributeError, TypeError, RuntimeError)
# Weights of a model are read once a step: copies are used in turn, so that no cache holds them.
UNCACHED_BYTES = 192 * 2**20
MOST_COPIES = 128
LEAST_REPEATS = 3  # of what takes long
MOST_IN_TURN = 16  # of the copies: as many repeats of all of a hundred take minutes
LEAST_IN_GRAPH = 16  # kernels, so that the ends of a replay do not count


@dataclass
class Machine:
    """One share of a CPU, or one GPU."""

    rank: int
    ranks: int
    device: torch.device
    seconds: float
    dtype: torch.dtype

    @property
    def on_cpu(self) -> bool:
        """Whether it is a share of a CPU."""
        return self.device.type == "cpu"

    def tell(self, kind: str, **figures: object) -> None:
        """Print one object, on the first rank only."""
        if self.rank == 0:
            print(json.dumps({"kind": kind, **figures}), flush=True)

    def remark(self, what: str, error: Exception) -> None:
        """Say that `what` could not be measured, and PyTorch's is instead."""
        reason = str(error).partition("\n")[0]
        self.tell("remark", text=f"{what} cannot be called here: {type(error).__name__}: {reason}")

    def time(self, runs: Sequence[Run]) -> dict[str, float]:
        """Median seconds of one of `runs`, done one after the other, and their spread.

        All ranks begin together. The spread is the middle half's width over the median.
        """
        each = min(len(runs), MOST_IN_TURN) if self.on_cpu else len(runs)
        turn = _next_of(runs, each) if self.on_cpu else _replay(runs)
        dist.barrier()
        taken = [turn()]
        end = time.perf_counter() + self.seconds
        while time.perf_counter() < end or len(taken) < LEAST_REPEATS:
            taken.append(turn())
        low, middle, high = quantiles(taken, n=4)
        return {"seconds": middle / each, "spread": (high - low) / middle}

    def values(self, *shape: int) -> torch.Tensor:
        """Random values in the dtype of serving."""
        return torch.randn(*shape, device=self.device).to(self.dtype)


def _next_of(runs: Sequence[Run], each: int) -> Callable[[], float]:
    """What tells the CPU's seconds of the `each` of `runs` that come next, the first ones again."""
    _turn(runs)  # a kernel is built when it is first called
    coming = cycle(runs)
    return lambda: _turn(list(islice(coming, each)))


def _turn(runs: Sequence[Run]) -> float:
    """Seconds of all of `runs`, one after the other."""
    begun = time.perf_counter()
    for run in runs:
        run()
    return time.perf_counter() - begun


def _replay(runs: Sequence[Run]) -> Callable[[], float]:
    """What tells the GPU's seconds of all of `runs`: a graph of them is replayed."""
    times = max(1, LEAST_IN_GRAPH // len(runs))
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # what is done once, as choosing a kernel, is not captured
        _turn(runs)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # NCCL's own thread looks at its events meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        for _ in range(times):
            _turn(runs)

    def turn() -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1e3 / times

    turn()
    return turn


def machine_of(rank: int, ranks: int, job: dict[str, Any]) -> Machine:
    """The share or the GPU of `rank`."""
    if job["cpus"]:
        cores = job["cpus"][rank]
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(len(cores))
        return Machine(rank, ranks, torch.device("cpu"), job["seconds"], torch.bfloat16)
    device = torch.device("cuda", job["devices"][rank])
    torch.cuda.set_device(device)
    wide = torch.cuda.get_device_capability(device) >= (8, 0)
    dtype = torch.bfloat16 if wide else torch.float16
    return Machine(rank, ranks, device, job["seconds"], dtype)


def identity(machine: Machine, distribution: str) -> dict[str, object]:
    """Its name, and the releases of what runs on it."""
    versions = {"torch": torch.__version__}
    with suppress(PackageNotFoundError):
        versions = {distribution: version(distribution), **versions}
    if machine.on_cpu:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return {"name": names[0] if names else "CPU", "versions": versions}
    versions["cuda"] = str(torch.version.cuda)
    return {"name": torch.cuda.get_device_name(machine.device), "versions": versions}


def uncached(size: int) -> int:
    """Copies of `size` bytes that no cache holds together."""
    return min(MOST_COPIES, 1 + UNCACHED_BYTES // size)
