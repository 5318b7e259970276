"""Reading a trace: a file of recorded requests, and the part of it that is replayed."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import ceil, inf, isfinite
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from tpdeploy.bounds import MOST_TOKENS
from tpdeploy.errors import InputError, shown
from tpdeploy.files import MOST_TABLE_BYTES, read_text
from tpdeploy.harness.traces.forms import BLOCKS, MOONCAKE_BLOCK, SMALL_BLOCK, Form, form_of, within
from tpdeploy.harness.traces.rows import Row, rows_of
from tpdeploy.planner.lengths import check_left_out
from tpdeploy.planner.serving.prefix_cache import shared_share
from tpdeploy.planner.trace import MOST_SHOWN, MOST_SPEED, SHORTEST_S, Recorded, Recording, Trace

BadLines = Literal["stop", "skip"]
# More bad lines than this are another format.
MOST_BAD = 0.5
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")


@dataclass(frozen=True)
class Part:
    """Which part of a recording, from its first request on, and how fast."""

    from_s: float = 0.0
    to_s: float | None = None
    speed: float = 1.0


def part_of(window: str | None, speed: float | None) -> Part:
    """The part that `10m..20m` and a speed name; units are s, m, h and d.

    Raises:
        InputError: no such window or speed.
    """
    if speed is not None and not 0 < speed <= MOST_SPEED:
        raise InputError(f"--trace-speed {speed:g}: must be above 0 and at most {MOST_SPEED:,.0f}")
    if window is None:
        return Part(speed=speed or 1.0)
    begin, dots, end = window.replace(" ", "").partition("..")
    first, last = _span(begin), _span(end)
    if not dots or first is None or last is None or (end and last <= first):
        raise InputError(
            f"--trace-window {shown(window)}: give a part from its first request on, as 10m..20m, "
            "..1h or 90s.."
        )
    return Part(first, last if end else None, speed or 1.0)


def read_trace(path: Path, part: Part = Part(), bad: BadLines = "stop") -> Trace:
    """The requests of `part` of the file `path`, the first to come first.

    Raises:
        InputError: no such file, an unknown format, nothing in that part, or a bad line, which is
            named by its number; with `bad` of "skip" those are left out and counted.
    """
    text = read_text(path, MOST_TABLE_BYTES)
    try:
        form, found, skipped = _read(text, bad)
    except InputError as error:
        raise InputError(f"--trace {path}{_between(str(error))}{error}") from None
    found.sort(key=lambda request: request.at)
    kept = _cut(found, part)
    if not kept:
        last = found[-1].at - found[0].at
        raise InputError(
            f"--trace {path}: no request in the window; its {len(found):,} requests came within "
            f"{last:,.1f} s"
        )
    recording = _recording(path, text, form, part, kept)
    told = {"bad_lines": len(skipped), "first_bad": skipped[:MOST_SHOWN]}
    return Trace(recording.changed(**told), tuple(kept))


def without_longer(trace: Trace, tokens: int) -> Trace:
    """The requests of at most `tokens` at their end.

    Raises:
        InputError: more than one in ten are longer.
    """
    kept = [r for r in trace.requests if r.prompt + r.answer <= tokens]
    out = len(trace.requests) - len(kept)
    check_left_out(f"--trace {trace.recording.name}", out / len(trace.requests), tokens)
    if not out:
        return trace
    counted = _counted(kept, trace.recording.block_tokens)
    return Trace(trace.recording.changed(left_out=out, **counted), tuple(kept))


@dataclass(frozen=True)
class _Read:
    """A form as this file has it."""

    form: Form
    per_s: float
    block_tokens: int | None

    @property
    def words(self) -> str:
        unit = {1.0: "s", 1e3: "ms", 1e9: "ns"}[self.per_s]
        blocks = f", blocks of {self.block_tokens} tokens" if self.block_tokens else ""
        return f"{self.form.name} (times in {unit}{blocks})"


def _between(message: str) -> str:
    return ", " if message.startswith("line ") else ": "


def _read(text: str, bad: BadLines) -> tuple[_Read, list[Recorded], tuple[int, ...]]:
    """What the file is, its requests with times as it has them, and the lines left out."""
    form: Form | None = None
    found: list[Recorded] = []
    skipped: list[tuple[int, InputError]] = []
    ids: dict[Any, int] = {}
    for number, row in rows_of(text):
        try:
            if isinstance(row, InputError):
                raise row
            form = form or form_of(row)
            if within(row, ("metadata", "benchmark_phase")) != "warmup":
                found.append(_request(form, row, ids))
        except InputError as error:
            skipped.append((number, error))
            if bad == "stop":
                break
    if skipped and (bad == "stop" or len(skipped) > MOST_BAD * (len(skipped) + len(found))):
        first, why = skipped[0]
        others = "" if bad == "stop" else f"; {len(skipped):,} of its lines are no requests"
        raise InputError(f"line {first}: {why}{others}")
    if form is None or not found:
        raise InputError("holds no request")
    read = _settled(form, found)
    good = [request._replace(at=request.at / read.per_s) for request in found]
    return read, good, tuple(number for number, _ in skipped)


def _settled(form: Form, found: list[Recorded]) -> _Read:
    """What its times count and how large its blocks are, by what the requests have.

    One hash for each 16 tokens, or a time with a fraction: seconds, as all tools but Mooncake's
    and aiperf's write them.
    """
    sizes = Counter(
        size
        for request in found
        for size in (MOONCAKE_BLOCK, SMALL_BLOCK)
        if request.blocks and ceil(request.prompt / size) == len(request.blocks)
    )
    block_tokens = sizes.most_common(1)[0][0] if sizes else None
    small = block_tokens == SMALL_BLOCK
    if form.blocks and (small or any(request.at % 1 for request in found)):
        form = replace(form, name="Mooncake's keys", per_s=1.0)
    return _Read(form, form.per_s, block_tokens)


def _request(form: Form, row: Row, ids: dict[Any, int]) -> Recorded:
    hashes = row.get(BLOCKS) if form.blocks else None
    if hashes is not None and not isinstance(hashes, list):
        raise InputError(f"{BLOCKS} {shown(str(hashes))}: need a list")
    try:
        blocks = tuple(ids.setdefault(each, len(ids)) for each in hashes or ())
    except TypeError:
        raise InputError(f"{BLOCKS}: need numbers or text") from None
    return Recorded(
        _time(form.at[-1], within(row, form.at)),
        _tokens(form.prompt[-1], within(row, form.prompt)),
        _tokens(form.answer[-1], within(row, form.answer)),
        blocks,
    )


def _time(name: str, value: object) -> float:
    """A number, or a date and time, which is UTC where it does not say."""
    text = str(value).strip()
    try:
        found = float(text)
    except ValueError:
        try:
            day = datetime.fromisoformat(text)
        except ValueError:
            found = inf
        else:
            found = (day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp()
    if not isfinite(found):
        raise InputError(f"{name} {shown(text)}: need a number, or a date and time")
    return found


def _tokens(name: str, value: object) -> int:
    """Tokens as a file has them; a request of none, as public traces have a few, has one."""
    try:
        tokens = float(str(value))
    except ValueError:
        tokens = -1.0
    if not 0 <= tokens <= MOST_TOKENS or tokens % 1:
        raise InputError(f"{name} {shown(str(value))}: need 0 to {MOST_TOKENS:,}")
    return max(1, int(tokens))


def _cut(found: list[Recorded], part: Part) -> list[Recorded]:
    """Those of `part`, with times from its beginning, as fast as it says."""
    begin, end = found[0].at + part.from_s, found[0].at + (part.to_s or inf)
    return [r._replace(at=(r.at - begin) / part.speed) for r in found if begin <= r.at < end]


def _recording(path: Path, text: str, read: _Read, part: Part, kept: list[Recorded]) -> Recording:
    return Recording(
        name=path.name,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        form=read.words,
        from_s=part.from_s,
        to_s=part.to_s,
        speed=part.speed,
        seconds=max(SHORTEST_S, kept[-1].at),
        block_tokens=read.block_tokens,
        **_counted(kept, read.block_tokens),
    )


def _counted(kept: Iterable[Recorded], block_tokens: int | None) -> dict[str, Any]:
    requests = tuple(kept)
    return {
        "requests": len(requests),
        "peak_per_s": max(Counter(int(r.at) for r in requests).values()),
        "input_tokens": fmean(r.prompt for r in requests),
        "output_tokens": fmean(r.answer for r in requests),
        "shared": shared_share(requests, block_tokens) if block_tokens else 0.0,
    }


def _span(text: str) -> float | None:
    """Seconds of `90s`, `1h30m` or nothing; None if it is no such text."""
    if not text:
        return 0.0
    parts = SPAN.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * SECONDS[unit] for number, unit in parts)
