"""Lengths of real requests, from the files that people have."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tpdeploy.errors import InputError
from tpdeploy.harness.load.lengths import read_lengths
from tpdeploy.harness.load.tokenizer import counter
from tpdeploy.profiles.models.library import load_model

PAIRS = [(374, 44), (396, 109)]


@pytest.mark.parametrize(
    "text",
    [
        "input_tokens,output_tokens\n374,44\n396,109\n",
        'note, input_tokens, output_tokens\n"one\u2028line", 374, 44\nb, 396, 109\n',
        "TIMESTAMP,ContextTokens,GeneratedTokens\n1,374,44\n2,396,109\n",
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,GPT-4,374,44,418,API log\n45,GPT-4,396,109,505,API log\n",
        '{"timestamp": 0, "input_length": 374, "output_length": 44, "hash_ids": [0]}\n\n'
        '{"timestamp": 9, "input_length": 396, "output_length": 109, "hash_ids": [0]}\n',
        '{"prompt": "' + "a" * 374 + '", "output_tokens": 44}\n'
        f'{{"prompt": {[7] * 396}, "output_tokens": 109}}',
    ],
)
def test_lengths_are_read_from_what_people_have(tmp_path: Path, text: str) -> None:
    """Our own columns, Azure's, BurstGPT's and Mooncake's; prompts are counted."""
    file = tmp_path / "lengths"
    file.write_text(text)
    assert read_lengths(file, len) == PAIRS


def test_a_request_without_tokens_has_one(tmp_path: Path) -> None:
    """Public traces have a few that failed."""
    (tmp_path / "lengths.csv").write_text("input_tokens,output_tokens\n0,5\n")
    assert read_lengths(tmp_path / "lengths.csv") == [(1, 5)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "need the columns input_tokens and output_tokens"),
        ("input_tokens,output_tokens\n", "holds no request"),
        ("a,b\n1,2\n", "there are a, b"),
        (
            "input_tokens,output_tokens\n1,2\n3,x\n",
            "line 3: output_tokens x: need 0 to 100,000,000",
        ),
        ("input_tokens,output_tokens\n1\n", "line 2: output_tokens None: need"),
        (f"input_tokens,output_tokens\n1,{'2' * 200_000}\n", "line 2: field larger than"),
        ('{"input_tokens": 5, "output_tokens": -1}', "line 1: output_tokens -1: need"),
        ('{"input_tokens": 5, "output_tokens": 1}\n{"x', "line 2: is not valid JSON"),
        ('{"input_tokens": 5, "output_tokens": 1}\n[5]', "line 2: give"),
        ('{"prompt": 5, "output_tokens": 1}', "line 1: the prompt must be text or token ids"),
        ('{"prompt": "a", "output_tokens": 1}', "line 1: a prompt as text is counted for a model"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, words: str) -> None:
    """With its number, and what would do."""
    (tmp_path / "lengths").write_text(text)
    with pytest.raises(InputError, match=words):
        read_lengths(tmp_path / "lengths")


def test_counting_needs_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names it."""
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"pip install 'tpdeploy\[prompts\]'"):
        counter(load_model("llama-8b"))


def test_a_model_without_a_tokenizer_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the package raises."""

    class Tokenizer:
        @staticmethod
        def from_file(path: str) -> None:
            raise Exception(f"No such file: {path}")  # noqa: TRY002 - as the package does

    package = ModuleType("tokenizers")
    package.__dict__["Tokenizer"] = Tokenizer
    monkeypatch.setitem(sys.modules, "tokenizers", package)
    config = json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})
    (tmp_path / "config.json").write_text(config)
    shape = load_model("llama-8b").changed(path=str(tmp_path))
    with pytest.raises(InputError, match=r"cannot read tokenizer\.json of .*: No such file"):
        counter(shape)
