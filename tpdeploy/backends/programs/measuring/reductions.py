"""All-reduces of several widths, by the engine's kernel or PyTorch's."""

import time
from collections.abc import Callable
from functools import partial
from statistics import quantiles
from typing import Any

import torch
import torch.distributed as dist

from .machine import ALTERED, Machine

MESSAGES = tuple(4**n for n in range(6, 13))  # bytes: 4 KiB to 16 MiB
REDUCTIONS = 20  # in a row between two looks at the clock
REPEATS, UNCOUNTED = 5, 2


def reductions(machine: Machine, number: int) -> None:
    """All-reduces of the first 2, 4, 8 … ranks, and of all."""
    widths = [width for width in (2, 4, 8, 16) if width < machine.ranks]
    for width in (*widths, machine.ranks) if machine.ranks > 1 else ():
        group = dist.new_group(list(range(width)))
        if machine.rank < width:
            _reduce(machine, group, width, f"tpdeploy-{number}-{width}")
        dist.barrier()


def _reduce(machine: Machine, group: Any, width: int, name: str) -> None:
    reduce, algorithm = _reducer(machine, group, width, name)
    for size in MESSAGES:
        values = machine.values(size // 2)
        taken = []
        for _ in range(UNCOUNTED + REPEATS):
            dist.barrier(group)
            begun = time.perf_counter()
            for _ in range(REDUCTIONS):
                reduce(values)
            if not machine.on_cpu:
                torch.cuda.synchronize(machine.device)
            taken.append((time.perf_counter() - begun) / REDUCTIONS)
        low, middle, high = quantiles(taken[UNCOUNTED:], n=4)
        found = {"seconds": middle, "spread": (high - low) / middle}
        machine.tell("all-reduce", shape={"group": width, "bytes": size}, kernel=algorithm, **found)


def _reducer(
    machine: Machine, group: Any, width: int, name: str
) -> tuple[Callable[[torch.Tensor], object], str]:
    """The all-reduce of the engine, and its algorithm."""
    if not machine.on_cpu:
        return partial(dist.all_reduce, group=group), "nccl"
    try:
        import vllm._custom_ops  # noqa: F401 - it loads the kernels

        kernels = torch.ops._C
        # Builds for CPUs without AVX-512 have none, and the engine takes PyTorch's as well.
        if not hasattr(kernels, "init_shm_manager"):
            return partial(dist.all_reduce, group=group), "gloo"
        threads = torch.get_num_threads()
        handle = kernels.init_shm_manager(name, width, machine.rank, threads)
        dist.barrier(group)
        kernels.join_shm_manager(handle, name)
        dist.barrier(group)
    except ALTERED as error:
        machine.remark("vLLM's all-reduce", error)
        return partial(dist.all_reduce, group=group), "gloo"
    return partial(kernels.shm_allreduce, handle), "shared-memory"
