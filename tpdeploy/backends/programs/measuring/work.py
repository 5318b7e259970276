"""Work: one process for each share or GPU, and what it does in turn."""

import os
import socket
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from .attention import contexts, prompts
from .machine import identity, machine_of
from .products import products, read, small
from .reductions import reductions


def main(job: dict[str, Any]) -> None:
    """Measure on every share or GPU at once."""
    os.environ.update(VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1")
    ranks = len(job["cpus"] or job["devices"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, args=(ranks, port, job), nprocs=ranks)  # type: ignore[no-untyped-call]


def work(rank: int, ranks: int, port: int, job: dict[str, Any]) -> None:
    """One rank's part of everything."""
    machine = machine_of(rank, ranks, job)
    backend = "gloo" if machine.on_cpu else "nccl"
    meeting = f"tcp://127.0.0.1:{port}"
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=ranks)
    with torch.inference_mode():
        machine.tell("device", **identity(machine, job["distribution"]))
        # What else a machine does slows it for a while: what was slow then is quicker next time.
        for _ in range(job["passes"]):
            read(machine)
            products(machine)
            if machine.on_cpu:  # on GPUs engines run them fused, or in graphs
                small(machine)
            prompts(machine)
            contexts(machine)
        reductions(machine, port)
    dist.destroy_process_group()
