"""One question to a chat model, answered piece by piece."""

import json
import time
from collections.abc import Callable

import httpx
from pydantic import Field

from tpdeploy.harness.load.events import RequestError, post_stream
from tpdeploy.profiles.record import Record


class Answer(Record):
    """A whole answer and how fast it came."""

    model: str
    text: str
    finish_reason: str | None
    output_tokens: int = Field(ge=0, description="the server's count, else pieces of text")
    ttft_ms: float = Field(ge=0, description="from sending the question to the first text")
    output_tokens_per_s: float | None = Field(description="after the first; None: a single piece")


class Question(Record):
    """What to ask, and how the answer is drawn."""

    text: str
    system: str | None = None
    max_tokens: int = Field(default=256, gt=0)
    temperature: float = Field(default=0.0, ge=0, description="0: the likeliest answer, always")


async def ask(
    client: httpx.AsyncClient, model: str, question: Question, on_text: Callable[[str], None]
) -> Answer:
    """Put `question` to `model`, handing each piece of the answer to `on_text` as it comes.

    Raises:
        RequestError: the endpoint refused (its own reason is the message; a model without a
            chat template is refused so) or the answer was not whole.
    """
    answer, times, finish, tokens = "", [], None, 0
    content = json.dumps(_body(model, question)).encode()
    sent = time.monotonic()
    async for at, payload in post_stream(client, "/v1/chat/completions", content):
        for choice in payload["choices"]:
            finish = choice.get("finish_reason") or finish
            if text := (choice.get("delta") or {}).get("content"):
                times.append(at)
                answer += text
                on_text(text)
        tokens = (payload.get("usage") or {}).get("completion_tokens", tokens)
    if not times:
        raise RequestError("tokens", f"the answer holds no text (finish reason: {finish})")
    tokens = tokens or len(times)
    span = times[-1] - times[0]
    return Answer(
        model=model,
        text=answer,
        finish_reason=finish,
        output_tokens=tokens,
        ttft_ms=(times[0] - sent) * 1000,
        output_tokens_per_s=(tokens - 1) / span if span > 0 else None,
    )


def _body(model: str, question: Question) -> dict[str, object]:
    messages = [{"role": "user", "content": question.text}]
    if question.system is not None:
        messages.insert(0, {"role": "system", "content": question.system})
    return {
        "model": model,
        "messages": messages,
        "max_tokens": question.max_tokens,
        "temperature": question.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
