"""One streaming completion, measured."""

import json
import time
from typing import Any

import httpx

from tpdeploy.harness.load.client import on_sent
from tpdeploy.harness.load.events import RequestError, post_stream
from tpdeploy.harness.load.exchange import Exchange, Failure
from tpdeploy.harness.load.requests import Asked


async def complete(
    client: httpx.AsyncClient,
    model: str,
    asked: Asked,
    due: float | None = None,
    *,
    exact: bool = True,
) -> Exchange:
    """Send what is `asked`, that was due at `due` (monotonic, s; None: when it goes out).

    `exact`: an answer of another length than asked is a failure; not where an engine cannot force
    it. Never raises for what the endpoint does: a failure is part of the exchange.
    """
    content = json.dumps(_body(model, asked)).encode()
    sent = time.monotonic()
    exchange = Exchange(due=sent if due is None else due, sent=sent, asked=asked.output_tokens)

    def goes_out() -> None:
        exchange.sent = time.monotonic()
        exchange.due = exchange.sent if due is None else due

    on_sent.set(goes_out)
    try:
        async for at, payload in post_stream(client, "/v1/completions", content):
            _record(exchange, at, payload)
        exchange.failure = _wrong_length(exchange, asked, exact=exact)
    except RequestError as error:
        exchange.failure = error.failure
    exchange.finished = time.monotonic()
    return exchange


def _body(model: str, asked: Asked) -> dict[str, object]:
    return {
        "model": model,
        "prompt": asked.prompt,
        "max_tokens": asked.output_tokens,
        "min_tokens": asked.output_tokens,
        "ignore_eos": True,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }


def _record(exchange: Exchange, at: float, payload: dict[str, Any]) -> None:
    """Add one event: new tokens by the server's running count, else one an event with a choice.

    Routers may drop the wish for a running count; the last event's count then corrects the sum.
    An event's text can be empty: half of a character waits for the token with its other half.
    """
    usage, has_choice = payload.get("usage"), bool(payload["choices"])
    new = int(has_choice)
    if usage:
        exchange.prompt_tokens = usage.get("prompt_tokens")
        new = int(usage.get("completion_tokens", 0)) - exchange.output_tokens
    exchange.output_tokens += new
    if has_choice and new > 0:
        exchange.arrivals.append((at, new))


def _wrong_length(exchange: Exchange, asked: Asked, *, exact: bool) -> Failure | None:
    got, wanted = exchange.output_tokens, asked.output_tokens
    if not exchange.arrivals or (exact and got != wanted):
        return Failure("tokens", f"{got} output tokens instead of {wanted}")
    if exact and isinstance(asked.prompt, list):
        prompt = len(asked.prompt)
        if exchange.prompt_tokens not in {None, prompt}:
            return Failure("tokens", f"{exchange.prompt_tokens} prompt tokens instead of {prompt}")
        exchange.prompt_tokens = prompt
    return None
