"""Load arrives as asked, whatever the server does."""

import asyncio
import time
from itertools import islice, pairwise, repeat

import pytest

from tpdeploy.errors import TpdeployError
from tpdeploy.harness.load import loops as load
from tpdeploy.harness.load.exchange import Exchange
from tpdeploy.harness.load.loops import closed_loop, gaps_between, open_loop


class Server:
    """Answers only once `holds` requests have arrived; remembers when each was due."""

    def __init__(self, holds: int) -> None:
        self.holds = holds
        self.due: list[float] = []
        self.in_flight = self.most_in_flight = 0
        self.open = asyncio.Event()

    async def send(self, due: float | None) -> Exchange:
        now = time.monotonic()
        self.due.append(now if due is None else due)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if len(self.due) >= self.holds:
            self.open.set()
        await self.open.wait()
        await asyncio.sleep(0)
        self.in_flight -= 1
        return Exchange(due=self.due[-1], sent=now)


def until(count: int) -> load.Take:
    """Takes exchanges until it has `count`."""
    taken: list[Exchange] = []

    def take(exchange: Exchange) -> bool:
        taken.append(exchange)
        return len(taken) >= count

    return take


def test_a_closed_loop_keeps_its_number_in_flight() -> None:
    """Never more than the concurrency, and it is reached: the server waits for all of them."""

    async def run() -> Server:
        server = Server(holds=5)
        async with asyncio.timeout(30):
            await closed_loop(server.send, 5, until(40))
        return server

    assert asyncio.run(run()).most_in_flight == 5


def test_clients_of_a_closed_loop_can_begin_one_after_the_other() -> None:
    """Of four clients within 0.2 s each begins at least 50 ms after the one before."""

    async def run() -> list[float]:
        server, begun = Server(holds=4), time.monotonic()
        async with asyncio.timeout(30):
            await closed_loop(server.send, 4, until(4), over_s=0.2)
        return [due - begun for due in server.due[:4]]

    assert all(sent >= number * 0.05 for number, sent in enumerate(asyncio.run(run())))


def test_an_open_loop_arrives_on_schedule_though_the_server_lags() -> None:
    """Twelve requests are sent before the first is answered, each exactly a gap after the last."""

    async def run() -> Server:
        server = Server(holds=12)
        async with asyncio.timeout(30):
            await open_loop(server.send, repeat(0.005), until(12))
        return server

    server = asyncio.run(run())
    assert server.most_in_flight >= 12
    gaps = [later - earlier for earlier, later in pairwise(server.due)]
    assert gaps == pytest.approx([0.005] * len(gaps))


def test_an_open_loop_gives_up_on_a_server_that_never_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What waits is bounded, and the message says what to do."""
    monkeypatch.setattr(load, "MAX_IN_FLIGHT", 20)

    async def run() -> None:
        async with asyncio.timeout(30):
            await open_loop(Server(holds=1000).send, repeat(0.0), until(1))

    with pytest.raises(TpdeployError, match=r"20 requests wait.*--rate"):
        asyncio.run(run())


def test_arrivals_have_the_rate_asked_for() -> None:
    """Constant gaps are exact; Poisson gaps have the rate as their mean and repeat for a seed."""
    assert list(islice(gaps_between(4.0, "constant", 0), 3)) == [0.25] * 3
    drawn = list(islice(gaps_between(4.0, "poisson", 1), 20_000))
    assert sum(drawn) / len(drawn) == pytest.approx(0.25, rel=0.03)
    assert drawn[:5] == list(islice(gaps_between(4.0, "poisson", 1), 5))
    assert drawn[:5] != list(islice(gaps_between(4.0, "poisson", 2), 5))
