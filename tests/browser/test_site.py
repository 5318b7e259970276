"""Pages of the documentation site, as the strict build writes them."""

from pathlib import Path

import pytest

from scripts import build_site
from tests.browser.looks import SIZES, Look, resize, size_of

# The first page, one of prose and figures, one of commands, one of wide tables, the longest.
PAGES = (
    "docs/README",
    "docs/start/eight-gpus",
    "docs/report",
    "docs/backtest",
    "docs/commands",
)


@pytest.fixture(scope="module")
def site() -> Path:
    """The site as it is now; what has not changed is not built again."""
    assert build_site.main() == 0
    return build_site.SITE


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_the_width_of_the_window(name: str, site: Path, look: Look) -> None:
    """Wide tables and commands scroll by themselves; no other host is asked."""
    page = look.at((site / f"{name}.html").as_uri())
    for size in SIZES:
        resize(page, size)
        assert size_of(page)[0] <= size[0]
        assert page.locator("h1").is_visible()
    assert all(address.startswith(("file:", "data:")) for address in look.asked)
    assert look.complaints == []
