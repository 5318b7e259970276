"""The errors a user sees: one clear line each, never a traceback."""

import difflib
from collections.abc import Iterable

# A list longer than this is not read.
MOST_OFFERED = 20


class TpdeployError(Exception):
    """Something went wrong while running; the command line prints the message and exits with 1."""

    exit_code = 1


class InputError(TpdeployError):
    """The user gave something that cannot work; the message says what would. Exit code 2."""

    exit_code = 2


class InfeasibleError(TpdeployError):
    """The question was sound and the answer is that nothing fits. Exit code 3."""

    exit_code = 3


def nearest(name: str, known: Iterable[str]) -> str:
    """A phrase that offers the known names most like `name`, or all of them when none is near.

    >>> nearest("lama-70b", ["llama-70b", "qwen3-8b"])
    'did you mean llama-70b?'
    """
    names = sorted(known)
    by_key = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), by_key, n=3, cutoff=0.5)
    if close:
        return f"did you mean {', '.join(by_key[key] for key in close)}?"
    rest = f" and {len(names) - MOST_OFFERED} more" if len(names) > MOST_OFFERED else ""
    return f"known: {', '.join(names[:MOST_OFFERED])}{rest}"
