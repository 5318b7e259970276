"""The guard that stands around vLLM's server."""

import asyncio
import importlib.util
from typing import Any

import pytest

from tpdeploy.backends import vllm


def statuses(scope: dict[str, Any]) -> list[Any]:
    """What is sent for a request; the application itself says 200."""
    spec = importlib.util.spec_from_file_location("guard", vllm.PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sent: list[dict[str, Any]] = []

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    async def app(_scope: object, _receive: object, send: Any) -> None:
        await send({"type": "app", "status": 200})

    asyncio.run(module.Guard(app)(scope, None, send))
    return [event.get("status", event.get("code")) for event in sent if event["type"] != BODY]


BODY = "http.response.body"
PATHS = ("/v1/models", "/invocations", "/tokenize", "/metrics", "/docs", "/", "/health/x")


def scope(path: str, *keys: bytes, kind: str = "http") -> dict[str, Any]:
    headers = [(b"Authorization", key) for key in keys]
    return {"type": kind, "path": path, "method": "OPTIONS", "headers": headers}


@pytest.mark.parametrize("path", PATHS)
def test_every_route_wants_the_key(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the method; one key, and the whole of it. Only the health check is open."""
    monkeypatch.setenv("VLLM_API_KEY", "inner")
    for keys in ((), (b"Bearer ",), (b"inner",), (b"Bearer inne",), (b"Bearer inner", b"Bearer x")):
        assert statuses(scope(path, *keys)) == [401]
    assert statuses(scope(path, b"Bearer inner")) == [200]
    assert statuses(scope("/health")) == [200]
    assert statuses(scope(path, kind="websocket")) == [1008]


def test_without_a_key_it_lets_in_as_vllm_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of a dry run, typed by hand, serves; starting up is no request."""
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    assert statuses(scope("/invocations")) == [200]
    monkeypatch.setenv("VLLM_API_KEY", "inner")
    assert statuses({"type": "lifespan"}) == [200]


def test_it_is_a_file_of_its_own() -> None:
    """The engine's environment has no tpdeploy."""
    assert "import tpdeploy" not in vllm.PROGRAM.read_text()
    assert "from tpdeploy" not in vllm.PROGRAM.read_text()
