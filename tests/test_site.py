"""What the strict build of the documentation site adds to Sphinx: no page asks another host."""

from pathlib import Path

import pytest

from scripts.build_site import foreign

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
