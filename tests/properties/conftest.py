"""Every test of plans records how many it made: `tests/conftest.py` adds them up."""

from collections.abc import Callable, Iterator
from time import process_time

import pytest

from tests.properties.plans import made


@pytest.fixture(autouse=True)
def plans_are_counted(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """Plans that a test asked for, those that were answered with one, and its CPU seconds."""
    made.clear()
    began = process_time()
    yield
    record_property("plans", made.total())
    record_property("feasible plans", made[0])
    record_property("plan seconds", process_time() - began)
