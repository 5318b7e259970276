"""What the strict build of the documentation site adds to Sphinx: no page asks another host."""

from pathlib import Path

import pytest

from scripts.build_site import foreign

ROOT = Path(__file__).parents[1]
MOST_BYTES = 600_000
OWN = """<link rel="stylesheet" href="_static/styles/furo.css"><script src="../a.js"></script>
<a href="https://example.org/">a link is followed by the reader alone</a><img src="data:x">"""


def test_a_page_with_its_own_files_asks_nobody(tmp_path: Path) -> None:
    """Relative addresses, data in the page, and links."""
    page = tmp_path / "page.html"
    page.write_text(OWN, encoding="utf-8")
    assert not list(foreign(page))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.html", '<link rel="stylesheet" href="https://example.org/font.css">'),
        ("page.html", '<script async src="//example.org/search.js"></script>'),
        ("page.html", "<style>@import url(https://example.org/font.css);</style>"),
        ("style.css", "@font-face { src: url('https://example.org/font.woff2') }"),
        ("style.css", '@import "http://example.org/font.css";'),
    ],
)
def test_what_is_asked_of_another_host_is_found(name: str, text: str, tmp_path: Path) -> None:
    """Styles, scripts and fonts, in pages and in style sheets."""
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    (asked,) = foreign(file)
    assert "example.org" in asked


def test_pictures_are_small_and_each_is_shown() -> None:
    """Together they take little of a clone."""
    pictures = [*(ROOT / "docs" / "pictures").iterdir()]
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    shown = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert pictures
    assert sum(picture.stat().st_size for picture in pictures) < MOST_BYTES
    assert [picture.name for picture in pictures if f"pictures/{picture.name})" not in shown] == []
