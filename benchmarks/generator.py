"""How much the load generator adds: reported TTFT and ITL against a server whose schedule is known.

Usage: python benchmarks/generator.py [STREAMS ...]

A server in a process of its own streams 64 tokens to each request on a schedule: the first after
TTFT, the others each ITL later. The load generator of `tpdeploy validate` measures it; both share
the cores of this machine. Aim: within 2 ms or 2 %.
"""

import asyncio
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from itertools import cycle
from multiprocessing.synchronize import Event as Ready
from typing import Any

from rich.console import Console
from rich.table import Table

from tpdeploy.harness.client import allow_many_connections, open_client
from tpdeploy.harness.completion import complete
from tpdeploy.harness.load import closed_loop
from tpdeploy.harness.metrics import Measured, measure
from tpdeploy.harness.recorder import Amount, Recorder
from tpdeploy.harness.requests import Draw, random_requests
from tpdeploy.launcher.ports import LOOPBACK, free_ports
from tpdeploy.planner.workload import Workload

TTFT_S, TOKENS = 0.05, 64
ITL_S = {1: 0.01, 16: 0.01, 64: 0.02, 256: 0.05}
CHUNK = b'data: {"choices":[{"index":0,"text":"word "}]}\n\n'
LAST = (
    b'data: {"choices":[{"index":0,"text":"word ","finish_reason":"length"}]}\n\ndata: [DONE]\n\n'
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def chunked(data: bytes) -> bytes:
    """`data` as one chunk of HTTP."""
    return b"%x\r\n%s\r\n" % (len(data), data)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, itl_s: float) -> None:
    """Every request of a connection, each on the schedule; a router's questions at once."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        if head.startswith(b"GET "):
            writer.write(HEALTHY)
            continue
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
        start = asyncio.get_running_loop().time()
        writer.write(HEAD)
        for number in range(TOKENS):
            due = start + TTFT_S + number * itl_s
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            if writer.is_closing():
                return  # nobody reads: the load ended before this answer did
            writer.write(chunked(CHUNK if number < TOKENS - 1 else LAST))
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def serve(port: int, itl_s: float, ready: Ready) -> None:
    """The server, until it is ended."""

    async def run() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await answer(reader, writer, itl_s)
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


async def measured(urls: Sequence[str], streams: int, requests: int) -> Measured:
    """What the generator reports for `streams` in flight, request by request to each of `urls`."""
    allow_many_connections()
    load = Workload(input_tokens=256, output_tokens=TOKENS, concurrency=streams)
    recorder = Recorder(streams, streams, Amount(requests), lambda _: None)
    prompts = random_requests(32_000, load, Draw())
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_client(url)) for url in urls]
        turns = cycle(clients)

        async def send(due: float | None) -> Any:
            return await complete(next(turns), "stand-in", next(prompts), due)

        await closed_loop(send, streams, recorder.take)
    return measure(recorder.measured, recorder.span_s, load)


def once(streams: int) -> Measured:
    """One run against a server of its own."""
    with serving(ITL_S.get(streams, 0.05)) as url:
        return asyncio.run(measured([url], streams, max(32, 3 * streams)))


def main() -> None:
    """One row a number of streams."""
    table = Table(title=f"Reported against a known schedule (TTFT {TTFT_S * 1000:.0f} ms)")
    for title in ("streams", "tokens/s", "ITL", "TTFT p50", "p99", "ITL p50", "p99", "late"):
        table.add_column(title, justify="right")
    for streams in [int(word) for word in sys.argv[1:]] or list(ITL_S):
        found = once(streams)
        assert found.itl_ms is not None  # noqa: S101 - 64 tokens were asked for
        cells = (found.ttft_ms.p50, found.ttft_ms.p99, found.itl_ms.p50, found.itl_ms.p99)
        table.add_row(
            str(streams),
            f"{found.output_tokens_per_s:,.0f}",
            f"{ITL_S.get(streams, 0.05) * 1000:.0f}",
            *(f"{cell:.1f}" for cell in cells),
            f"{found.client_lag_ms:.1f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
