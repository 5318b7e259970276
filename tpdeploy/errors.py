"""The errors a user sees: one clear line each, never a traceback."""

import difflib
import re
from collections.abc import Iterable

# A list longer than this is not read.
MOST_OFFERED = 20
# What the parser says of a value, and what a user understands.
PARSER_WORDS = {
    "Input should be a valid integer, unable to parse string as an integer": "give a whole number",
    "Input should be a valid number, unable to parse string as a number": "give a number",
    "Input should be a valid string": "must be text",
    "Input should be a valid boolean, unable to interpret input": "must be True or False",
    "Value error, ": "",
    "Input should be ": "must be ",
}
# Names that begin alike of which so many are offered; and how alike others must be spelled.
MOST_BEGUN, LEAST_ALIKE = 6, 0.6
# Characters of a value, of a path within a message, and of a message: longer is not read either.
MOST_SHOWN, MOST_PATH, MOST_MESSAGE = 60, 200, 1000
# From here on a word within a message is a value that somebody forgot to shorten.
MOST_WORD = 80
LONG_WORD = re.compile(rf"[^ ]{{{MOST_WORD + 1},}}")


class TpdeployError(Exception):
    """Something went wrong while running; the command line prints the message and exits with 1.

    The message is one line, whatever values it holds.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class InputError(TpdeployError):
    """The user gave something that cannot work; the message says what would. Exit code 2."""

    exit_code = 2


class InfeasibleError(TpdeployError):
    """The question was sound and the answer is that nothing fits. Exit code 3."""

    exit_code = 3


def printable(text: str) -> str:
    """`text` with what is no printable character written as Python would: no line, no control.

    >>> printable("two\\nlines")
    'two\\\\nlines'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str, most: int) -> str:
    """`text` of at most `most` characters: of a longer one the middle is left out.

    >>> shortened("0123456789", 7)
    '012...9'
    """
    if len(text) <= most:
        return text
    tail = most // 4
    return f"{text[: most - tail - 3]}...{text[-tail:]}"


def shown(value: object) -> str:
    """A value that a user or a file gave, as messages echo it.

    >>> shown(0.5)
    '0.5'
    """
    try:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    except ValueError:  # Python writes no more than some thousand digits
        return "a number of thousands of digits"
    return shortened(printable(text), MOST_SHOWN)


def one_line(message: str) -> str:
    """`message` fit to be one line of a terminal: printable, and short enough to be read."""
    text = LONG_WORD.sub(_short_word, printable(message))
    return shortened(text, MOST_MESSAGE)


def _short_word(word: re.Match[str]) -> str:
    return shortened(word[0], MOST_PATH if "/" in word[0] else MOST_SHOWN)


def plainly(message: str) -> str:
    """What the parser says of a value, in a user's words.

    >>> plainly("Input should be greater than 0")
    'must be greater than 0'
    """
    for theirs, ours in PARSER_WORDS.items():
        message = message.replace(theirs, ours)
    return message


def nearest(name: str, known: Iterable[str], *, listed_by: str = "") -> str:
    """A phrase that offers the known names most like `name`, or all of them when none is near.

    Names that begin as `name` does are meant sooner than names that are spelled like it. Of long
    lists the command is named that shows them.

    >>> nearest("lama-70b", ["llama-70b", "qwen3-8b"])
    'did you mean llama-70b?'
    >>> nearest("qwen3", ["qwen3-14b", "qwen3-8b", "qwen2-7b"])
    'did you mean qwen3-8b, qwen3-14b?'
    """
    names = sorted(known)
    if close := _alike(name, names):
        more = f" (all: {listed_by})" if listed_by else ""
        return f"did you mean {', '.join(close)}?{more}"
    if listed_by:
        return f"all that are known: {listed_by}"
    rest = f" and {len(names) - MOST_OFFERED} more" if len(names) > MOST_OFFERED else ""
    return f"known: {', '.join(names[:MOST_OFFERED])}{rest}"


def _alike(name: str, names: list[str]) -> list[str]:
    """The names most like `name`, the most likely one first."""
    name = name[:MOST_SHOWN]  # of long ones the comparison takes seconds
    if begun := _begun(name, names):
        return sorted(begun, key=len)[:MOST_BEGUN]
    by_key = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), by_key, n=3, cutoff=LEAST_ALIKE)
    return [by_key[key] for key in close]


def _begun(name: str, names: list[str]) -> list[str]:
    """The names that begin with `name`, or do without dashes; a letter is too little to tell."""
    if len(name) < 2:
        return []
    begun = [each for each in names if each.lower().startswith(name.lower())]
    return begun or [each for each in names if _plain(each).startswith(_plain(name))]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())
