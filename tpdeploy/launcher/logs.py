"""Logs of members: what is new in one, and why the member ended."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

LAST_LINES = 400
LONGEST = 300


class LogReader:
    """New lines of a growing log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0

    def skip(self) -> None:
        """Go to the end: what is written there by now is of no interest."""
        with suppress(FileNotFoundError):
            self.position = self.path.stat().st_size

    def lines(self) -> list[str]:
        """Whole lines written since the last call."""
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self.position)
            whole, newline, _ = file.read().rpartition(b"\n")
            self.position += len(whole) + len(newline)
            return whole.decode(errors="replace").splitlines()
        return []


def last_words(log: Path, failure: Callable[[Sequence[str]], str | None]) -> str:
    """Why the writer of `log` ended: what `failure` finds in it, else its last line."""
    if not log.exists():
        return "no log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    written = [line.strip() for line in lines if line.strip()]
    words = failure(lines) or (written or ["nothing was written"])[-1]
    return words if len(words) <= LONGEST else f"{words[:LONGEST]} …"
