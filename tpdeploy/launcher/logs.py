"""Logs of members as files: read without a limit on their size, rotated, and kept for one run.

Their writers hold them open to append, also while nobody supervises. So a log is rotated by
copying it and cutting it to nothing: the next line that is written is its first.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from tpdeploy.files import PRIVATE_FILE, make_private

LAST_LINES = 400
LONGEST = 300
# The last lines of an engine have some hundred bytes each, a traceback some thousand.
LAST_BYTES = 2**20
MOST_NEW_BYTES = 4 * 2**20
# 50 requests/s write 1.2 GB a day: at least half an hour is kept, on 200 MiB a member.
ROTATED_BYTES, ROTATED_KEPT = 50 * 2**20, 3
PREVIOUS = "previous"


class LogReader:
    """New lines of a growing log, also after it was rotated."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        self.begun = 0  # where its present writer began
        self.older = path.with_name(f"{path.name}.1")
        self.copied = self._copied()

    def skip(self) -> None:
        """Skip what is in the log so far: a new writer starts."""
        with suppress(FileNotFoundError):
            self.begun = self.position = self.path.stat().st_size

    def lines(self) -> list[str]:
        """Whole lines written since the last call; of a great many, those at the end."""
        before: list[str] = []
        with suppress(FileNotFoundError):
            if self.copied != (copied := self._copied()):
                before = self._read(self.older) if copied else []
                self.position = 0
            elif self.path.stat().st_size < self.position:
                self.position = 0
            self.copied = copied
            return before + self._read(self.path)
        return before

    def _copied(self) -> tuple[int, int] | None:
        """Which copy is the last one that was made when the log was rotated."""
        with suppress(FileNotFoundError):
            copy = self.older.stat()
            return copy.st_ino, copy.st_mtime_ns
        return None

    def _read(self, path: Path) -> list[str]:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            self.position = max(self.position, size - MOST_NEW_BYTES)
            file.seek(self.position)
            whole, newline, _ = file.read(MOST_NEW_BYTES).rpartition(b"\n")
        self.position += len(whole) + len(newline)
        return [line.decode(errors="replace") for line in whole.split(b"\n")] if newline else []


def last_lines(path: Path, most_bytes: int = LAST_BYTES, begun: int = 0) -> list[str]:
    """The whole lines among the last `most_bytes` of a file, or of a longer one its end.

    Only what was written since it had `begun` bytes, unless it was cut since.
    """
    with suppress(FileNotFoundError), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(begun if begun <= size else 0, size - most_bytes)
        file.seek(start)
        content = file.read(most_bytes)
        if start > begun and b"\n" in content[:-1]:
            content = content.partition(b"\n")[2]
        return content.decode(errors="replace").splitlines()
    return []


def last_words(
    log: Path, failure: Callable[[Sequence[str]], str | None], begun: int = 0, *, guess: bool = True
) -> str:
    """Why the writer of `log` ended: what `failure` finds, else as a guess the last line, else "".

    `begun`: how long the log was when it began to write.
    """
    if guess and not log.exists():
        return "no log"
    lines = last_lines(log, begun=begun)[-LAST_LINES:]
    written = [line.strip() for line in lines if line.strip()]
    words = failure(lines) or ""
    if guess and not words:
        words = (written or ["nothing was written"])[-1]
    return words if len(words) <= LONGEST else f"{words[:LONGEST]} …"


def rotated(path: Path) -> list[Path]:
    """What `path` was before, the newest first."""
    numbered = (path.with_name(f"{path.name}.{number}") for number in range(1, ROTATED_KEPT + 1))
    return [each for each in numbered if each.exists()]


def rotate(path: Path, most_bytes: int = ROTATED_BYTES, keep: int = ROTATED_KEPT) -> bool:
    """Whether the log was long enough to begin anew; what it held is then in PATH.1.

    Of one twice as long as that, the last `most_bytes`.

    Cheap while it is short, and never raises: a full disk is no reason to stop serving. Lines
    written while the last bytes are copied, which takes microseconds, are lost.
    """
    with suppress(OSError):
        if path.stat().st_size <= most_bytes:
            return False
        with path.open("r+b") as log:
            with suppress(OSError):  # without room for a copy, room is what is needed most
                _copy_end(log, path.with_name(f"{path.name}.0"), most_bytes)
                for number in range(keep - 1, -1, -1):
                    if (newer := path.with_name(f"{path.name}.{number}")).exists():
                        newer.replace(path.with_name(f"{path.name}.{number + 1}"))
            log.truncate(0)
        return True
    return False


def _copy_end(log: BinaryIO, target: Path, most_bytes: int) -> None:
    size = log.seek(0, os.SEEK_END)
    start = size - most_bytes if size > 2 * most_bytes else 0
    log.seek(start)
    if start:
        log.readline(most_bytes)
    number = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    try:
        with os.fdopen(number, "wb") as copy:
            shutil.copyfileobj(log, copy, 2**20)
    except OSError:
        target.unlink()
        raise


def keep_previous(folder: Path) -> None:
    """Move the logs in `folder` to `previous` within, in place of those of the run before."""
    logs = [path for path in folder.glob("*.log*") if path.is_file()]
    if not logs:
        return
    previous = folder / PREVIOUS
    shutil.rmtree(previous, ignore_errors=True)
    make_private(previous)
    for path in logs:
        path.replace(previous / path.name)
