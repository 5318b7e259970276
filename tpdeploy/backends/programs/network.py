"""Measures all-reduces between machines: python network.py --rank M --head ADDRESS --port P JOB.

Runs inside an engine's environment and imports nothing of tpdeploy; one such program on each
machine, numbered by `--rank`, which meet at port P of the first. JOB is JSON: `machines`, how many;
`each`, ranks of one machine; `on`, what each of them has: "cuda", a GPU, or "cpu"; `sizes` of
messages in bytes; `repeats` of each figure; `distribution`, the engine's package. The first rank
prints what it found, a JSON object a line, and `{"kind": "done"}` at the end.
"""

import argparse
import json
import multiprocessing
import platform
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import wait
from pathlib import Path
from statistics import quantiles
from typing import Any

import torch
import torch.distributed as dist

MEET_TIMEOUT = timedelta(minutes=2)
# Sent between two looks at the clock: this many bytes, or messages where that is less.
ROW_BYTES, MOST_IN_ROW = 2**25, 20
UNCOUNTED = 2  # the first ones open connections


def main() -> int:
    """Run a process for every device of this machine; 0 if all came to the end."""
    parser = argparse.ArgumentParser()
    for name in ("--rank", "--head", "--port"):
        parser.add_argument(name, required=True)
    parser.add_argument("job", type=json.loads)
    given = parser.parse_args()
    meeting = f"tcp://{given.head}:{given.port}"
    spawn = multiprocessing.get_context("spawn")
    ranks = {}
    for device in range(given.job["each"]):
        arguments = (int(given.rank), device, meeting, given.job)
        process = spawn.Process(target=work, args=arguments)
        process.start()
        ranks[process.sentinel] = process
    while ranks:
        for sentinel in wait(list(ranks)):
            ended = ranks.pop(sentinel)
            ended.join()
            if ended.exitcode:
                for other in ranks.values():
                    other.kill()
                return 1
    return 0


@dataclass
class Rank:
    """One rank of all machines: where it works, and what it says."""

    machine: int
    device: int
    job: dict[str, Any]

    @property
    def each(self) -> int:
        """Ranks of one machine."""
        return int(self.job["each"])

    @property
    def world(self) -> int:
        """Ranks of all machines."""
        return self.each * self.job["machines"]

    @property
    def number(self) -> int:
        """Among those of all machines; those of one machine are neighbours."""
        return self.machine * self.each + self.device

    @property
    def where(self) -> str:
        """Its device, in PyTorch's words."""
        return f"cuda:{self.device}" if self.job["on"] == "cuda" else "cpu"

    def tell(self, kind: str, **figures: object) -> None:
        """Print one object, on the first rank only."""
        if self.number == 0:
            print(json.dumps({"kind": kind, **figures}), flush=True)


def work(machine: int, device: int, meeting: str, job: dict[str, Any]) -> None:
    """One rank's part of everything."""
    rank = Rank(machine, device, job)
    on_gpu = job["on"] == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=meeting,
        rank=rank.number,
        world_size=rank.world,
        timeout=MEET_TIMEOUT,
    )
    rank.tell("machines", **identity(rank))
    columns = [
        dist.new_group([m * rank.each + d for m in range(job["machines"])])
        for d in range(rank.each)
    ]
    if device == 0:
        measure(rank, columns[0], rails=1, group_size=job["machines"])
    dist.barrier()
    if rank.each > 1:
        measure(rank, columns[device], rails=rank.each, group_size=job["machines"])
        dist.barrier()
        measure(rank, None, rails=1, group_size=rank.world)
    rank.tell("done")
    dist.barrier()
    dist.destroy_process_group()


def identity(rank: Rank) -> dict[str, object]:
    """The machines' names, what they have, and the releases of what runs on the first."""
    versions = {"torch": torch.__version__}
    with suppress(PackageNotFoundError):
        name = rank.job["distribution"]
        versions = {name: version(name), **versions}
    if rank.where == "cpu":
        hardware = processor()
    else:
        hardware = torch.cuda.get_device_name()
        name = "hip" if torch.version.hip else "cuda"
        versions[name] = str(torch.version.hip or torch.version.cuda)
        versions["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
    found: list[Any] = [None] * rank.world
    dist.all_gather_object(found, (platform.node(), hardware))
    hosts, kinds = ([one[n] for one in found[:: rank.each]] for n in range(2))
    return {"hosts": hosts, "hardware": list(dict.fromkeys(kinds)), "versions": versions}


def processor() -> str:
    """The name of this machine's processor."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "CPU"


def measure(rank: Rank, group: Any, rails: int, group_size: int) -> None:
    """All-reduces of every size in `group`, while `rails` such groups work at once."""
    check(rank, group, group_size)
    kernel = "gloo" if rank.where == "cpu" else "nccl"
    for size in rank.job["sizes"]:
        values = torch.zeros(size // 2, dtype=torch.bfloat16, device=rank.where)
        run = partial(dist.all_reduce, values, group=group)
        taken = timed(rank, group, run, in_row(size))
        low, middle, high = quantiles(taken, n=4)
        rank.tell(
            "all-reduce",
            kernel=kernel,
            group=group_size,
            machines=rank.job["machines"],
            rails=rails,
            bytes=size,
            seconds=middle,
            spread=(high - low) / middle,
        )


def in_row(size: int) -> int:
    """How many messages of `size` bytes are sent between two looks at the clock."""
    return max(1, min(MOST_IN_ROW, ROW_BYTES // size))


def timed(rank: Rank, group: Any, run: Callable[[], object], row: int) -> list[float]:
    """Seconds of one `run`, of each repeat."""
    taken = []
    for _ in range(UNCOUNTED + rank.job["repeats"]):
        dist.barrier(group)
        begun = time.perf_counter()
        for _ in range(row):
            run()
        if rank.where != "cpu":
            torch.cuda.synchronize()
        taken.append((time.perf_counter() - begun) / row)
    return taken[UNCOUNTED:]


def check(rank: Rank, group: Any, group_size: int) -> None:
    """Check that ones add up to their number."""
    values = torch.ones(1024, device=rank.where)
    dist.all_reduce(values, group=group)
    if not bool((values == group_size).all()):
        raise ValueError(f"the sum of {group_size} ones came out as {float(values.max()):g}")


if __name__ == "__main__":
    sys.exit(main())
