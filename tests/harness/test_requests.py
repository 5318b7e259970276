"""Requests have the tokens asked for, and share a prefix only where they are to."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpdeploy.errors import InputError
from tpdeploy.harness.load.requests import Asked, Draw, random_requests, read_requests
from tpdeploy.planner.lengths import Lengths
from tpdeploy.planner.workload import Workload, fields_of


def prompts(vocab: int, tokens: int, how: Draw, count: int = 50) -> list[list[int]]:
    load = Workload(input_tokens=tokens, output_tokens=8, length_spread=0, concurrency=1)
    drawn: Iterator[Asked] = islice(random_requests(vocab, load, how), count)
    return [asked.prompt for asked in drawn if isinstance(asked.prompt, list)]


@given(st.integers(100, 200_000), st.integers(1, 300), st.integers(0, 9))
def test_length_range_and_difference(vocab: int, tokens: int, seed: int) -> None:
    """Exact length, no id of the outer tenths, and no two that begin with the same token."""
    drawn = prompts(vocab, tokens, Draw(seed))
    assert {len(prompt) for prompt in drawn} == {tokens}
    assert all(vocab // 10 <= t < vocab - vocab // 10 for prompt in drawn for t in prompt)
    assert len({prompt[0] for prompt in drawn}) == 50


def test_a_seed_repeats_its_prompts() -> None:
    """The same seed gives the same load, another seed another."""
    one, again, other = (prompts(1000, 20, Draw(seed), 3) for seed in (1, 1, 2))
    assert one == again != other


@given(st.integers(1, 100), st.integers(0, 150))
def test_a_shared_prefix_is_shared_and_no_more(tokens: int, shared: int) -> None:
    """At least the last token is a prompt's own; the length stays what was asked."""
    drawn = prompts(1000, tokens, Draw(shared_prefix=shared))
    same = min(shared, tokens - 1)
    assert {len(prompt) for prompt in drawn} == {tokens}
    assert len({tuple(prompt[:same]) for prompt in drawn}) == 1
    assert len({prompt[same] for prompt in drawn}) == 50


@pytest.mark.slow
def test_lengths_are_spread_evenly() -> None:
    """A fifth to either side, of prompts and of answers, with the mean that was asked for."""
    load = Workload(input_tokens=1000, output_tokens=100, length_spread=0.2, concurrency=1)
    drawn = list(islice(random_requests(5000, load, Draw()), 2000))
    lengths = [len(asked.prompt) for asked in drawn]
    answers = [asked.output_tokens for asked in drawn]
    assert 800 <= min(lengths) < 810
    assert 1190 < max(lengths) <= 1200
    assert sum(lengths) / len(lengths) == pytest.approx(1000, rel=0.02)
    assert (min(answers), max(answers)) == (80, 120)


def test_planned_lengths_are_sent_in_their_order() -> None:
    """Pair by pair and again, whatever the seed; a shared prefix leaves their length."""
    lengths = Lengths(name="x", source="y", pairs=((9, 4), (30, 1), (2, 7)))
    load = Workload(**fields_of(lengths), concurrency=1)
    for how in (Draw(1), Draw(2, shared_prefix=5)):
        sent = islice(random_requests(5000, load, how), 4)
        pairs = [(len(asked.prompt), asked.output_tokens) for asked in sent]
        assert pairs == [(9, 4), (30, 1), (2, 7), (9, 4)]


def test_real_prompts_come_in_order_and_again(tmp_path: Path) -> None:
    """Text or token ids; a line without a length takes the load's."""
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "hello", "output_tokens": 3}\n\n{"prompt": [1, 2]}\n')
    assert list(islice(read_requests(file, 64), 3)) == [
        Asked("hello", 3),
        Asked([1, 2], 64),
        Asked("hello", 3),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no request"),
        ('{"prompt": "a"}\nhello', "line 2 is not valid JSON"),
        ('{"text": "a"}', "line 1: give"),
        ('{"prompt": []}', "line 1: give"),
        ('{"prompt": "a", "output_tokens": 0}', "line 1: output_tokens 0: need 1 to"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, words: str) -> None:
    """Before anything is sent."""
    file = tmp_path / "prompts.jsonl"
    file.write_text(text)
    with pytest.raises(InputError, match=words):
        read_requests(file, 64)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """One line."""
    with pytest.raises(InputError, match="No such file"):
        read_requests(tmp_path / "none.jsonl", 64)


@pytest.mark.parametrize(
    "line",
    [
        "[" * 3000,
        '{"prompt": "a", "output_tokens": 1e400}',
        '{"prompt": "a", "output_tokens": ' + "9" * 400 + "}",
        '{"prompt": [-1]}',
    ],
)
def test_a_line_that_nobody_can_mean_is_named(tmp_path: Path, line: str) -> None:
    """Depth, numbers and token ids beyond all bounds."""
    path = tmp_path / "prompts.jsonl"
    path.write_text(line)
    with pytest.raises(InputError, match="line 1"):
        read_requests(path, 8)


def test_a_line_separator_within_a_prompt_ends_no_line(tmp_path: Path) -> None:
    """JSON may hold one as it is."""
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a\u2028b"}', encoding="utf-8")
    assert next(read_requests(path, 8)).prompt == "a\u2028b"
