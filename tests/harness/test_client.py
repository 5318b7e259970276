"""Addresses are understood or refused, and whatever answers is told apart from an endpoint."""

import asyncio
import socket

import pytest

from tests.harness.plans import MODEL
from tests.harness.standin import StandIn, serving
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.harness.load.client import key_from_environment, open_client, served_models


def models(url: str) -> tuple[str, ...]:
    async def run() -> tuple[str, ...]:
        async with open_client(url) as client:
            return await served_models(client)

    return asyncio.run(run())


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
def test_an_address_works_with_and_without_v1(end: str) -> None:
    """The address as OpenAI clients take it and the bare one reach the same endpoint."""
    with serving(StandIn()) as server:
        assert models(server.url + end) == (MODEL,)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "nonsense", ""])
def test_what_is_no_address_is_refused_with_an_example(url: str) -> None:
    """The message shows what an address looks like."""
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:8000"):
        open_client(url)


def test_a_closed_port_is_named() -> None:
    """Nothing there: the address is in the message."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(TpdeployError, match=f"nothing answers at http://127.0.0.1:{port}"):
            models(f"http://127.0.0.1:{port}")


def test_a_path_that_does_not_exist_is_told_with_its_status() -> None:
    """Another web server is no endpoint; what it answered is said."""
    with serving(StandIn()) as server, pytest.raises(TpdeployError, match="answered 404"):
        models(server.url + "/elsewhere")


def test_a_key_is_not_sent_in_clear_text_to_a_public_address() -> None:
    """A key in the environment never leaves the private network without encryption."""
    with pytest.raises(InputError, match="unencrypted"):
        open_client("http://example.com", "secret")


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own variable before OpenAI's, and none is none."""
    monkeypatch.delenv("TPDEPLOY_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert key_from_environment() is None
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    assert key_from_environment() == "theirs"
    monkeypatch.setenv("TPDEPLOY_API_KEY", "ours")
    assert key_from_environment() == "ours"
