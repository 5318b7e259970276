"""Tries every fault on a deployment of two replicas under load, and prints what came of it.

Usage: python -m benchmarks.faults [--engine vllm|stand-in] [--only WORDS]
       python -m benchmarks.faults --endure SECONDS | --cycles N

With vLLM as tpdeploy has installed it (on this machine's CPUs) or with a stand-in that starts in a
second. Four clients stream all the time and try again after a quarter of a second, as libraries do.
`noticed` is until the supervisor began to mend it, `whole again` until both replicas served.
--endure has 200 streams and kills a member every 20 s; --cycles starts and stops N times.
"""

import argparse
import itertools
import random
import sys
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.faults.clients import Clients
from benchmarks.faults.home import Home, RealHome, leaving_nothing, left_of
from benchmarks.faults.tried import FAULTS, HANG_TIMEOUT_S, Fault, kill_front, kill_server
from tpdeploy.errors import TpdeployError

CLIENTS, STREAMS = 4, 200
# Before a fault, and after it is mended.
AROUND_S = 3.0
KILL_EVERY_S = 20.0
MIB = 2**20


def main() -> None:
    """A table, a line each fault; exit code 1 if one was not mended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=["vllm", "stand-in"], default="stand-in")
    parser.add_argument("--only", default="", help="faults whose name holds this")
    parser.add_argument("--endure", type=float, metavar="SECONDS")
    parser.add_argument("--cycles", type=int, metavar="N")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tpdeploy-faults-") as folder:
        home = (RealHome if asked.engine == "vllm" else Home)(Path(folder))
        home.plan(replicas=2)
        try:
            if asked.endure:
                print(endure(home, asked.endure))
            elif asked.cycles:
                print(cycles(home, asked.cycles))
            else:
                _show(home, [f for f in FAULTS if asked.only in f.name])
        finally:
            home.run("stop")


def _show(home: Home, faults: list[Fault]) -> None:
    table = Table("fault", "clients saw", "noticed", "whole again", "left", "remark")
    table.title = f"Two replicas of {home.engine}, {CLIENTS} clients"
    failed = False
    for fault in faults:
        if home.engine not in fault.engines:
            print(f"left out, {home.engine} has no such part: {fault.name}", file=sys.stderr)
            continue
        print(f"trying: {fault.name}", file=sys.stderr)
        try:
            row = tried(home, fault)
        except TpdeployError as error:
            failed = True
            row = ("-", "-", "-", "-", str(error))
            home.run("stop")
        table.add_row(fault.name, *row)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    sys.exit(failed)


def tried(home: Home, fault: Fault) -> tuple[str, ...]:
    """The cells of its row."""
    left: list[str] = []
    with leaving_nothing(left):
        deployment = home.start("--hang-timeout", str(HANG_TIMEOUT_S))
        with Clients(deployment.url, deployment.model, CLIENTS, home.tokens) as clients:
            time.sleep(AROUND_S)
            begun = time.monotonic()
            remark = fault.make(home)
            home.seconds_until(lambda: _restarts(home) >= fault.restarts)
            noticed_s = time.monotonic() - begun
            home.seconds_until(lambda: home.now().phase == "ready")
            whole_s = time.monotonic() - begun
            time.sleep(AROUND_S)
        last = home.now()
        home.run("stop")
        left += left_of([deployment, last])
    times = ("-", "-") if not fault.restarts else (f"{noticed_s:.1f} s", f"{whole_s:.1f} s")
    return (clients.told, *times, ", ".join(left) or "nothing", remark)


def _restarts(home: Home) -> int:
    return sum(member.restarts for member in home.now().members)


def endure(home: Home, seconds: float) -> str:
    """Streams for so long, while one member after another is killed."""
    deployment = home.start("--restarts", "1000")
    kills: list[str] = []
    last_ones = 0
    supervisor = deployment.supervisor
    if supervisor is None:
        raise TpdeployError("there is no supervisor")
    memory = [psutil.Process(supervisor.pid).memory_info().rss]
    with Clients(deployment.url, deployment.model, STREAMS, home.tokens) as clients:
        until = time.monotonic() + seconds
        for kill in itertools.cycle((kill_server, kill_server, kill_server, kill_front)):
            time.sleep(KILL_EVERY_S * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
            if time.monotonic() > until:
                break
            serving = sum(1 for m in home.now().members if m.phase == "ready" and m.devices)
            last_ones += kill is kill_server and serving == 1
            kill(home)
            kills.append(kill.__name__)
        home.seconds_until(lambda: home.now().phase == "ready")
        memory.append(psutil.Process(supervisor.pid).memory_info().rss)
    last = home.now()
    home.run("stop")
    fronts = kills.count("kill_front")
    return (
        f"{STREAMS} streams, {seconds:.0f} s, {len(kills)} kills ({fronts} of the front, "
        f"{last_ones} of the only replica that served): "
        f"{clients.told}; supervisor {memory[0] / MIB:.0f} -> {memory[1] / MIB:.0f} MiB; "
        f"left: {', '.join(left_of([deployment, last])) or 'nothing'}"
    )


def cycles(home: Home, count: int) -> str:
    """Start and stop so often."""
    left: list[str] = []
    before = set(Path(tempfile.gettempdir()).iterdir())
    with leaving_nothing(left):
        for _ in range(count):
            deployment = home.start()
            home.run("stop")
            left += left_of([deployment])
    new = set(Path(tempfile.gettempdir()).iterdir()) - before
    left += [f"{len(new)} in {tempfile.gettempdir()}"] if new else []
    return f"{count} starts and stops of {home.engine}; left: {', '.join(left) or 'nothing'}"


if __name__ == "__main__":
    main()
