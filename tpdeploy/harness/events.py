"""Server-sent events of an OpenAI-compatible endpoint, each with the time it arrived."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any, TypeGuard

import httpx

from tpdeploy.errors import TpdeployError
from tpdeploy.harness.exchange import Failure, FailureKind

LONGEST_MESSAGE = 300
# What of an event's usage is read.
COUNTS = ("prompt_tokens", "completion_tokens")


class RequestError(TpdeployError):
    """A request that got no whole answer; `failure` says of what kind."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        self.failure = Failure(kind, message)
        super().__init__(message)


async def post_stream(
    client: httpx.AsyncClient, path: str, content: bytes
) -> AsyncIterator[tuple[float, dict[str, Any]]]:
    """The events that answer a POST of the JSON `content`, with their times (monotonic, s).

    Raises:
        RequestError: no connection, an error status or event, silence, or an early end.
    """
    headers = {"Content-Type": "application/json"}
    try:
        async with client.stream("POST", path, content=content, headers=headers) as response:
            if response.is_error:
                body = await response.aread()
                message = f"{response.status_code}: {_message(body)}"
                raise RequestError("status", f"the endpoint answered {message}")
            async for event in _events(response):
                yield event
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise RequestError("connect", f"no connection: {_reason(error)}") from error
    except httpx.TimeoutException as error:
        raise RequestError("timeout", f"no answer in time: {_reason(error)}") from error
    except httpx.HTTPError as error:
        raise RequestError("broken", f"the stream broke: {_reason(error)}") from error


async def _events(response: httpx.Response) -> AsyncIterator[tuple[float, dict[str, Any]]]:
    """Every event up to `[DONE]`, or to an end after a finish reason."""
    finished = False
    async for at, data in _data_lines(response):
        if data == b"[DONE]":
            return
        payload = _payload(data)
        finished = finished or any(choice.get("finish_reason") for choice in payload["choices"])
        yield at, payload
    if not finished:
        raise RequestError("broken", "the stream ended before the answer was finished")


async def _data_lines(response: httpx.Response) -> AsyncIterator[tuple[float, bytes]]:
    rest = b""
    async for piece in response.aiter_bytes():
        at = time.monotonic()
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield at, line.removeprefix(b"data:").strip()


def _payload(data: bytes) -> dict[str, Any]:
    try:
        payload = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RequestError("broken", f"the stream is not JSON: {data[:80]!r}") from error
    if isinstance(payload, dict) and payload.get("error"):
        raise RequestError("status", f"the endpoint answered: {_message(data)}")
    if not _is_event(payload):
        raise RequestError("broken", f"the stream is not the protocol: {data[:80]!r}")
    payload["choices"] = payload.get("choices") or []
    return payload


def _is_event(payload: object) -> TypeGuard[dict[str, Any]]:
    """Whether it is an object whose choices and usage, if any, are what they should be."""
    if not isinstance(payload, dict):
        return False
    choices, usage = payload.get("choices") or [], payload.get("usage") or {}
    return (
        isinstance(choices, list)
        and all(isinstance(choice, dict) for choice in choices)
        and isinstance(usage, dict)
        and all(isinstance(usage.get(name, 0), int) for name in COUNTS)
    )


def _message(body: bytes) -> str:
    """The reason in an error's body, in one line of bounded length."""
    text = body.decode(errors="replace")
    try:
        content = json.loads(text)
        error = content.get("error", content)
        text = str(error.get("message") or error.get("detail") or text)
    except (ValueError, AttributeError, RecursionError):
        pass  # a router's or proxy's plain text
    return " ".join(text.split())[:LONGEST_MESSAGE] or "no reason given"


def _reason(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
