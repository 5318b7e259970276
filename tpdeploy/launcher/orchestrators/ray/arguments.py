"""An engine's command line, as the keyword arguments of its Python class."""

import json
import re
from collections.abc import Iterator, Sequence

from tpdeploy.errors import InputError, shown

OPTION = re.compile(r"--[a-z][a-z0-9_-]*")
NEGATION = "no_"


def engine_kwargs(words: Sequence[str]) -> dict[str, object]:
    """The options `words` by name, with values as JSON has them, other words as they are.

    >>> engine_kwargs(["--max-num-seqs", "8", "--dtype=bfloat16", "--no-enable-prefix-caching"])
    {'max_num_seqs': 8, 'dtype': 'bfloat16', 'enable_prefix_caching': False}

    Raises:
        InputError: a word that belongs to no option of the form --name.
    """
    found: dict[str, object] = {}
    for option, values in _options(words):
        name = option.removeprefix("--").replace("-", "_")
        if values:
            read = [_value(value) for value in values]
            found[name] = read[0] if len(read) == 1 else read
        else:
            found[name.removeprefix(NEGATION)] = not name.startswith(NEGATION)
    return found


def _options(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each option, and the words that belong to it."""
    options: list[tuple[str, list[str]]] = []
    for word in words:
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            if not OPTION.fullmatch(option):
                raise InputError(f"{shown(option)}: Ray Serve takes options as --name value")
            options.append((option, [value] if equals else []))
        elif not options or re.match("-[a-zA-Z]", word):
            raise InputError(f"{shown(word)}: Ray Serve takes options as --name value")
        else:
            options[-1][1].append(word)
    yield from options


def _value(word: str) -> object:
    try:
        return json.loads(word)
    except ValueError:
        return word
