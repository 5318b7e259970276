"""A matplotlib figure as SVG inside a page, whose colours and letters it takes, or as a file."""

import io
import re
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.colors import get_named_colors_mapping
from matplotlib.figure import Figure

from tpdeploy.files import write_whole

# What each colour is on a light screen, as the page's style sheet has it.
LIGHT = {
    "paper": "#ffffff",
    "ink": "#171b21",
    "muted": "#59626e",
    "grid": "#dfe3e8",
    "predicted": "#2160c4",
    "measured": "#c2500a",
    "second": "#3aa0a6",
    "third": "#7d8894",
    "fourth": "#b4bcc5",
}
# A page's figure is drawn in these, which become variables of its style sheet: one figure is right
# on a light screen, on a dark one and on paper.
CODES = {name: f"#00000{number}" for number, name in enumerate(LIGHT, start=1)}
COLOURS = {name: f"tpdeploy:{name}" for name in LIGHT}


def _colour(values: Mapping[str, str]) -> None:
    known = get_named_colors_mapping()
    for name, value in values.items():
        known[COLOURS[name]] = value


_colour(CODES)
# Any: matplotlib types each name of a setting.
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # letters stay text, in the page's font
    "svg.hashsalt": "tpdeploy",
    "font.size": 10.5,
    "axes.edgecolor": COLOURS["grid"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "legend.labelcolor": COLOURS["ink"],
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["grid"],
    "ytick.color": COLOURS["grid"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "ytick.major.size": 0,
    "lines.linewidth": 2,
    "lines.markersize": 6,
}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def inline(figure: Figure, name: str, description: str) -> str:
    """`figure` as an SVG element; `name` is in its ids, `description` is read to who cannot see."""
    written = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(written, format="svg", transparent=True, metadata=NO_METADATA)
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg [^>]*?)width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?)height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", text)
    for colour, code in CODES.items():
        text = text.replace(code, f"var(--{colour})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(description)}" ', 1)


def save(make: Callable[[], Figure], path: Path) -> None:
    """Write the figure that `make` draws as SVG or PNG, by the name of `path`, on light paper.

    Raises:
        TpdeployError: the file cannot be written.
    """
    kind, written = path.suffix.lower().removeprefix("."), io.BytesIO()
    metadata = NO_METADATA if kind == "svg" else None
    _colour(LIGHT)
    try:
        with rc_context(STYLE):
            make().savefig(written, format=kind, dpi=200, metadata=metadata)
    finally:
        _colour(CODES)
    write_whole(path, written.getvalue())
