"""Finding: what one check has seen, what that means, and what helps."""

from typing import Literal

from pydantic import Field

from tpdeploy.profiles.record import Record, Text

Verdict = Literal["ok", "warning", "fail"]


class Finding(Record):
    """What was seen; `remedy` is a command or a setting that helps, where anything is wrong."""

    check: Text
    verdict: Verdict
    seen: Text
    remedy: str = Field(default="", description="what helps; empty where nothing is wrong")

    @property
    def line(self) -> str:
        """The whole of it in one line."""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.check}: {self.seen}{remedy}"


def ok(check: str, seen: str) -> Finding:
    """Nothing is in the way."""
    return Finding(check=check, verdict="ok", seen=seen)


def warning(check: str, seen: str, remedy: str) -> Finding:
    """It will run, but not as well as planned; or nobody can tell."""
    return Finding(check=check, verdict="warning", seen=seen, remedy=remedy)


def fail(check: str, seen: str, remedy: str) -> Finding:
    """It will not run, or not as planned."""
    return Finding(check=check, verdict="fail", seen=seen, remedy=remedy)
