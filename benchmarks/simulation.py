"""What simulating costs: one replica under 20,000 requests of real lengths, and of one step.

Usage: python -m benchmarks.simulation [--requests 20000]

Llama 8B on one H100 with the lengths of `chat`, at shares of what it serves at most, and with a
cache so small that requests are preempted. A step here is one call of the scheduler, which takes
equal decode steps in one go; `decoded` are the engine's own.
"""

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice
from math import inf

from rich.console import Console
from rich.table import Table

from tpdeploy.backends.registry import load_backend
from tpdeploy.backends.rules import rules_on
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.lengths import named
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.search.evaluation import Prepared, prepare
from tpdeploy.planner.serving.lanes import Request
from tpdeploy.planner.serving.scheduler import Engine, Scheduler
from tpdeploy.planner.serving.simulation import Arrival, follow, saturated
from tpdeploy.planner.workload import Workload, fields_of
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model

SHARES = (0.5, 0.9, 1.2)
SMALL_CACHE = 40_000  # tokens


class Counted(Scheduler):
    """A scheduler that counts how often it is called."""

    calls = 0

    def advance(self, until: float = inf) -> list[Request]:
        """One call more."""
        self.calls += 1
        return super().advance(until)


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000)
    requests = parser.parse_args().requests
    workload = Workload(**fields_of(named("chat")), rate=1.0)
    engine = replica(workload)
    table = Table(title=f"{requests:,} requests on one replica", title_justify="left")
    for title in ("load", "CPU s", "calls", "us a call", "decoded", "preemptions"):
        table.add_column(title, justify="right")
    for share in SHARES:
        table.add_row(f"{share:.0%} of the most", *row(engine, workload, share, requests))
    small = replace(engine, kv_tokens=SMALL_CACHE)
    table.add_row(f"120%, {SMALL_CACHE:,} tokens of KV", *row(small, workload, 1.2, requests))
    Console().print(table)


def replica(workload: Workload) -> Engine:
    """Llama 8B on one H100 with vLLM."""
    cluster = parse_gpus("1xH100")
    shape = load_model("llama-8b")
    rules = rules_on(load_backend("vllm"), cluster.accelerator)
    inputs = PlanInputs(shape, cluster, workload, rules, kv_cache_dtype=shape.dtype)
    found = prepare(inputs, Parallelism(tensor=1))
    assert isinstance(found, Prepared)  # noqa: S101 - it fits
    return found.replica


def row(engine: Engine, workload: Workload, share: float, requests: int) -> list[str]:
    """What such a load costs to simulate."""
    rate = share * saturated(engine, workload).requests_per_s
    arrivals = list(islice(arriving(workload, rate), requests))
    scheduler, begun = Counted(engine, workload), time.process_time()
    follow(scheduler, arrivals)
    seconds = time.process_time() - begun
    each = 1e6 * seconds / scheduler.calls
    counts = [f"{scheduler.calls:,}", f"{each:.0f}", f"{scheduler.seen.steps:,.0f}"]
    return [f"{seconds:.2f}", *counts, f"{scheduler.preemptions:,}"]


def arriving(workload: Workload, rate: float) -> Iterator[Arrival]:
    """Poisson arrivals of the workload's lengths."""
    draw, clock = random.Random(1), 0.0  # noqa: S311 - reproducible load, not cryptography
    assert workload.lengths  # noqa: S101 - it was given
    for prompt, answer in cycle(workload.lengths.pairs):
        clock += draw.expovariate(rate)
        yield clock, prompt, answer, 0.0


if __name__ == "__main__":
    main()
