"""How much the load generator adds: reported TTFT and ITL against when the server wrote.

Usage: python benchmarks/generator.py [STREAMS ...]

A server in a process of its own streams 64 tokens to each request on a schedule, the first after
TTFT, the others each ITL later, and notes when it had read a request and when it wrote each token:
where cores are shared it is late itself. The load generator of `tpdeploy validate` measures it.
What it reports beyond what the server noted is what it adds, with the way there and back. Aim:
within 2 ms or 2 %.
"""

import asyncio
import json
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle, pairwise
from multiprocessing.synchronize import Event as Ready
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from tpdeploy.harness.load.client import allow_many_connections, open_client
from tpdeploy.harness.load.completion import complete
from tpdeploy.harness.load.loops import closed_loop
from tpdeploy.harness.load.recorder import Amount, Recorder
from tpdeploy.harness.load.requests import Draw, random_requests
from tpdeploy.harness.measure.metrics import Measured, measure
from tpdeploy.launcher.runtimes.ports import LOOPBACK, free_ports
from tpdeploy.planner.serving.percentiles import percentile
from tpdeploy.planner.workload import Workload

TTFT_S, TOKENS = 0.05, 64
ITL_S = {1: 0.01, 16: 0.01, 64: 0.02, 256: 0.05}
CHUNK = b'data: {"choices":[{"index":0,"text":"word "}]}\n\n'
LAST = (
    b'data: {"choices":[{"index":0,"text":"word ","finish_reason":"length"}]}\n\ndata: [DONE]\n\n'
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
TOLD = "/told"
P50, P99 = 0.5, 0.99


@dataclass(frozen=True)
class Compared:
    """What the generator reports, and what the server noted: TTFT and ITL, p50 and p99 (ms)."""

    reported: Measured
    written: tuple[float, ...]

    @property
    def seen(self) -> tuple[float, ...]:
        """The reported figures that `written` has."""
        assert self.reported.itl_ms is not None  # noqa: S101 - several tokens were asked for
        both = self.reported.ttft_ms, self.reported.itl_ms
        return tuple(value for figure in both for value in (figure.p50, figure.p99))

    @property
    def added(self) -> tuple[float, ...]:
        """Reported beyond written, figure by figure."""
        return tuple(b - a for a, b in zip(self.written, self.seen, strict=True))


def chunked(data: bytes) -> bytes:
    """`data` as one chunk of HTTP."""
    return b"%x\r\n%s\r\n" % (len(data), data)


async def answer(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    itl_s: float,
    noted: list[list[float]],
) -> None:
    """Every request of a connection, each on the schedule; other questions at once.

    `noted` gets the times of each request: when it was read, and when each token was written.
    """
    while head := await reader.readuntil(b"\r\n\r\n"):
        if head.startswith(b"GET "):
            body = json.dumps(noted if TOLD.encode() in head else {}).encode()
            writer.write(JSON % (len(body), body))
            continue
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
        start = asyncio.get_running_loop().time()
        times = [start]
        noted.append(times)
        writer.write(HEAD)
        for number in range(TOKENS):
            due = start + TTFT_S + number * itl_s
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            if writer.is_closing():
                return  # nobody reads: the load ended before this answer did
            times.append(asyncio.get_running_loop().time())
            writer.write(chunked(CHUNK if number < TOKENS - 1 else LAST))
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def serve(port: int, itl_s: float, ready: Ready) -> None:
    """The server, until it is ended."""

    noted: list[list[float]] = []

    async def run() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await answer(reader, writer, itl_s, noted)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        server = await asyncio.start_server(handle, LOOPBACK, port, backlog=1024)
        ready.set()
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def serving(itl_s: float) -> Iterator[str]:
    """The URL of a server in a process of its own, which ends with the block."""
    (port,) = free_ports(LOOPBACK, 1)
    ready = multiprocessing.Event()
    server = multiprocessing.Process(target=serve, args=(port, itl_s, ready), daemon=True)
    server.start()
    try:
        ready.wait()
        yield f"http://{LOOPBACK}:{port}"
    finally:
        server.terminate()
        server.join()


async def measured(
    urls: Sequence[str], streams: int, requests: int, api_key: str | None = None
) -> Measured:
    """What the generator reports for `streams` in flight, request by request to each of `urls`."""
    allow_many_connections()
    # The server writes TOKENS to everybody.
    load = Workload(input_tokens=256, output_tokens=TOKENS, length_spread=0.0, concurrency=streams)
    recorder = Recorder(streams, streams, Amount(requests), lambda _: None)
    prompts = random_requests(32_000, load, Draw())
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_client(url, api_key)) for url in urls]
        turns = cycle(clients)

        async def send(due: float | None) -> Any:
            return await complete(next(turns), "stand-in", next(prompts), due)

        await closed_loop(send, streams, recorder.take)
    return measure(recorder.measured, recorder.span_s, load)


def once(streams: int) -> Compared:
    """One run against a server of its own, the first request of each stream left out."""
    requests = max(32, 3 * streams)
    with serving(ITL_S.get(streams, 0.05)) as url:
        reported = asyncio.run(measured([url], streams, requests))
        noted = httpx.get(url + TOLD, trust_env=False, timeout=60.0).json()
    whole = [times for times in noted[streams:] if len(times) == TOKENS + 1][:requests]
    ttft = sorted(times[1] - times[0] for times in whole)
    itl = sorted(b - a for times in whole for a, b in pairwise(times[1:]))
    return Compared(
        reported,
        tuple(1000 * percentile(of, share) for of in (ttft, itl) for share in (P50, P99)),
    )


def main() -> None:
    """Three rows a number of streams."""
    table = Table(title=f"The load generator (ms; the schedule's TTFT is {TTFT_S * 1000:.0f})")
    for title in ("streams", "ITL of schedule", "", "TTFT p50", "p99", "ITL p50", "p99"):
        table.add_column(title, justify="left" if not title else "right")
    for streams in [int(word) for word in sys.argv[1:]] or list(ITL_S):
        found = once(streams)
        first = str(streams), f"{ITL_S.get(streams, 0.05) * 1000:.0f}"
        table.add_row(*first, "written", *(f"{value:.1f}" for value in found.written))
        table.add_row("", "", "reported", *(f"{value:.1f}" for value in found.seen))
        table.add_row(
            "", "", "added", *(f"{value:+.1f}" for value in found.added), end_section=True
        )
    Console().print(table)


if __name__ == "__main__":
    main()
