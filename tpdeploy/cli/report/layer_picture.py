"""A picture of a layer split over GPUs: which columns and rows each holds, and what is added up."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tpdeploy.cli.report.svg import COLOURS, save
from tpdeploy.planner.model.layer_split import Block, LayerSplit

# Shares of a GPU take these in turn.
SHARES = ("predicted", "second", "third", "fourth")
INCHES, ROW_INCHES = 6.4, 1.9  # width, and height of a block
SIDE, LOW = 0.62, 0.16  # of a weight matrix and of a vector, of the row's height
COLUMNS_AT, ROWS_AT, SUM_AT = 0.95, 2.35, 3.4  # left edges, in heights of a row
MOST_NUMBERED = 8  # shares that have room for the number of their GPU


def save_layer(split: LayerSplit, path: Path) -> None:
    """Write the picture of `split` to `path`, an SVG.

    Raises:
        TpdeployError: the file cannot be written.
    """
    save(lambda: drawn(split), path)


def drawn(split: LayerSplit) -> Figure:
    """Each block in a row: input, column-parallel weights, row-parallel weights, the sum."""
    rows = len(split.blocks)
    figure = Figure(figsize=(INCHES, 0.6 + ROW_INCHES * rows), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(0, INCHES / ROW_INCHES * 1.25)
    axes.set_ylim(-rows, 0)
    of = f"one of {split.layers} layers, {split.tokens:,} token{'s' if split.tokens > 1 else ''}"
    axes.set_title(f"{split.model} at TP {split.tensor}: {of}", fontsize=10, loc="left")
    for number, block in enumerate(split.blocks):
        _block(axes, -number - 0.5, block, split)
    return figure


def _block(axes: Axes, middle: float, block: Block, split: LayerSplit) -> None:
    bottom = middle - SIDE / 2
    axes.text(0, middle + SIDE / 2 + 0.06, block.name, fontsize=9)
    _matrix(axes, (0.0, middle - LOW / 2), (SIDE, LOW), ())
    _note(axes, 0.0, bottom, f"x: {split.tokens:,} x {split.hidden:,}", "on every GPU")
    _arrow(axes, SIDE, COLUMNS_AT, middle)
    _matrix(axes, (COLUMNS_AT, bottom), (1.1, SIDE), _stripes(split.tensor), upright=True)
    each = f"{block.columns_per_gpu:,} of {block.column_outputs:,} columns on each GPU"
    _note(axes, COLUMNS_AT, bottom, block.column_parallel, each)
    _arrow(axes, COLUMNS_AT + 1.1, ROWS_AT, middle)
    _matrix(axes, (ROWS_AT, bottom), (SIDE, SIDE), _stripes(split.tensor), upright=False)
    each = f"{block.rows_per_gpu:,} of {block.row_inputs:,} rows"
    _note(axes, ROWS_AT, bottom, block.row_parallel, each)
    if split.tensor > 1:
        _arrow(axes, ROWS_AT + SIDE, SUM_AT, middle)
        what = f"all-reduce\n{split.all_reduce_bytes:,}\nbytes"
        axes.text(SUM_AT, middle, what, fontsize=8, va="center", color=COLOURS["measured"])


def _stripes(count: int) -> Sequence[str]:
    """A colour for each GPU's share."""
    return [SHARES[number % len(SHARES)] for number in range(count)]


def _matrix(
    axes: Axes,
    corner: tuple[float, float],
    size: tuple[float, float],
    colours: Sequence[str],
    *,
    upright: bool = True,
) -> None:
    """A rectangle, cut into one stripe per GPU: side by side, or one above the other."""
    (left, bottom), (width, height) = corner, size
    for number, colour in enumerate(colours or ("muted",)):
        part = 1 / max(1, len(colours))
        at = (left + number * part * width, bottom)
        shape = (part * width, height)
        if not upright:
            at = (left, bottom + height - (number + 1) * part * height)
            shape = (width, part * height)
        paper = COLOURS["paper"]
        axes.add_patch(
            Rectangle(at, *shape, facecolor=COLOURS[colour], edgecolor=paper, linewidth=0.8)
        )
        if 1 < len(colours) <= MOST_NUMBERED:
            axes.text(
                at[0] + shape[0] / 2,
                at[1] + shape[1] / 2,
                str(number),
                fontsize=6,
                color=COLOURS["ink"] if colour == "fourth" else paper,
                ha="center",
                va="center",
            )


def _note(axes: Axes, left: float, bottom: float, first: str, second: str) -> None:
    """Two lines below what they are of."""
    text = f"{first}\n{second}"
    axes.text(left, bottom - 0.05, text, fontsize=7, va="top", color=COLOURS["muted"])


def _arrow(axes: Axes, start: float, end: float, height: float) -> None:
    style = {"arrowstyle": "->", "color": COLOURS["muted"], "linewidth": 1}
    axes.annotate("", (end - 0.04, height), (start + 0.04, height), arrowprops=style)
