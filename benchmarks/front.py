"""What the front of a deployment adds: TTFT, ITL and requests/s, beside going straight.

Usage: python -m benchmarks.front [STREAMS ...] [--rounds 5]

Two stand-in servers stream on a known schedule, each in a process of its own. The load generator
sends every other request to each of them, then all to the front of `tpdeploy launch` before them,
which checks a key; the two ways take turns, and the order changes each round. Medians of the
rounds; servers, front and generator share the cores of this machine. `added` is the median of the
rounds' differences. Before that: single requests by both ways in turns, answered at once.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.generator import ITL_S, measured, serving
from tpdeploy.errors import TpdeployError
from tpdeploy.launcher import front
from tpdeploy.launcher.access import API_KEY, INNER_KEY
from tpdeploy.launcher.runtimes.ports import LOOPBACK, free_ports

REPLICAS = 2
STREAMS = (1, 16, 64, 200)
KEY = "a-key"
SINGLE = 1000
START_S = 30.0
TITLES = ("TTFT p50", "TTFT p99", "ITL p50", "ITL p99", "requests/s")


@dataclass(frozen=True)
class Round:
    """TTFT and ITL, p50 and p99 (ms), and requests/s, by each way."""

    straight: tuple[float, ...]
    fronted: tuple[float, ...]

    @property
    def added(self) -> tuple[float, ...]:
        """What the front adds to each figure."""
        return tuple(b - a for a, b in zip(self.straight, self.fronted, strict=True))


def main() -> None:
    """Three rows a number of streams."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("streams", type=int, nargs="*", default=STREAMS)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    table = Table(title=f"Two replicas, medians of {asked.rounds} rounds (ms)")
    table.add_column("streams", justify="right")
    table.add_column("way")
    for title in TITLES:
        table.add_column(title, justify="right")
    try:
        straight, fronted = one_by_one()
        print(f"One request at a time, p50: {straight:.2f} ms straight, {fronted:.2f} ms fronted")
        for streams in asked.streams:
            _add_rows(table, streams, rounds(streams, asked.rounds))
    except TpdeployError as error:
        sys.exit(f"Error: {error}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def one_by_one() -> tuple[float, float]:
    """Medians (ms) of single requests straight and through the front, taken in turns."""
    with ExitStack() as stack:
        workers = [stack.enter_context(serving(0.01)) for _ in range(REPLICAS)]
        before = stack.enter_context(fronting(workers))
        headers = {"Authorization": f"Bearer {KEY}"}
        client = stack.enter_context(httpx.Client(headers=headers, trust_env=False))

        def taken(url: str) -> float:
            began = time.perf_counter()
            client.get(f"{url}/v1/models").raise_for_status()
            return 1000 * (time.perf_counter() - began)

        pairs = [(taken(workers[0]), taken(before)) for _ in range(SINGLE)]
    straight, fronted = medians(pairs)
    return straight, fronted


def rounds(streams: int, times: int) -> list[Round]:
    """`times` rounds of `streams` requests in flight, both ways on the same servers."""
    with ExitStack() as stack:
        itl_s = ITL_S.get(streams, 0.05)
        workers = [stack.enter_context(serving(itl_s)) for _ in range(REPLICAS)]
        before = stack.enter_context(fronting(workers))
        return [_round(workers, before, streams, number % 2 == 1) for number in range(times)]


@contextmanager
def fronting(workers: Sequence[str]) -> Iterator[str]:
    """The URL of the front that `tpdeploy launch` starts before `workers`, until the block ends.

    Raises:
        TpdeployError: it did not come to serve.
    """
    (port,) = free_ports(LOOPBACK, 1)
    replicas = tuple(worker.removeprefix("http://") for worker in workers)
    asked = front.Front(LOOPBACK, port, replicas, "/health", keyed=True)
    url = f"http://{LOOPBACK}:{port}"
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        command = front.command(asked, Path(folder))
        for name, text in command.files.items():
            (Path(folder) / name).write_text(text)
        env = {**os.environ, **command.env, API_KEY: KEY, INNER_KEY: "inner"}
        process = subprocess.Popen(command.argv, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            if not _serves(process, url):
                log.seek(0)
                said = log.read().strip().splitlines() or ["it said nothing"]
                raise TpdeployError(f"the front does not serve: {said[-1]}")
            yield url
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def medians(figures: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """The median of each column."""
    return tuple(median(column) for column in zip(*figures, strict=True))


def _serves(process: subprocess.Popen[bytes], url: str) -> bool:
    until = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < until:
        try:
            headers = {"Authorization": f"Bearer {KEY}"}
            if httpx.get(url + front.HEALTH_PATH, headers=headers, trust_env=False).is_success:
                return True
        except httpx.TransportError:
            pass  # not yet
        time.sleep(0.1)
    return False


def _round(workers: Sequence[str], before: str, streams: int, front_first: bool) -> Round:
    requests = max(8, 3 * streams)

    def figures(urls: Sequence[str]) -> tuple[float, ...]:
        found = asyncio.run(measured(urls, streams, requests, KEY))
        if found.failures or found.itl_ms is None:
            raise TpdeployError(f"requests failed: {found.failures}")
        ttft, itl = found.ttft_ms, found.itl_ms
        return (ttft.p50, ttft.p99, itl.p50, itl.p99, found.requests_per_s)

    if front_first:
        fronted = figures([before])
        return Round(figures(workers), fronted)
    return Round(figures(workers), figures([before]))


def _add_rows(table: Table, streams: int, found: Sequence[Round]) -> None:
    straight = medians([each.straight for each in found])
    fronted = medians([each.fronted for each in found])
    added = medians([each.added for each in found])
    table.add_row(str(streams), "straight", *(f"{cell:.2f}" for cell in straight))
    table.add_row("", "through the front", *(f"{cell:.2f}" for cell in fronted))
    table.add_row("", "added", *(f"{cell:+.2f}" for cell in added), end_section=True)


if __name__ == "__main__":
    main()
