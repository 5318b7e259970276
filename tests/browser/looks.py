"""What can be seen of a page: what overlaps, what is cut, how tall it is, what it asks for."""

from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize

PHONE, DESKTOP = (390, 844), (1280, 900)
SIZES = (PHONE, DESKTOP)
Scheme = Literal["light", "dark"]
PATIENCE_MS = 60_000

SEEN = Path(__file__).with_suffix(".js").read_text(encoding="utf-8").partition("\n")[2].strip()


class Look:
    """Opens pages as a reader would, and notes what they ask for and complain about."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self._contexts: list[BrowserContext] = []

    def at(self, address: str, size: tuple[int, int] = DESKTOP, scheme: Scheme = "light") -> Page:
        """The page at `address` in a window of `size`."""
        context = self.browser.new_context(
            viewport=ViewportSize(width=size[0], height=size[1]),
            color_scheme=scheme,
            permissions=["clipboard-read", "clipboard-write"],
        )
        context.set_default_timeout(PATIENCE_MS)
        self._contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda line: self.complaints.append(line.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(address)
        return page

    def close(self) -> None:
        """Close every window."""
        for context in self._contexts:
            context.close()


def resize(page: Page, size: tuple[int, int]) -> None:
    """Make the window of `page` as large as `size`."""
    page.set_viewport_size(ViewportSize(width=size[0], height=size[1]))


def overlapping(page: Page) -> list[str]:
    """Pairs of texts that lie on one another."""
    return [str(pair) for pair in page.evaluate(f"() => {SEEN}.overlapping()")]


def cut(page: Page) -> list[str]:
    """Texts of which a part cannot be seen."""
    return [str(text) for text in page.evaluate(f"() => {SEEN}.cut()")]


def size_of(page: Page) -> tuple[int, int]:
    """Width and height of all that there is, in pixels."""
    width, height = page.evaluate(
        "() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    )
    return int(width), int(height)


def is_tidy(page: Page) -> None:
    """Nothing overlaps, is cut, or is wider than the window."""
    assert page.viewport_size
    assert size_of(page)[0] <= page.viewport_size["width"]
    pairs, lost = overlapping(page), cut(page)
    assert not pairs, pairs
    assert not lost, lost
