"""Trace: requests as they were recorded, one by one, with the times at which they came."""

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from pydantic import Field

from tpdeploy.bounds import Count, Tokens, Whole
from tpdeploy.planner.lengths import Pair
from tpdeploy.profiles.record import Record, Text

MOST_SPEED = 1e4
# Requests at one instant are a burst; a mean rate over no time is none.
SHORTEST_S = 1.0
MOST_SHOWN = 5  # line numbers in a sentence


class Recorded(NamedTuple):
    """One request: when it came, in seconds of the replay, its tokens, and its prompt's blocks.

    Prompts whose first blocks are equal begin alike, as far as those reach.
    """

    at: float
    prompt: int
    answer: int
    blocks: tuple[int, ...] = ()


class Recording(Record):
    """Which part of which file is replayed, and how fast: the same again has an equal one."""

    name: Text = Field(description="of the file")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the file")
    form: Text = Field(description="as what the file was read")
    from_s: float = Field(default=0.0, ge=0, description="first second of it that is replayed")
    to_s: float | None = Field(default=None, gt=0, description="the last one; None: to its end")
    speed: float = Field(default=1.0, gt=0, le=MOST_SPEED, description="2: twice as fast")
    seconds: float = Field(ge=SHORTEST_S, description="of the replay, up to its last arrival")
    requests: Count = Field(gt=0)
    peak_per_s: Count = Field(gt=0, description="the most that come within one second of it")
    left_out: Whole = Field(default=0, description="longer than the model or a limit has room for")
    bad_lines: Whole = Field(default=0, description="of the file, that were skipped")
    first_bad: tuple[int, ...] = Field(default=(), description="numbers of the first of them")
    input_tokens: float = Field(gt=0, description="mean of the prompts")
    output_tokens: float = Field(gt=0, description="mean of the answers")
    block_tokens: Tokens | None = Field(default=None, description="of a block; None: no blocks")
    shared: float = Field(
        default=0.0, ge=0, le=1, description="of all prompt tokens: in blocks that came before"
    )

    @property
    def words(self) -> str:
        """What is replayed, in two or three sentences."""
        part = f", from {self.from_s:g} s to {self.to_s or inf:g} s of it" if self._is_part else ""
        speed = f", {self.speed:g} times as fast as recorded" if self.speed != 1 else ""
        parts = [
            f"Recorded: {self.name}, read as {self.form}{part}{speed}: {self.requests:,} requests "
            f"in {self.seconds:,.0f} s, {self.rate:.3g} a second on average, at most "
            f"{self.peak_per_s:,}; prompts of "
            f"{self.input_tokens:,.0f} tokens, answers of {self.output_tokens:,.0f} (means)."
        ]
        if self.block_tokens:
            parts.append(f"{self.shared:.0%} of prompt tokens came before, at the same beginning.")
        if self.left_out:
            parts.append(f"Left out: {self.left_out:,}, too long.")
        if self.bad_lines:
            shown = ", ".join(map(str, self.first_bad))
            more = ", ..." if self.bad_lines > len(self.first_bad) else ""
            parts.append(f"{self.bad_lines:,} bad lines skipped: {shown}{more}.")
        return " ".join(parts)

    @property
    def _is_part(self) -> bool:
        return self.from_s > 0 or self.to_s is not None

    @property
    def rate(self) -> float:
        """Requests/s on average."""
        return self.requests / self.seconds


@dataclass(frozen=True)
class Trace:
    """A recording and its requests, the first to come first."""

    recording: Recording
    requests: tuple[Recorded, ...]

    @property
    def pairs(self) -> list[Pair]:
        """Prompt and answer tokens of each."""
        return [(request.prompt, request.answer) for request in self.requests]
