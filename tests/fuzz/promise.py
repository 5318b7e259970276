"""What every reader promises of any input: a finite answer or one clear line, in time."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from types import FrameType
from typing import TypeVar

from hypothesis import HealthCheck, settings
from pydantic import BaseModel

from tests.cli.commands import tpdeploy
from tpdeploy.errors import MOST_MESSAGE, TpdeployError

T = TypeVar("T")

# One input. The slowest plan takes a second or two, and ten times that while it is traced on a
# busy machine: what takes longer hangs.
LIMIT_S = 180.0
# Inputs a reader, the same in every run; with FUZZ_EXAMPLES as many others.
EXAMPLES = os.environ.get("FUZZ_EXAMPLES")


def fuzzed(usual: int) -> settings:
    """How a reader is fuzzed: with `usual` inputs, or as FUZZ_EXAMPLES says."""
    return settings(
        max_examples=int(EXAMPLES) if EXAMPLES else usual,
        derandomize=EXAMPLES is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def kept(read: Callable[[], T]) -> T | None:
    """What `read` gives, finite; None where it refuses in one clear line. Anything else fails."""
    try:
        with _in_time():
            found = read()
    except TpdeployError as refusal:
        assert is_clear(str(refusal)), repr(str(refusal))
        return None
    assert all(isfinite(number) for number in numbers(found)), found
    return found


def ran(*args: str, home: Path) -> None:
    """A command that ends as promised: an answer, or one line and the exit code that goes with it.

    Exit code 1 is a target that was missed, 3 that nothing is feasible.
    """
    with _in_time():
        done = tpdeploy(*args, home=home, HF_HUB_OFFLINE="1")
    assert done.returncode in {0, 1, 2, 3}, done
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    if done.returncode in {2, 3}:
        assert len(errors) == 1, done.stderr
        assert is_clear(errors[0].removeprefix("Error: ")), done.stderr
        assert done.stderr.rstrip("\n").endswith(errors[0]), done.stderr
    assert "Traceback" not in done.stderr
    assert all(line.isprintable() for line in done.stdout.splitlines()), repr(done.stdout)
    assert not ({"NaN", "Infinity", "inf", "nan"} & set(done.stdout.split())), done.stdout


def is_clear(message: str) -> bool:
    """Whether a message is one line that a terminal shows as it is and a person reads."""
    return message.isprintable() and 0 < len(message) <= MOST_MESSAGE


def numbers(found: object) -> Iterator[float]:
    """Every number in a record or in plain values."""
    if isinstance(found, BaseModel):
        yield from numbers(vars(found))
    elif isinstance(found, Mapping):
        for value in found.values():
            yield from numbers(value)
    elif isinstance(found, list | tuple | set | frozenset):
        for value in found:
            yield from numbers(value)
    elif isinstance(found, float):
        yield found


@contextmanager
def _in_time() -> Iterator[None]:
    """Fails what takes longer than LIMIT_S; only the main thread can be interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"took longer than {LIMIT_S:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
