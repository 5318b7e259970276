"""A day of traffic: a table of requests/s by the hour, or the arrivals of a trace."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from math import inf
from pathlib import Path

from tpdeploy.bounds import LEAST_RATE, MOST_RATE
from tpdeploy.errors import InputError, shown
from tpdeploy.files import MOST_TABLE_BYTES, read_text
from tpdeploy.harness.load.lengths import PROMPTS
from tpdeploy.planner.daily import DAY_S, HOUR_S, Stretch
from tpdeploy.planner.trace import Trace

HOUR, RATE = "hour", "requests_per_second"
CLOCK = re.compile(r"(\d{1,2}):(\d{2})|(\d{1,2}(?:\.\d+)?)")
# Every quarter of an hour.
MOST_STRETCHES = 96
# A trace is counted by the longest of these of which it has so many.
WIDTHS_S, FEWEST_STRETCHES = (3600, 1800, 900, 600, 300), 10


def is_trace(path: Path) -> bool:
    """Whether `path` has a line for each request; else it should be a table of requests/s.

    Raises:
        InputError: no such file.
    """
    first = _text(path).lstrip().partition("\n")[0]
    return first[:1] == "{" or any(name.strip() in PROMPTS for name in first.split(","))


def read_day(path: Path) -> tuple[Stretch, ...]:
    """Requests/s over a day, each up to the next row's time and the last up to the first.

    Raises:
        InputError: no such file, a column is missing, or a bad row, which is named by its number.
    """
    table = csv.DictReader(io.StringIO(_text(path), newline=""), skipinitialspace=True)
    table.fieldnames = names = [name.strip() for name in table.fieldnames or ()]
    if HOUR not in names or RATE not in names:
        raise InputError(
            f"--daily {path}: need the columns {HOUR} and {RATE}, or a trace; there are "
            f"{shown(', '.join(names)) or 'none'}"
        )
    found: list[Stretch] = []
    for number, row in _rows(path, table):
        where = f"--daily {path}, line {number}"
        from_s = _time(where, row[HOUR] or "")
        if found and from_s <= found[-1].from_s:
            raise InputError(
                f"{where}: {HOUR} {shown(row[HOUR] or '')} is not after the one before"
            )
        found.append(Stretch(from_s=from_s, requests_per_s=_rate(where, row[RATE] or "")))
    if not found or len(found) > MOST_STRETCHES:
        raise InputError(f"--daily {path}: need 1 to {MOST_STRETCHES} rows, not {len(found):,}")
    if max(stretch.requests_per_s for stretch in found) < LEAST_RATE:
        raise InputError(f"--daily {path}: no request all day")
    return tuple(found)


def day_of(path: Path, trace: Trace) -> tuple[float, tuple[Stretch, ...]]:
    """Seconds that `trace` takes, and its requests/s by the hour, or by parts of one.

    Raises:
        InputError: it is longer than a day, or too short to tell what rises and falls.
    """
    seconds = trace.recording.seconds
    if seconds > DAY_S:
        raise InputError(
            f"--daily {path}: its requests came within {seconds / HOUR_S:,.1f} h; take a day of "
            "them, as --trace-window 24h..48h"
        )
    width = next((w for w in WIDTHS_S if round(seconds / w) >= FEWEST_STRETCHES), None)
    if width is None:
        raise InputError(
            f"--daily {path}: its requests came within {seconds / 60:,.1f} min; 50 min or more "
            "tell how a load rises and falls"
        )
    last = round(seconds / width) - 1
    counted = Counter(min(last, int(request.at // width)) for request in trace.requests)
    ends = [*((at + 1) * width for at in range(last)), seconds]
    return seconds, tuple(
        Stretch(from_s=at * width, requests_per_s=counted[at] / (end - at * width))
        for at, end in enumerate(ends)
    )


def _text(path: Path) -> str:
    return read_text(path, MOST_TABLE_BYTES)


def _rows(path: Path, table: "csv.DictReader[str]") -> Iterator[tuple[int, dict[str, str | None]]]:
    try:
        for row in table:
            yield table.line_num, dict(row)
    except csv.Error as error:
        raise InputError(f"--daily {path}, line {table.line_num + 1}: {error}") from None


def _time(where: str, text: str) -> float:
    """Seconds of `7`, `7.5` or `07:30`."""
    match = CLOCK.fullmatch(text.strip())
    hours = inf
    if match:
        minutes = int(match[2] or 0)
        hours = float(match[1] or match[3]) + minutes / 60 if minutes < 60 else inf
    if hours >= 24:
        raise InputError(f"{where}: {HOUR} {shown(text)}: need 0 to 23, 7.5 or 07:30")
    return hours * HOUR_S


def _rate(where: str, text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= MOST_RATE:
        raise InputError(f"{where}: {RATE} {shown(text)}: need 0 to {MOST_RATE:,.0f} requests/s")
    return rate
