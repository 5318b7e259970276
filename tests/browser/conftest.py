"""One headless Chromium for all tests of pages."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from scripts.take_pictures import launched, program
from tests.browser.looks import Look
from tests.left_out import leave_out


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
    found = program()
    if found is None:
        leave_out("pages in a browser: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = launched(playwright, found)
        yield browser
        browser.close()


@pytest.fixture
def look(chromium: Browser) -> Iterator[Look]:
    """Opens addresses, and closes what it opened."""
    opener = Look(chromium)
    yield opener
    opener.close()
