"""Build the documentation site into site/: `python scripts/build_site.py`.

Strict: a broken link, a page that no list of docs/README.md has, or a page that would ask another
host for something when it is opened, ends with exit code 1.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from sphinx.cmd.build import main as sphinx

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "site"
ELSEWHERE = re.compile(r"(?:[a-z]+:)?//", re.IGNORECASE)
IN_STYLES = re.compile(r"(?:url\(\s*|@import\s+)['\"]?((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)


class Requests(HTMLParser):
    """The addresses that a browser asks for by itself when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what is loaded; links that a reader may follow are not."""
        told = dict(attrs)
        loaded = [told.get("src"), told.get("srcset"), told.get("href") if tag == "link" else None]
        self.found.extend(address for address in loaded if address)


def foreign(file: Path) -> Iterator[str]:
    """What the page or style sheet `file` asks other hosts for."""
    text = file.read_text(encoding="utf-8")
    yield from IN_STYLES.findall(text)
    if file.suffix == ".html":
        page = Requests()
        page.feed(text)
        yield from (address for address in page.found if ELSEWHERE.match(address))


def main() -> int:
    """Build, then look at every page and style sheet."""
    kept = SITE / ".doctrees"
    options = ["-q", "-W", "--keep-going", "-j", "auto", "-c", str(ROOT / "docs"), "-d", str(kept)]
    if code := sphinx([*options, str(ROOT), str(SITE)]):
        return code
    files = [file for kind in ("html", "css") for file in sorted(SITE.rglob(f"*.{kind}"))]
    asked = [f"{file.relative_to(SITE)}: asks {at}" for file in files for at in foreign(file)]
    print(*asked, sep="\n", file=sys.stderr, end="\n" if asked else "")
    pages = sum(file.suffix == ".html" for file in files)
    print(f"{pages} pages in {SITE.name}/, open {SITE.name}/index.html")
    return int(bool(asked))


if __name__ == "__main__":
    sys.exit(main())
