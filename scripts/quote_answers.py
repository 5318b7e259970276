"""Puts the current answers into docs/questions.md: `python scripts/quote_answers.py`.

Each `console` block of the page is a command and lines quoted from its answer, whole and with runs
of spaces as one; every other block with a file name holds a file that the commands read. A quoted
line that differs from the answer in its figures alone is replaced; one that the answer lacks is an
error, since the page then says what is no longer so. Of lines that differ in their figures alone,
the first after the line quoted before is meant.
"""

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from tpdeploy.cli.main import main as tpdeploy
from tpdeploy.cli.output import err, out

PAGE = Path(__file__).resolve().parents[1] / "docs" / "questions.md"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Numbers of a split, as in "TP 4 x 2", are none: another split is another answer.
FIGURE = re.compile(r"(?<!TP )(?<!PP )(?<! x )[+-]?\d[\d,.]*")
# Wide enough that no line of an answer is wrapped.
WIDTH = 500


def main() -> None:
    """Rewrite the page, or say which lines are no longer part of an answer."""
    page = PAGE.read_text(encoding="utf-8")
    with working_folder(page):
        told, lost = requoted(page)
    if lost:
        sys.exit("\n".join(["No longer part of an answer:", *lost]))
    PAGE.write_text(told, encoding="utf-8")


@contextlib.contextmanager
def working_folder(page: str) -> Iterator[None]:
    """An empty folder with the page's files, as the current one and as TPDEPLOY_HOME."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, {"TPDEPLOY_HOME": folder, "HF_HUB_OFFLINE": "1"}),
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
    """The lines a command answers, on stdout and stderr, spaces collapsed; and its exit code."""
    written = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["tpdeploy", *shlex.split(command)]),
        contextlib.redirect_stdout(written),
        contextlib.redirect_stderr(written),
        _wide(),
    ):
        try:
            tpdeploy()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
    return [" ".join(line.split()) for line in written.getvalue().splitlines()], code


def requoted(page: str) -> tuple[str, list[str]]:
    """The page with current figures, and the quoted lines that no answer has any more."""
    lost: list[str] = []

    def told(block: re.Match[str]) -> str:
        if block[1] != "console":
            return block[0]
        first, *quoted = block[3].splitlines()
        command = first.removeprefix("$ tpdeploy ")
        now = _now(quoted, answer(command)[0])
        lost.extend(f"{command}: {old}" for old, new in zip(quoted, now, strict=True) if not new)
        lines = [new or old for old, new in zip(quoted, now, strict=True)]
        return "\n".join(["```console", first, *lines, "```"])

    return BLOCK.sub(told, page), lost


def _now(quoted: list[str], lines: list[str]) -> list[str | None]:
    """The current line for each quoted one; None where there is none."""
    found, rest = [], lines
    for old in quoted:
        new = current(old, rest) or current(old, lines)
        if new in rest:
            rest = rest[rest.index(new) + 1 :]
        found.append(new)
    return found


def current(quoted: str, lines: list[str]) -> str | None:
    """The first line that says the same with its current figures."""
    return next((line for line in lines if _words(line) == _words(quoted)), None)


def _words(line: str) -> str:
    return FIGURE.sub("#", line)


@contextlib.contextmanager
def _wide() -> Iterator[None]:
    before = out.width, err.width
    out.width = err.width = WIDTH
    try:
        yield
    finally:
        out.width, err.width = before


if __name__ == "__main__":
    main()
