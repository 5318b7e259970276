"""Which cases of a test run with the fast tests, and which only with `pytest -m slow`."""

from collections.abc import Container, Iterable
from typing import Any

import pytest


def tiered(cases: Iterable[Any], fast: Container[Any]) -> list[Any]:
    """`cases` as parameters of a test: those in `fast` are fast tests, all others are slow.

    A case of several arguments is a tuple.
    """
    return [case if case in fast else slow(case) for case in cases]


def slow(case: Any) -> Any:
    """`case` as a parameter that only `pytest -m slow` runs."""
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
