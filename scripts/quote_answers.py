"""Puts the current answers into README.md and the pages of docs: `python scripts/quote_answers.py`.

Each `console` block is a command and what it answers, as a terminal of 80 columns shows it. A line
`...` stands for lines left out; a block that has one is quoted line by line. In docs/questions.md
every block is, with whole lines and runs of spaces as one. A quoted line that differs from the
answer in its figures alone is replaced; one that the answer lacks is an error, since the page then
says what is no longer so. Of lines that differ in their figures alone, the first after the line
quoted before is meant. Every other block with a file name holds a file that the commands read.
"""

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from tpdeploy.cli.main import main as tpdeploy
from tpdeploy.cli.output import err, out
from tpdeploy.cli.planfile import current_plan_path
from tpdeploy.files import write_whole

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "questions.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LEFT_OUT = "..."
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Numbers of a split, as in "TP 4 x 2", are none: another split is another answer.
FIGURE = re.compile(r"(?<!TP )(?<!PP )(?<! x )[+-]?\d[\d,.]*")
# Wide enough that no line of an answer is wrapped; and a terminal.
WIDTH, SCREEN = 500, 80
TWO_CORES: dict[str, Any] = {
    "usable_cores": lambda: [0, 1],
    "computes_in_bf16": lambda: True,
    "memory_bytes": lambda: 16 * 2**30,
}


def main() -> None:
    """Rewrite the pages, or say which lines are no longer part of an answer."""
    lost: list[str] = []
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        if not commands(page):
            continue
        with working_folder(page):
            told, missing = requoted(page, trimmed=path == PAGE)
        lost += missing
        write_whole(path, told)
    if lost:
        sys.exit("\n".join(["No longer part of an answer:", *lost]))


@contextlib.contextmanager
def working_folder(page: str) -> Iterator[None]:
    """An empty folder with the page's files, as the current one and as TPDEPLOY_HOME.

    The machine has two cores, whatever it is.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, {"TPDEPLOY_HOME": folder, "HF_HUB_OFFLINE": "1"}),
        mock.patch.multiple("tpdeploy.profiles.machine.detect", **TWO_CORES),
    ):
        for _, name, content in BLOCK.findall(page):
            if name:
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                Path(name).write_text(content, encoding="utf-8")
        yield


def commands(page: str) -> list[tuple[str, list[str]]]:
    """Each command of the page, without `$ tpdeploy`, and the lines quoted from its answer."""
    found = []
    for kind, _, content in BLOCK.findall(page):
        if kind == "console":
            first, *quoted = content.splitlines()
            found.append((first.removeprefix("$ tpdeploy "), quoted))
    return found


def answer(command: str) -> tuple[list[str], int]:
    """The lines a command answers, whole and spaces collapsed; and its exit code."""
    lines, code = screen(command, WIDTH)
    return [_collapsed(line) for line in lines], code


def screen(command: str, width: int = SCREEN) -> tuple[list[str], int]:
    """The lines a command answers on stdout and stderr, and its exit code."""
    written = io.StringIO()
    if command.startswith("plan "):  # as if it was the first: nothing is said of an earlier one
        current_plan_path().unlink(missing_ok=True)
    with (
        mock.patch.object(sys, "argv", ["tpdeploy", *shlex.split(command)]),
        contextlib.redirect_stdout(written),
        contextlib.redirect_stderr(written),
        _wide(width),
    ):
        try:
            tpdeploy()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
    return written.getvalue().splitlines(), code


def requoted(page: str, *, trimmed: bool) -> tuple[str, list[str]]:
    """The page with current figures, and the quoted lines that no answer has any more."""
    lost: list[str] = []

    def told(block: re.Match[str]) -> str:
        if block[1] != "console":
            return block[0]
        first, *quoted = block[3].splitlines()
        command = first.removeprefix("$ tpdeploy ")
        lines = answer(command)[0] if trimmed else screen(command)[0]
        partly = trimmed or LEFT_OUT in quoted
        now: Sequence[str | None] = _now(quoted, lines) if partly else lines
        quoted = quoted if partly else lines
        lost.extend(
            f"{command}: {old}" for old, new in zip(quoted, now, strict=True) if new is None
        )
        shown = [new or old for old, new in zip(quoted, now, strict=True)]
        return "\n".join(["```console", first, *shown, "```"])

    return BLOCK.sub(told, page), lost


def _now(quoted: list[str], lines: list[str]) -> list[str | None]:
    """The current line for each quoted one; None where there is none."""
    found, rest = [], lines
    for old in quoted:
        new = old if old == LEFT_OUT else current(old, rest) or current(old, lines)
        if new in rest:
            rest = rest[rest.index(new) + 1 :]
        found.append(new)
    return found


def current(quoted: str, lines: list[str]) -> str | None:
    """The first line that says the same with its current figures."""
    return next((line for line in lines if _words(line) == _words(quoted)), None)


def _words(line: str) -> str:
    return FIGURE.sub("#", _collapsed(line))


def _collapsed(line: str) -> str:
    return " ".join(line.split())


@contextlib.contextmanager
def _wide(width: int) -> Iterator[None]:
    before = out.width, err.width
    out.width = err.width = width
    try:
        yield
    finally:
        out.width, err.width = before


if __name__ == "__main__":
    main()
