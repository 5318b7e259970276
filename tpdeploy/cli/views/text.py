"""Lines of text for a terminal: columns without trailing blanks, and bars in any encoding."""

from collections.abc import Sequence

from rich.console import Console

BLOCKS, ASCII_BLOCK = "▏▎▍▌▋▊▉█", "#"
GAP = "  "


def aligned(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Each row as an indented line, its cells under those of the others.

    >>> aligned([("a", "10"), ("long", "9")], right=[1])
    ['  a     10', '  long   9']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((GAP + GAP.join(cells)).rstrip())
    return lines


def bar(console: Console, share: float, width: int) -> str:
    """A bar of `share` of `width` characters, in ASCII where the terminal knows no other.

    >>> bar(Console(), 0, 8)
    ''
    """
    if console.options.ascii_only:
        return ASCII_BLOCK * round(share * width)
    eighths = round(share * width * len(BLOCKS))
    whole, rest = divmod(eighths, len(BLOCKS))
    return BLOCKS[-1] * whole + (BLOCKS[rest - 1] if rest else "")
