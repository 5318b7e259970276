#!/usr/bin/env python3
"""A quick engine that is none: streams `max_tokens` tokens, one each 100 ms, and counts them.

It starts within a second, so that many deaths fit into a minute; as vLLM does, it ends a request
with its client, and finishes what is in flight when it is asked to stop.
"""

import asyncio
import json
import os
import signal
import sys

ITL_S = 0.1  # more events than this and 200 clients wait for themselves on two cores
EVENT = b'data: {"choices":[{"index":0,"text":"word "}]}\n\n'
DONE = b"data: [DONE]\n\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
METRICS = (
    "# TYPE standin_ttft_seconds histogram\n"
    'standin_ttft_seconds_bucket{{le="+Inf"}} {0}\n'
    "standin_ttft_seconds_sum 0\nstandin_ttft_seconds_count {0}\n"
)


class Engine:
    """Serves, and knows how many requests are in flight."""

    def __init__(self) -> None:
        self.key = f"Bearer {os.environ.get('STANDIN_KEY', '')}"
        self.tokens = 0
        self.in_flight = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head.decode(), reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        first, *lines = head.split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = first.split()[1]
        if path == "/health":
            await _write(writer, 200, "")
        elif headers.get("authorization") != self.key:
            await _write(writer, 401, "")
        elif path == "/metrics":
            await _write(writer, 200, METRICS.format(self.tokens))
        else:
            await self._generate(json.loads(body or b"{}"), writer)

    async def _generate(self, asked: dict[str, int], writer: asyncio.StreamWriter) -> None:
        self.in_flight += 1
        try:
            writer.write(STREAM)
            for _ in range(asked.get("max_tokens", 1)):
                await asyncio.sleep(ITL_S)
                self.tokens += 1
                await _chunk(writer, EVENT)
            await _chunk(writer, DONE)
            await _chunk(writer, b"")
        finally:
            self.in_flight -= 1


async def _chunk(writer: asyncio.StreamWriter, content: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(content), content))
    await writer.drain()


async def _write(writer: asyncio.StreamWriter, status: int, text: str) -> None:
    writer.write(f"HTTP/1.1 {status} -\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
    await writer.drain()


async def main() -> None:
    """Serve on the port that is asked for, until SIGTERM and the last request."""
    port = int(sys.argv[sys.argv.index("--port") + 1])
    engine, over = Engine(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    server = await asyncio.start_server(engine.serve, "127.0.0.1", port)
    print("ready", flush=True)
    await over.wait()
    server.close()
    while engine.in_flight:
        await asyncio.sleep(ITL_S)


if __name__ == "__main__":
    asyncio.run(main())
