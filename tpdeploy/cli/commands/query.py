"""`tpdeploy query`: ask the running deployment a question; the answer streams to stdout."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated

import httpx
import typer

from tpdeploy.cli.options.deployment import Name
from tpdeploy.cli.output import err, print_json
from tpdeploy.errors import InputError
from tpdeploy.harness.load.chat import Answer, Question, ask
from tpdeploy.harness.load.client import key_from_environment, open_client, served_models
from tpdeploy.launcher.choice import chosen
from tpdeploy.launcher.control import endpoint_of, take_over_orphans
from tpdeploy.launcher.state import Endpoint

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def query(
    question: Annotated[str, typer.Argument(help="What to ask; - reads it from stdin.")],
    *,
    url: Annotated[
        str | None, typer.Option(help="Endpoint, instead of the running deployment's.")
    ] = None,
    name: Name = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    temperature: Annotated[
        float, typer.Option(min=0, help="0: always the most likely answer.")
    ] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Ask a question. An API key is read from TPDEPLOY_API_KEY or OPENAI_API_KEY.

    The chat protocol is used: a model without a chat template is refused by its engine.
    """
    text = (sys.stdin.read() if question == "-" else question).strip()
    if not text:
        raise InputError("the question is empty; give it as an argument, or - and on stdin")
    if not url:
        take_over_orphans()
    asked = Question(text=text, system=system, max_tokens=max_tokens, temperature=temperature)
    with nullcontext() if url else endpoint_of(chosen(name)) as running:
        answer = asyncio.run(_ask(url or "", running, asked, _ignore if json else _write))
    if json:
        print_json(answer)
        return
    _write("\n")
    err.print(summary(answer), style="dim")


def answer_of(name: str, asked: Question) -> Answer:
    """What the running deployment called `name` answers.

    Raises:
        RequestError: it refused, or its answer was not whole.
    """
    with endpoint_of(name) as running:
        return asyncio.run(_ask("", running, asked, _ignore))


def _client(url: str, running: Endpoint | None) -> httpx.AsyncClient:
    key = key_from_environment()
    if running is None:
        return open_client(url, key)
    return open_client(running.url, key or running.own_key(), running.certificate)


async def _ask(
    url: str, running: Endpoint | None, question: Question, on_text: Callable[[str], None]
) -> Answer:
    async with _client(url, running) as client:
        model, *_ = await served_models(client)
        return await ask(client, model, question, on_text)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _ignore(_text: str) -> None:
    """With --json the whole answer is printed at the end."""


def summary(answer: Answer) -> str:
    """Tokens and times of an answer."""
    parts = [f"{answer.output_tokens} tokens", f"TTFT {answer.ttft_ms:,.0f} ms"]
    if answer.output_tokens_per_s is not None:
        parts.append(f"{answer.output_tokens_per_s:,.1f} tokens/s")
    if answer.finish_reason == "length":
        parts.append("cut off at --max-tokens")
    return f"{answer.model}: {', '.join(parts)}"
