"""Clients that stream one request after another, and count what becomes of each."""

import asyncio
import ssl
import threading
from collections import Counter

import httpx

TIMEOUT_S = 60.0
# Between a refused request and the next, as clients' libraries do.
BACK_OFF_S = 0.25


class Clients:
    """`count` streams against `url` in the background, from entering the block to leaving it."""

    def __init__(self, url: str, model: str, count: int, tokens: int) -> None:
        self.url, self.count = f"{url}/v1/completions", count
        self.body = {"model": model, "prompt": "Once", "max_tokens": tokens, "stream": True}
        # An engine is not to end an answer before its length.
        self.body |= {"ignore_eos": True}
        self.seen: Counter[str] = Counter()
        self.over = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._all()))

    def __enter__(self) -> "Clients":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    @property
    def told(self) -> str:
        """What was seen, in words."""
        good = self.seen["good"]
        others = [f"{n} {what}" for what, n in self.seen.most_common() if what != "good"]
        return ", ".join([f"{good} of {self.seen.total()} good", *others])

    async def _all(self) -> None:
        context = ssl.create_default_context()  # takes a while
        await asyncio.gather(*(self._one(context) for _ in range(self.count)))

    async def _one(self, context: ssl.SSLContext) -> None:
        # Each with a connection of its own: a pool that 200 share is slower than the engine.
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, verify=context) as client:
            while not self.over.is_set():
                outcome = await self._outcome(client)
                self.seen[outcome] += 1
                if outcome != "good":
                    await asyncio.sleep(BACK_OFF_S)

    async def _outcome(self, client: httpx.AsyncClient) -> str:
        begun = False
        try:
            async with client.stream("POST", self.url, json=self.body) as answer:
                if answer.is_error:
                    return f"HTTP {answer.status_code}"
                begun, last = True, ""
                async for line in answer.aiter_lines():
                    if line.startswith('data: {"error"'):
                        return "error in the stream"
                    last = line or last
                return "good" if last == "data: [DONE]" else "stream cut"
        except httpx.TimeoutException:
            return f"no answer for {TIMEOUT_S:.0f} s"
        except httpx.ConnectError:
            return "connection refused"
        except httpx.TransportError:
            return "stream cut" if begun else "connection lost before an answer"
