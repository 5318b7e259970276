"""One streaming completion of fixed length, measured."""

import json
import time
from typing import Any

import httpx

from tpdeploy.harness.events import RequestError, post_stream
from tpdeploy.harness.exchange import Exchange, Failure


async def complete(
    client: httpx.AsyncClient, model: str, prompt: list[int], output_tokens: int, due: float
) -> Exchange:
    """Send `prompt` (token ids), due at `due` (monotonic, s), for exactly `output_tokens`.

    Never raises for what the endpoint does: a failure is part of the exchange.
    """
    content = json.dumps(_body(model, prompt, output_tokens)).encode()
    exchange = Exchange(due=due, sent=time.monotonic())
    try:
        async for at, payload in post_stream(client, "/v1/completions", content):
            _record(exchange, at, payload)
        exchange.failure = _wrong_length(exchange, len(prompt), output_tokens)
    except RequestError as error:
        exchange.failure = error.failure
    exchange.finished = time.monotonic()
    return exchange


def _body(model: str, prompt: list[int], output_tokens: int) -> dict[str, object]:
    return {
        "model": model,
        "prompt": prompt,
        "max_tokens": output_tokens,
        "min_tokens": output_tokens,
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


def _wrong_length(exchange: Exchange, prompt: int, output: int) -> Failure | None:
    if exchange.output_tokens != output or not exchange.arrivals:
        return Failure("tokens", f"{exchange.output_tokens} output tokens instead of {output}")
    if exchange.prompt_tokens not in {None, prompt}:
        return Failure("tokens", f"{exchange.prompt_tokens} prompt tokens instead of {prompt}")
    return None
