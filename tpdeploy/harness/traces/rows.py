"""Rows of a trace's file with their line numbers: of a table, of JSON Lines, or of one result."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tpdeploy.errors import InputError, shown

Row = Mapping[str, Any]
# A row, or what is wrong with its line.
Line = tuple[int, Row | InputError]
# Of `vllm bench serve --save-detailed`, one number per request each.
OF_VLLM = ("start_times", "input_lens", "output_lens")


def rows_of(text: str) -> Iterator[Line]:
    """Every row of `text` with the number of its line; of a result as a whole, of its request.

    Raises:
        InputError: a result whose lists do not belong together.
    """
    if text.lstrip()[:1] != "{":
        return _of_table(text)
    whole = _whole(text)
    return _of_lines(text) if whole is None else _of_result(whole)


def _of_table(text: str) -> Iterator[Line]:
    table = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    table.fieldnames = [name.strip() for name in table.fieldnames or ()]
    while True:
        try:
            row = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            yield table.line_num + 1, InputError(str(error))
            continue
        yield table.line_num, row


def _of_lines(text: str) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            yield number, InputError("is not valid JSON")
            continue
        yield number, row if isinstance(row, dict) else InputError("is not a JSON object")


def _whole(text: str) -> Row | None:
    """The one result that the file is, on one line or on several; None for JSON Lines."""
    first = text.lstrip().partition("\n")[0]
    if len(first.strip()) > 1 and OF_VLLM[0] not in first:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and OF_VLLM[0] in found else None


def _of_result(result: Row) -> Iterator[Line]:
    lists: list[Sequence[Any]] = [result.get(name) or () for name in OF_VLLM]
    counts = [len(each) if isinstance(each, list) else 0 for each in lists]
    if len(set(counts)) > 1 or not counts[0]:
        told = ", ".join(f"{n} {name}" for n, name in zip(counts, OF_VLLM, strict=True))
        raise InputError(f"{shown(told)}: need one of each per request, as --save-detailed writes")
    for number, values in enumerate(zip(*lists, strict=True), start=1):
        yield number, dict(zip(OF_VLLM, values, strict=True))
