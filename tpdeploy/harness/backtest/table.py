"""The table of measured runs: a CSV file, and what its cells say."""

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from math import isfinite
from pathlib import Path
from sys import intern

from tpdeploy.bounds import MOST_DEVICES, MOST_FIGURE
from tpdeploy.errors import InputError, shown
from tpdeploy.files import MOST_TABLE_BYTES, read_text

COLUMNS = (
    "model",
    "gpu",
    "gpu_count",
    "tp",
    "pp",
    "dp",
    "precision",
    "engine",
    "input_tokens",
    "output_tokens",
    "concurrency",
    "ttft_ms",
    "tpot_ms",
)
LEFT_OUT = ("impossible", "doubtful")
Row = Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """The file: its columns, and per row a mapping from column to text."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def usable(row: Row) -> bool:
    """Whether a row counts: its note begins with neither of LEFT_OUT."""
    return not row.get("note", "").startswith(LEFT_OUT)


def is_of(row: Row, names: Collection[str]) -> bool:
    """Whether one of `names` is the row's family, model or GPU."""
    return any(row.get(column) in names for column in ("family", "model", "gpu"))


def read_rows(path: Path) -> Table:
    """The runs of a CSV file.

    Raises:
        InputError: not a readable CSV file, a column of COLUMNS missing, or no rows.
    """
    text = StringIO(read_text(path, MOST_TABLE_BYTES), newline="")
    lines = (line for line in csv.reader(text) if line)
    try:
        columns = tuple(name.strip() for name in next(lines, ()))
        missing = [name for name in COLUMNS if name not in columns]
        rows = () if missing else tuple(_row(columns, line) for line in lines)
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: {error}") from error
    if not columns:
        raise InputError(f"{path} is empty; needed: a header with {', '.join(COLUMNS)}, and rows")
    if missing:
        raise InputError(
            f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; a CSV file "
            "with a header is needed, and a row for each measured run"
        )
    if not rows:
        raise InputError(f"{path} has a header and no rows; give a row for each measured run")
    return Table(columns, rows)


def _row(columns: Sequence[str], line: Sequence[str]) -> Row:
    # A table says few things many times: each is kept once.
    cells = [*map(intern, line), *[""] * (len(columns) - len(line))]
    return dict(zip(columns, cells, strict=False))


def whole(
    row: Row, name: str, least: int, most: int = MOST_DEVICES, *, default: int | None = None
) -> int:
    """A whole number from `least` to `most`; 8.0 is one, as tables of numbers write it.

    Raises:
        InputError: another cell, or a blank one without a `default`.
    """
    text = row[name].strip()
    if not text and default is not None:
        return default
    value = number(text)
    if value is None or value != int(value) or not least <= value <= most:
        raise InputError(f"{name} {shown(text)!r}: need a whole number from {least} to {most:,}")
    return int(value)


def stated(row: Row, name: str) -> str:
    """The cell of a column that need not be there."""
    return row.get(name, "").strip()


def measured(row: Row, name: str) -> float | None:
    """What was measured; None for a blank cell or no such column.

    Raises:
        InputError: a cell that is no number above 0.
    """
    text = stated(row, name)
    if not text:
        return None
    value = number(text)
    if value is None or not 0 < value <= MOST_FIGURE:
        raise InputError(
            f"{name} {shown(text)!r}: need a number above 0, at most {MOST_FIGURE:g}, or nothing"
        )
    return value


def number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None
