"""One streaming completion: what is asked, what is timed, and how failures are told apart."""

import asyncio
import socket

import pytest

from tests.harness.plans import MODEL
from tests.harness.standin import Behaviour, StandIn, first_then_answer, serving
from tpdeploy.harness.load import client as client_module
from tpdeploy.harness.load.client import open_client
from tpdeploy.harness.load.completion import complete
from tpdeploy.harness.load.events import RequestError, _payload
from tpdeploy.harness.load.exchange import Exchange
from tpdeploy.harness.load.requests import Asked

# How much later than the server wrote it a token may be seen; a machine that was busy tries again.
SLACK_S, TRIES = 0.25, 5


def exchange(url: str, output_tokens: int = 8, *, exact: bool = True) -> Exchange:
    async def run() -> Exchange:
        async with open_client(url) as client:
            return await complete(client, MODEL, Asked([5, 6, 7], output_tokens), exact=exact)

    return asyncio.run(run())


@pytest.mark.slow
def test_times_are_those_of_the_server() -> None:
    """TTFT, inter-token and end-to-end latency agree with what the server did when."""
    late = []
    for _ in range(TRIES):
        with serving(StandIn(ttft_s=0.05, itl_s=0.01)) as server:
            result = exchange(server.url, output_tokens=60)
        seen = server.first
        first, last = seen.token_times[0] - seen.received, seen.token_times[-1] - seen.received
        assert result.failure is None
        assert result.ttft_s >= first
        assert result.e2e_s >= last
        assert len(result.gaps_s) == 59
        assert result.tpot_s == pytest.approx(sum(result.gaps_s) / 59)
        assert result.ttft_s + sum(result.gaps_s) == pytest.approx(result.e2e_s)
        late.append(max(result.ttft_s - first, result.e2e_s - last))
        if late[-1] <= SLACK_S:
            break
    assert min(late) <= SLACK_S


def test_the_answer_is_forced_to_its_length() -> None:
    """The request carries token ids, forbids an early end and asks for counts."""
    with serving(StandIn()) as server:
        exchange(server.url)
    body = server.first.body
    assert body["prompt"] == [5, 6, 7]
    assert (body["max_tokens"], body["min_tokens"], body["ignore_eos"]) == (8, 8, True)
    assert body["temperature"] == 0.0
    assert body["stream_options"]["include_usage"] is True


def test_a_server_without_a_running_count_is_counted_by_events() -> None:
    """A router drops the wish for running counts; tokens and times are still right."""
    with serving(StandIn(counts=False)) as server:
        result = exchange(server.url)
    assert result.failure is None
    assert result.output_tokens == 8
    assert [tokens for _, tokens in result.arrivals] == [1] * 8


FAILURES: list[tuple[Behaviour, str, str]] = [
    ("refuse", "status", "the endpoint answered 503: no room for this"),
    ("error event", "status", "the endpoint answered: engine died"),
    ("cut", "broken", "the stream broke"),
    ("not json", "broken", "the stream is not JSON"),
    ("short", "tokens", "7 output tokens instead of 8"),
]


@pytest.mark.parametrize(("behaviour", "kind", "message"), FAILURES)
def test_failures_are_told_apart(behaviour: Behaviour, kind: str, message: str) -> None:
    """Each kind of failure is named and carries its reason in one line."""
    with serving(StandIn(behaviours=first_then_answer(behaviour))) as server:
        failure = exchange(server.url).failure
    assert failure is not None
    assert failure.kind == kind
    assert failure.message.startswith(message)


@pytest.mark.parametrize(
    "event",
    [
        b"[" * 100_000,
        b"7",
        b'{"choices": 7}',
        b'{"choices": ["word"]}',
        b'{"choices": [], "usage": [1]}',
        b'{"choices": [], "usage": {"completion_tokens": "many"}}',
    ],
)
def test_what_is_not_the_protocol_is_a_broken_stream(event: bytes) -> None:
    """Whatever a server sends is a failure of one request, never an error of the measurement."""
    with pytest.raises(RequestError) as refused:
        _payload(event)
    assert refused.value.failure.kind == "broken"
    assert len(str(refused.value)) < 200


def test_silence_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends nothing for too long is a timeout, not a broken stream."""
    monkeypatch.setattr(client_module, "READ_TIMEOUT_S", 0.1)
    with serving(StandIn(behaviours=first_then_answer("silent"))) as server:
        failure = exchange(server.url).failure
    assert failure is not None
    assert failure.kind == "timeout"


def test_nobody_listening_is_a_failed_connection() -> None:
    """A closed port is named as a failure to connect."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        failure = exchange(f"http://127.0.0.1:{unused.getsockname()[1]}").failure
    assert failure is not None
    assert failure.kind == "connect"


def test_where_length_cannot_be_forced_a_short_answer_counts() -> None:
    """Its own tokens are counted, and how many were asked for is kept."""
    with serving(StandIn(behaviours=first_then_answer("short"))) as server:
        result = exchange(server.url, exact=False)
    assert result.failure is None
    assert 0 < result.output_tokens < result.asked == 8
