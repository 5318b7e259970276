"""How the command line writes: results to stdout, everything else to stderr."""

import re
import sys
from collections.abc import Iterable
from io import TextIOWrapper
from typing import Any

from pydantic import BaseModel
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from tpdeploy.errors import one_line, printable

BLANKS = re.compile(r" +(?=\n)")


class PlainConsole(Console):
    """A console on which text is text, whoever wrote it: no markup, emoji or control codes."""

    def __init__(self, **how: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **how)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of `renderable`, in which only rich itself has put control codes."""
        for segment in super().render(renderable, options):
            text = segment.text
            if segment.control or text.isprintable() or text == "\n":
                yield segment
            else:
                lines = "\n".join(printable(line) for line in text.split("\n"))
                yield Segment(lines, segment.style)


class _Trimmed:
    """stdout without the blanks that tables leave at the ends of lines."""

    def write(self, text: str) -> int:
        """Write `text` to what is stdout now."""
        return sys.stdout.write(BLANKS.sub("", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)


out = PlainConsole(soft_wrap=False, file=_Trimmed())
err = PlainConsole(stderr=True)


def tolerate_encodings() -> None:
    """Let stdout and stderr write `?` for what their encoding lacks, in place of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def print_json(result: BaseModel) -> None:
    """Write a result as indented JSON on stdout, untouched by terminal width or colour."""
    plain = out.options.ascii_only
    sys.stdout.write(result.model_dump_json(indent=2, ensure_ascii=plain) + "\n")


def print_always(text: str) -> None:
    """Write what has to be seen on stderr, even if the user wants it quiet."""
    quiet, err.quiet = err.quiet, False
    err.print(text, soft_wrap=True)
    err.quiet = quiet


def print_error(message: str) -> None:
    """Write one error line on stderr."""
    err.quiet = False
    err.print("Error:", style="bold red", end=" ", soft_wrap=True)
    err.print(one_line(message), soft_wrap=True)
