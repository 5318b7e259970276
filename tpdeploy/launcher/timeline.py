"""What several members wrote, as one story in the order of time, of any length in little memory.

Engines write their times in forms of their own, and some lines have none: those belong to the line
before. A time without a zone is one of this machine's, so engines in containers whose clock is set
to another zone are out of order.
"""

import heapq
import math
import re
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tpdeploy.errors import printable, shortened
from tpdeploy.launcher.logs import LogReader, rotated

BLOCK = 2**20
FIRST_WINDOW, MOST_WINDOW = 2**16, 2**26
MOST_LINE, MOST_SHOWN = 2**16, 2000
DAY_S = 86400.0

# Colours, titles and the like, ECMA-48 (section 5.4) and what terminals have added to it.
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
# Where a line may begin with who wrote it, as "(EngineCore pid=12) INFO 11-26 04:05:06 ...".
FIRST_WORDS = 60
FORMS = (
    re.compile(r'"ts":(?P<epoch>\d{9,11}\.\d+)'),  # Caddy
    re.compile(  # ISO 8601; DeepSpeed and Python's logging
        r"(?P<Y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)[T ](?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)"
        r"(?:[.,](?P<f>\d{1,6})\d*)?(?P<z>Z|[+-]\d\d:?\d\d)?"
    ),
    re.compile(  # TensorRT-LLM
        r"\[(?P<m>\d\d)/(?P<d>\d\d)/(?P<Y>\d{4})-(?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)\]"
    ),
    re.compile(  # vLLM
        r"\b[A-Z]{4,8} (?P<m>\d\d)-(?P<d>\d\d) (?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)\b"
    ),
    re.compile(  # glog: PyTorch's distributed parts
        r"\b[IWEF](?P<m>\d\d)(?P<d>\d\d) (?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)\.(?P<f>\d{1,6})"
    ),
)
# A supervisor asks every replica each five seconds, and uvicorn writes a line each time.
CHECKED = re.compile(r'"(?:GET|HEAD) /(?:health\w*|live|ping|(?:prometheus/)?metrics)\S* \S+" 200')

Keep = Callable[[str], bool]


@dataclass(frozen=True)
class Line:
    """One line, fit for a terminal, and its time in seconds since the epoch."""

    at: float
    member: str
    text: str


def everything(_text: str) -> bool:
    """Every line."""
    return True


def no_check(text: str) -> bool:
    """Whether a line is more than that a health check or a scrape was answered."""
    return CHECKED.search(text) is None


def clean(raw: str) -> str:
    r"""A line without what would change a terminal; of a progress bar, how it was last.

    >>> clean("\x1b[36mloading\x1b[0m 1%\rloading 2%")
    'loading 2%'
    """
    text = ESCAPES.sub("", shortened(raw, 4 * MOST_SHOWN)).rstrip()
    text = text[text.rfind("\r") + 1 :].expandtabs(4)
    return shortened(printable(text), MOST_SHOWN)


def time_of(text: str, latest: float) -> float | None:
    """The time that a line begins with; where it has no year, one not much after `latest`."""
    for form in FORMS:
        match = form.search(text, 0, 2 * FIRST_WORDS)
        if match and match.start() <= FIRST_WORDS:
            with suppress(ValueError, OverflowError):
                return _seconds(match.groupdict(), latest)
    return None


def _seconds(told: Mapping[str, str | None], latest: float) -> float:
    if epoch := told.get("epoch"):
        return float(epoch)
    zone = (told.get("z") or "").replace("Z", "+00:00")
    fraction = (told.get("f") or "0").ljust(6, "0")
    rest = f"-{told['m']}-{told['d']}T{told['H']}:{told['M']}:{told['S']}.{fraction}{zone}"
    year = int(told.get("Y") or time.localtime(latest).tm_year)
    found = datetime.fromisoformat(f"{year:04}{rest}").timestamp()
    if told.get("Y") or found <= latest + DAY_S:
        return found
    return datetime.fromisoformat(f"{year - 1:04}{rest}").timestamp()


@dataclass
class Clock:
    """The times of one log's lines as they come: never backwards, none without."""

    at: float
    latest: float

    def tell(self, text: str) -> float:
        """The time of the next line."""
        found = time_of(text, self.latest)
        self.at = self.at if found is None else max(self.at, found)
        return self.at


class Log:
    """The log of a member with what was rotated away from it, as one sequence of bytes."""

    def __init__(self, member: str, path: Path) -> None:
        self.member = member
        parts = [*reversed(rotated(path)), path]
        self.parts = [(part, part.stat().st_size) for part in parts if part.exists()]
        self.size = sum(size for _, size in self.parts)
        self.latest = path.stat().st_mtime if path.exists() else time.time()

    def lines(self, start: int, keep: Keep) -> Iterator[Line]:
        """Those that `keep` wants, from the first that begins at byte `start` or later."""
        clock = Clock(self._time_after(start), self.latest)
        for raw in self._raw(start):
            text = clean(raw)
            at = clock.tell(text)
            if keep(text):
                yield Line(at, self.member, text)

    def since(self, at: float) -> int:
        """A byte before the first line of that time, and not long before."""
        blocks = range(math.ceil(self.size / BLOCK))
        after = bisect_left(blocks, at, key=lambda block: self._time_after(block * BLOCK))
        return max(0, after - 1) * BLOCK

    def tail(self, lines: int, keep: Keep) -> int:
        """A byte before the last `lines` that `keep` wants, as far as MOST_WINDOW holds them."""
        window = FIRST_WINDOW
        while window < min(self.size, MOST_WINDOW):
            wanted = (raw for raw in self._raw(self.size - window) if keep(raw))
            if sum(1 for _ in wanted) >= lines:
                break
            window *= 4
        return max(0, self.size - window)

    def _time_after(self, start: int) -> float:
        """The first time that is told after byte `start`; later than any, or the last write's."""
        found = (time_of(clean(raw), self.latest) for raw in self._raw(start))
        return next((at for at in found if at is not None), self.latest)

    def _raw(self, start: int) -> Iterator[str]:
        """Lines; what is longer than MOST_LINE comes in pieces."""
        for path, size in self.parts:
            if start < size:
                with path.open("rb") as file:
                    if start > 0:
                        file.seek(start - 1)
                        file.readline(MOST_LINE)
                    while raw := file.readline(MOST_LINE):
                        yield raw.decode(errors="replace")
            start = max(0, start - size)


def last(logs: Iterable[Log], lines: int | None, since: float | None, keep: Keep) -> Iterable[Line]:
    """The last `lines` of all logs together, or all of them, of those `since` that time."""
    if since is not None:
        all_ = _merged([log.lines(log.since(since), keep) for log in logs])
        found: Iterator[Line] = (line for line in all_ if line.at >= since)
    else:
        found = _merged([log.lines(log.tail(lines or 1, keep), keep) for log in logs])
    return found if lines is None else deque(found, maxlen=lines)


def _merged(told: Iterable[Iterable[Line]]) -> Iterator[Line]:
    return heapq.merge(*told, key=lambda line: line.at)


@dataclass
class Growing:
    """The logs of some members, of which the new lines are wanted."""

    paths: Callable[[], Mapping[str, Path]]
    keep: Keep
    readers: dict[str, LogReader] = field(default_factory=dict)
    clocks: dict[str, Clock] = field(default_factory=dict)

    def begin(self) -> None:
        """Lines that are there already are not new."""
        for member, path in self.paths().items():
            self._reader(member, path).position = path.stat().st_size

    def new(self) -> list[Line]:
        """What was written since the last call, members that have joined included."""
        told = [self._lines(member, path) for member, path in self.paths().items()]
        return list(_merged(told))

    def _lines(self, member: str, path: Path) -> list[Line]:
        clock = self.clocks.setdefault(member, Clock(0.0, time.time()))
        clock.latest = time.time()
        texts = [clean(raw) for raw in self._reader(member, path).lines()]
        timed = [Line(clock.tell(text) or clock.latest, member, text) for text in texts]
        return [line for line in timed if self.keep(line.text)]

    def _reader(self, member: str, path: Path) -> LogReader:
        return self.readers.setdefault(member, LogReader(path))
