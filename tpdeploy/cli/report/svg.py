"""A matplotlib figure as SVG inside a page: colours and letters are the page's own."""

import io
import re
from html import escape
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

# Drawn in these colours, written as variables of the page's style sheet, so that one figure is
# right on a light screen, on a dark one and on paper.
NAMES = ("paper", "ink", "muted", "grid", "predicted", "measured", "second", "third", "fourth")
COLOURS = {name: f"#00000{number}" for number, name in enumerate(NAMES, start=1)}
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
    for colour, code in COLOURS.items():
        text = text.replace(code, f"var(--{colour})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(description)}" ', 1)
