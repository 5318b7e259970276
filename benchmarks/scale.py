"""How far one supervisor and one front go: many machines on paper, many stand-ins on this one.

Usage: python -m benchmarks.scale [--paper 8 64 512] [--live 50 200 500]

On paper: seconds to plan, to render Slurm's scripts, and to write and read the state of replicas
of one GPU each, eight a machine; and what the front adds to a single request before as many
addresses, all of which lead to two servers. Then the time of a core that the front takes for each
token of 64 streams, where other work on the machine does not count. Live: that many stand-in
engines on this machine, launched, watched and stopped by tpdeploy; the share of a core that the
supervisor takes while nothing happens is a mean over twenty seconds.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import TypeVar

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.faults.home import Home
from benchmarks.front import KEY, fronting
from benchmarks.generator import ITL_S, TOKENS, measured, serving
from tests.planner.inputs import VLLM
from tpdeploy.backends.registry import load_backend
from tpdeploy.errors import TpdeployError
from tpdeploy.launcher import state
from tpdeploy.launcher.commands import Order, replica_commands
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model
from tpdeploy.records import dump_record, parse_record, read_record

GPUS_A_MACHINE = 8
SINGLE = 300
WATCHED_S = 20.0
STREAMS, REQUESTS = 64, 512
T = TypeVar("T")


def main() -> None:
    """Two tables, and a line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--paper", type=int, nargs="*", default=[8, 64, 512])
    parser.add_argument("--live", type=int, nargs="*", default=[50, 200])
    asked = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 100)
    try:
        console.print(table("On paper, s", PAPER, [on_paper(count) for count in asked.paper]))
        print(f"Core time of the front for each streamed token: {token_us():.0f} µs")
        console.print(table("Stand-ins on this machine", LIVE, [live(n) for n in asked.live]))
    except TpdeployError as error:
        sys.exit(f"Error: {error}")


PAPER = ("replicas", "plan", "render", "write state", "read state", "front adds, ms")
LIVE = ("replicas", "ready, s", "status, s", "supervisor, cores", "its memory, MB", "stop, s")


def on_paper(count: int) -> tuple[str, ...]:
    """A row of PAPER."""
    made, planning = timed(lambda: plan_for(count))
    order = Order(
        name="scale", backend="vllm", host="127.0.0.1", port=1, startup_timeout_s=1, on="slurm"
    )
    rendered, rendering = timed(lambda: replica_commands(made, load_backend("vllm"), order))
    deployment = state.Deployment(
        name="scale",
        model=made.model.id,
        backend="vllm",
        url="http://127.0.0.1:1",
        members=tuple(each.member for each in rendered),
    )
    text, writing = timed(lambda: dump_record(deployment))
    _, reading = timed(lambda: parse_record(text, state.Deployment, "state.yaml"))
    times = (f"{each:.2f}" for each in (planning, rendering, writing, reading))
    return (str(count), *times, f"{added_by_front(count):.2f}")


def plan_for(count: int) -> DeploymentPlan:
    """Of as many replicas, a GPU each."""
    shape = load_model("llama-8b")
    cluster = parse_gpus(f"{count // GPUS_A_MACHINE}x{GPUS_A_MACHINE}xH100")
    load = Workload(concurrency=4 * count)
    inputs = PlanInputs(shape, cluster, load, VLLM, shape.dtype, replicas=count, tensor=1)
    return plan(inputs, search(inputs))


def added_by_front(count: int) -> float:
    """What it adds to a single request before `count` addresses (ms, median)."""
    with ExitStack() as stack:
        workers = [stack.enter_context(serving(0.01)) for _ in range(2)]
        before = stack.enter_context(fronting(list(islice(cycle(workers), count))))
        headers = {"Authorization": f"Bearer {KEY}"}
        client = stack.enter_context(httpx.Client(headers=headers, trust_env=False))

        def once(url: str) -> float:
            return 1000 * timed(lambda: client.get(f"{url}/v1/models").raise_for_status())[1]

        pairs = [(once(workers[0]), once(before)) for _ in range(SINGLE)]
    return median(fronted - straight for straight, fronted in pairs)


def token_us() -> float:
    """Core time that the front takes for each token of STREAMS streams (µs)."""
    with ExitStack() as stack:
        workers = [stack.enter_context(serving(ITL_S[STREAMS])) for _ in range(2)]
        others = set(psutil.Process().children())
        before = stack.enter_context(fronting(workers))
        (front,) = set(psutil.Process().children()) - others
        begun = sum(front.cpu_times()[:2])
        asyncio.run(measured([before], STREAMS, REQUESTS, KEY))
        taken = sum(front.cpu_times()[:2]) - begun
    return 1e6 * taken / (REQUESTS * TOKENS)


def live(count: int) -> tuple[str, ...]:
    """A row of LIVE."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        plan_many(home, count)
        try:
            deployment, ready = timed(lambda: home.start("--startup-timeout", "3000", "--force"))
            _, status = timed(lambda: home.run("status", "--json"))
            assert deployment.supervisor is not None  # noqa: S101 - it has just come up
            supervisor = psutil.Process(deployment.supervisor.pid)
            cores = cores_of(supervisor)
            memory = supervisor.memory_info().rss / 1e6
        finally:
            _, stopping = timed(lambda: home.run("stop"))
    figures = (f"{ready:.1f}", f"{status:.1f}", f"{cores:.2f}", f"{memory:.0f}", f"{stopping:.1f}")
    return (str(count), *figures)


def plan_many(home: Home, count: int) -> None:
    """A plan of as many replicas, all on the same core: it would not be made for this machine."""
    home.plan()
    path = home.home / "plan.yaml"
    parts = read_record(path, DeploymentPlan).model_dump(mode="json")
    (place,) = parts["placement"]
    parts["placement"] = [place | {"replica": n, "devices": [n]} for n in range(count)]
    parts["parallelism"]["replicas"] = parts["cluster"]["count"] = count
    path.write_text(dump_record(DeploymentPlan.model_validate(parts)))


def cores_of(process: psutil.Process) -> float:
    """The share of a core that it takes, over WATCHED_S."""
    before = process.cpu_times()
    time.sleep(WATCHED_S)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / WATCHED_S


def timed(do: Callable[[], T]) -> tuple[T, float]:
    """What it returns, and the seconds it took."""
    begun = time.perf_counter()
    result = do()
    return result, time.perf_counter() - begun


def table(title: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Figures, to the right."""
    made = Table(title=title, title_justify="left")
    for each in titles:
        made.add_column(each, justify="right")
    for row in rows:
        made.add_row(*row)
    return made


if __name__ == "__main__":
    main()
