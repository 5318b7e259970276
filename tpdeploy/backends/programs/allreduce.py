"""All-reduces within groups of ranks, and how far each rank came: python allreduce.py JOB.

Runs inside an engine's environment and imports nothing of tpdeploy. JOB is JSON: `groups`, of each
group and rank a GPU's number or, with `on` "cpu", the numbers of its cores. All groups work at
once, as in serving, and know nothing of one another. Each rank prints each step it has done, and
its error, as a JSON object a line. Nothing here has a time limit: whoever runs this knows from the
lines who hangs, and where.
"""

import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import wait
from typing import Any

BYTES = 2**20  # of a message as large as those of a prompt of some hundred tokens
REPEATS = 10


def main(job: dict) -> int:
    """Run every rank in a process of its own; 0 if all came to the end."""
    spawn = multiprocessing.get_context("spawn")
    ranks = {}
    for number, group in enumerate(job["groups"]):
        port = free_port()
        for rank in range(len(group)):
            process = spawn.Process(target=work, args=(number, rank, port, job))
            process.start()
            ranks[process.sentinel] = number, rank, process
    return waited_for(ranks)


def waited_for(ranks: dict) -> int:
    """0 when all of the ranks have ended well; the first that has not ends the others."""
    while ranks:
        for sentinel in wait(list(ranks)):
            group, rank, process = ranks.pop(sentinel)
            process.join()
            if process.exitcode < 0:
                say(group=group, rank=rank, error=f"was ended by signal {-process.exitcode}")
            if process.exitcode:
                for _, _, other in ranks.values():
                    other.kill()
                return 1
    return 0


def free_port() -> int:
    """A port that was free just now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def say(**what: object) -> None:
    """One object per line, written at once: the ranks share the pipe."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def work(group: int, rank: int, port: int, job: dict) -> None:
    """One rank, which tells each step it has done."""
    tell = partial(say, group=group, rank=rank)
    try:
        reduce(rank, port, job["groups"][group], job["on"] == "cpu", tell)
    except Exception as error:
        tell(error=f"{type(error).__name__}: {error}".partition("\n")[0])
        sys.exit(1)


def reduce(rank: int, port: int, group: list, on_cpu: bool, tell: Callable[..., None]) -> None:
    """Meet the others, and add up over gloo and, on GPUs, over NCCL: engines use both."""
    tell(done="started")
    import torch
    import torch.distributed as dist

    if on_cpu:
        os.sched_setaffinity(0, group[rank])
        torch.set_num_threads(len(group[rank]))
    tell(done="loaded")
    meeting = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=len(group))
    tell(done="met")
    seconds = added_up(None, torch.device("cpu"), len(group))
    tell(done="gloo", seconds=seconds, bytes=BYTES)
    if not on_cpu:
        device = torch.device("cuda", int(group[rank]))
        torch.cuda.set_device(device)
        over_nccl = dist.new_group(backend="nccl")
        seconds = added_up(over_nccl, device, len(group))
        tell(done="nccl", seconds=seconds, bytes=BYTES)
    dist.destroy_process_group()


def added_up(group: Any, device: Any, ranks: int) -> float:
    """Seconds of one all-reduce; the first, which opens connections, does not count."""
    import torch
    import torch.distributed as dist

    taken = []
    for _ in range(1 + REPEATS):
        values = torch.ones(BYTES // 4, device=device)
        dist.barrier(group)
        begun = time.perf_counter()
        dist.all_reduce(values, group=group)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - begun)
        if not bool((values == ranks).all()):
            wrong = float(values[values != ranks][0])
            raise ValueError(f"the sum of {ranks} ones came out as {wrong:g}")
    return sorted(taken[1:])[REPEATS // 2]


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
