"""One headless Chromium for all tests of pages."""

import os
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.looks import Look
from tests.left_out import leave_out

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that is here needs a browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")


# Until the last test here: while it runs, no other loop of asyncio can.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The browser; without one the test is left out, saying so, and in CI it fails."""
    program = next(filter(None, map(which, PROGRAMS)), None)
    if program is None:
        leave_out("pages in a browser: apt-get install chromium")
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []  # it has none for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=alone)
        yield browser
        browser.close()


@pytest.fixture
def look(chromium: Browser) -> Iterator[Look]:
    """Opens addresses, and closes what it opened."""
    opener = Look(chromium)
    yield opener
    opener.close()
