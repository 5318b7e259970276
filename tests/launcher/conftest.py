"""What the tests of launches have in common."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launcher.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    for folder in (made.home / "deployments").glob("*/"):
        made.run("stop", "--name", folder.name)
