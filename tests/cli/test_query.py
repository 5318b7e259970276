"""`tpdeploy query` as a user meets it: the answer on stdout, everything else elsewhere."""

import io
import json
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.cli.commands import tpdeploy
from tests.harness.plans import MODEL
from tests.harness.standin import StandIn, first_then_answer, serving

query = partial(tpdeploy, "query")


def test_the_answer_alone_is_on_stdout(tmp_path: Path) -> None:
    """Text as the model gave it; tokens and times on stderr."""
    words = ("The capital", " of [bold]France[/bold]", " is Paris.")
    with serving(StandIn(words=words, itl_s=0.001)) as server:
        result = query("Which?", "--url", server.url, home=tmp_path)
    assert (result.returncode, result.stdout) == (0, "".join(words) + "\n")
    assert result.stderr.startswith(f"{MODEL}: 3 tokens, TTFT ")


def test_what_is_asked(tmp_path: Path) -> None:
    """Question, system prompt, limits and key reach the endpoint; the key is in no argument."""
    with serving(StandIn(words=("Yes.",))) as server:
        options = ("--system", "Be brief.", "--max-tokens", "9", "--temperature", "0.5")
        query("Why?", "--url", server.url, *options, home=tmp_path, TPDEPLOY_API_KEY="secret")
    seen = server.first
    assert seen.path == "/v1/chat/completions"
    assert [message["content"] for message in seen.body["messages"]] == ["Be brief.", "Why?"]
    assert (seen.body["max_tokens"], seen.body["temperature"]) == (9, 0.5)
    assert seen.key == "Bearer secret"


def test_a_question_on_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` reads it; an empty one is not sent."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("Why\nnot?\n"))
    with serving(StandIn(words=("Yes.",))) as server:
        query("-", "--url", server.url, home=tmp_path)
    assert server.first.body["messages"] == [{"role": "user", "content": "Why\nnot?"}]
    for empty in ("", "-"):
        result = query(empty, "--url", server.url, home=tmp_path)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert "the question is empty" in result.stderr


def test_json_is_one_record(tmp_path: Path) -> None:
    """--json prints the whole answer with its figures, and nothing else."""
    with serving(StandIn(words=("Par", "is"), counts=False, itl_s=0.05)) as server:
        result = query("Which?", "--url", server.url, "--json", home=tmp_path)
    answer = json.loads(result.stdout)
    assert (answer["text"], answer["output_tokens"]) == ("Paris", 2)
    assert answer["output_tokens_per_s"] > 0
    assert result.stderr == ""


def test_a_refusal_is_the_engines_own_reason_in_one_line(tmp_path: Path) -> None:
    """A model without a chat template, a prompt too long: the engine says it best."""
    with serving(StandIn(behaviours=first_then_answer("refuse"))) as server:
        result = query("Which?", "--url", server.url, home=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "Error: the endpoint answered 503: no room for this\n"


def test_an_answer_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    """What came is shown, and the exit code says that it is not all."""
    with serving(StandIn(words=("one", "two"), behaviours=first_then_answer("cut"))) as server:
        result = query("Which?", "--url", server.url, home=tmp_path)
    assert result.returncode == 1
    assert result.stdout.startswith("one")
    assert "the stream broke" in result.stderr


def test_nothing_running_is_one_line(tmp_path: Path) -> None:
    """The line says what to do; exit code 2."""
    result = query("Hello?", home=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: no deployment is running")
    assert result.stderr.count("\n") == 1
