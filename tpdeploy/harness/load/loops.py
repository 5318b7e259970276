"""Two ways to put load on an endpoint: a fixed number in flight, or arrivals on a schedule."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import repeat
from typing import Literal

from tpdeploy.errors import TpdeployError
from tpdeploy.harness.load.exchange import Exchange
from tpdeploy.harness.load.requests import Asked

# Sends one request that was due at a time (monotonic, s); None: it is due when it is sent.
Send = Callable[[float | None], Awaitable[Exchange]]
# Sends what is asked, which is due at a time.
SendOne = Callable[[Asked, float], Awaitable[Exchange]]
# Takes a finished exchange and says whether that is enough.
Take = Callable[[Exchange], bool]
Arrivals = Literal["poisson", "constant"]

# Requests in flight at which an open loop gives up: the endpoint will never catch up.
MAX_IN_FLIGHT = 10_000


async def closed_loop(send: Send, concurrency: int, take: Take, over_s: float = 0.0) -> None:
    """Keep `concurrency` requests in flight until `take` has enough.

    Clients begin one after the other, all of them within `over_s` seconds: begun at once they march
    in step for many rounds. What is still in flight at the end is cancelled: the load is full until
    then.
    """
    enough = asyncio.Event()
    begun, gap = time.monotonic(), over_s / concurrency

    async def client(number: int) -> None:
        await _set_before(enough, begun + number * gap)
        while not enough.is_set():
            if take(await send(None)):
                enough.set()

    async with asyncio.TaskGroup() as group:
        clients = [group.create_task(client(n)) for n in range(concurrency)]
        await enough.wait()
        for task in clients:
            task.cancel()


async def open_loop(send: Send, gaps: Iterator[float], take: Take) -> None:
    """Send a request `gaps` seconds after the last, however slow the answers, until enough.

    Raises:
        TpdeployError: MAX_IN_FLIGHT requests wait for an answer.
    """
    enough = asyncio.Event()
    waiting: set[asyncio.Task[None]] = set()

    async def request(due: float) -> None:
        if take(await send(due)):
            enough.set()

    async with asyncio.TaskGroup() as group:
        due = time.monotonic()
        while len(waiting) < MAX_IN_FLIGHT:
            due += next(gaps)
            if await _set_before(enough, due):
                break
            task = group.create_task(request(due))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        for task in waiting:
            task.cancel()
    if not enough.is_set():
        raise TpdeployError(
            f"{MAX_IN_FLIGHT:,} requests wait for an answer: the endpoint cannot keep up with "
            "this rate; lower it with --rate"
        )


async def on_schedule(
    send: SendOne, requests: Iterator[tuple[float, Asked]], began: float, take: Take
) -> None:
    """Send each request so many seconds after `began` (monotonic, s), until `take` has enough.

    However late the answers are, none waits for another. A request is made before it is due.
    """
    enough = asyncio.Event()

    async def request(asked: Asked, due: float) -> None:
        if take(await send(asked, due)):
            enough.set()

    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[None]] = []
        for at, asked in requests:
            if await _set_before(enough, began + at):
                break
            tasks.append(group.create_task(request(asked, began + at)))
        await enough.wait()
        for task in tasks:
            task.cancel()


def gaps_between(rate: float, arrivals: Arrivals, seed: int) -> Iterator[float]:
    """Endless seconds between arrivals at `rate` a second on average."""
    if arrivals == "constant":
        return repeat(1 / rate)
    draw = random.Random(seed)  # noqa: S311 - reproducible load, not cryptography
    return iter(lambda: draw.expovariate(rate), None)


async def _set_before(event: asyncio.Event, when: float) -> bool:
    """Wait for `event` until the monotonic time `when`; whether it was set."""
    try:
        async with asyncio.timeout(max(0.0, when - time.monotonic())):
            await event.wait()
    except TimeoutError:
        return False
    return True
