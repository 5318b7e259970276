"""Lengths of real requests from a file: tokens as they were counted, or prompts to count."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tpdeploy.bounds import MOST_TOKENS
from tpdeploy.errors import InputError, shown
from tpdeploy.files import MOST_TABLE_BYTES, read_text

# What the public files call them, and what ours do.
PROMPTS = ("input_tokens", "input_length", "ContextTokens", "Request tokens", "prompt_tokens")
ANSWERS = (
    *("output_tokens", "output_length", "GeneratedTokens", "Response tokens"),
    "completion_tokens",
)
Count = Callable[[str], int]


def read_lengths(path: Path, count: Count | None = None) -> list[tuple[int, int]]:
    """Prompt and answer tokens of each request in a CSV file or JSON Lines.

    A line of JSON may hold a prompt in place of its tokens: a list of token ids, or text, which
    `count` counts.

    Raises:
        InputError: no such file, no request in it, or a line that does not tell both; its number
            is named.
    """
    text = read_text(path, MOST_TABLE_BYTES)
    rows = _json_rows if text.lstrip()[:1] == "{" else _csv_rows
    found = [_pair(where, row, count) for where, row in rows(path, text)]
    if not found:
        raise InputError(f"--lengths {path}: holds no request")
    return found


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    table = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        yield from _csv_table(path, table)
    except csv.Error as error:
        raise InputError(f"--lengths {path}, line {table.line_num + 1}: {error}") from None


def _csv_table(path: Path, table: "csv.DictReader[str]") -> Iterator[tuple[str, Mapping[str, Any]]]:
    table.fieldnames = [name.strip() for name in table.fieldnames or ()]
    names = table.fieldnames
    if not set(PROMPTS) & set(names) or not set(ANSWERS) & set(names):
        raise InputError(
            f"--lengths {path}: need the columns input_tokens and output_tokens, or JSON Lines "
            "with these; there are " + (shown(", ".join(names)) or "none")
        )
    for row in table:
        yield f"--lengths {path}, line {table.line_num}", row


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"--lengths {path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise InputError(f"{where}: is not valid JSON") from None
        if not isinstance(row, dict):
            raise InputError(f'{where}: give {{"input_tokens": 374, "output_tokens": 44}}')
        yield where, row


def _pair(where: str, row: Mapping[str, Any], count: Count | None) -> tuple[int, int]:
    prompt, answer = _first(row, PROMPTS), _first(row, ANSWERS)
    if prompt is None and "prompt" in row:
        prompt = _counted(where, row["prompt"], count)
    return _tokens(where, "input_tokens", prompt), _tokens(where, "output_tokens", answer)


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> object:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _counted(where: str, prompt: object, count: Count | None) -> int:
    if isinstance(prompt, list):
        return len(prompt)
    if not isinstance(prompt, str):
        raise InputError(f"{where}: the prompt must be text or token ids")
    if count is None:
        raise InputError(f"{where}: a prompt as text is counted for a model only")
    return count(prompt)


def _tokens(where: str, name: str, value: object) -> int:
    """Tokens as a file has them; a request of none, as public traces have a few, has one."""
    try:
        tokens = int(str(value))
    except ValueError:
        tokens = -1
    if not 0 <= tokens <= MOST_TOKENS:
        raise InputError(f"{where}: {name} {shown(str(value))}: need 0 to {MOST_TOKENS:,}")
    return max(1, tokens)
