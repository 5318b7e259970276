"""The documentation site, built by `python scripts/build_site.py`.

The repository is the source folder, so every page keeps the relative links that it has on a forge,
also those to files outside docs/. The navigation is the lists of docs/README.md and of
docs/decisions/README.md: a page that is on neither makes the strict build fail.
"""

import re

from sphinx.application import Sphinx

project = "tpdeploy"
copyright = "the authors of tpdeploy, Apache-2.0"
extensions = ["myst_parser"]
root_doc = "docs/README"
include_patterns = [
    "*.md",
    "docs/**.md",
    "benchmarks/**.md",
    "examples/**.md",
    "tpdeploy/profiles/data/**README.md",
]
# The first three are links to folders of tpdeploy/; nothing behind a dot is a page.
exclude_patterns = ["backends", "planner", "profiles", ".*", "site", "tests"]
myst_heading_anchors = 4
highlight_language = "none"  # of blocks that name no language

html_theme = "furo"
html_title = "tpdeploy"
html_extra_path = ["index.html"]
html_use_index = False
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}
html_static_path = ["site.css"]
html_css_files = ["site.css"]

LISTS = ("docs/README", "docs/decisions/README")
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
ENTRY = re.compile(r"^(?:-|\d+\.) \[([^]]+)\]\(([^)#:]+)\.md\)", re.MULTILINE)


def navigation(text: str) -> str:
    """A hidden table of contents for each section of `text` that lists pages."""
    before, *rest = SECTION.split(text)
    sections = [("", before), *zip(rest[::2], rest[1::2], strict=True)]
    found = [(caption, ENTRY.findall(body)) for caption, body in sections]
    return "".join(_contents(caption, entries) for caption, entries in found if entries)


def _contents(caption: str, entries: list[tuple[str, str]]) -> str:
    head = ["", "```{toctree}", ":hidden:", *([f":caption: {caption}"] if caption else []), ""]
    return "\n".join([*head, *(f"{title} <{path}>" for title, path in entries), "```", ""])


def _add_navigation(_: Sphinx, name: str, source: list[str]) -> None:
    if name in LISTS:
        source[0] += navigation(source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _add_navigation)
