"""The figures of a report: each takes what it draws and returns an SVG element."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from tpdeploy.cli.report.svg import COLOURS, STYLE, inline
from tpdeploy.planner.plan import Estimate

SIZE = (4.7, 3.4)  # inches of 72 px: as wide as a phone's screen
# A figure whose largest value is so many times its smallest is drawn on a logarithmic scale.
LOGARITHMIC = 25
MOST_TICKS = 8
LEGEND_LETTERS = 42  # that fit side by side
Drawing = Callable[[Axes], None]


@dataclass(frozen=True)
class Axis:
    """The loads of the horizontal axis, and what they count."""

    label: str
    ticks: tuple[float, ...]
    logarithmic: bool  # requests in flight double from point to point, rates do not
    marks: tuple[tuple[str, float], ...] = ()  # loads that have a name


@dataclass(frozen=True)
class Reading:
    """What was measured at a load, and the interval it is within with 95 % confidence."""

    load: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Series:
    """One quantity against load: predicted with its range, measured, and the limit."""

    label: str  # with its unit
    loads: tuple[float, ...]
    predicted: tuple[Estimate, ...]
    measured: tuple[Reading, ...] = ()
    target: float | None = None
    from_zero: bool = False  # never on a logarithmic scale


@dataclass(frozen=True)
class Line:
    """One split in the frontier: time per output token (ms) and tokens/s of a device by load."""

    name: str
    loads: tuple[float, ...]
    points: tuple[tuple[float, float], ...]
    measured: bool = False


@dataclass(frozen=True)
class Stack:
    """One bar of parts: the name, the size and the colour of each."""

    name: str
    parts: tuple[tuple[str, float, str], ...]
    note: str = ""


def against_load(name: str, axis: Axis, series: Series, description: str) -> str:
    """Predicted (line and band) and measured (points) against the load."""

    def draw(axes: Axes) -> None:
        low = [e.low for e in series.predicted]
        high = [e.high for e in series.predicted]
        middle = [e.value for e in series.predicted]
        predicted = COLOURS["predicted"]
        axes.fill_between(series.loads, low, high, color=predicted, alpha=0.16, linewidth=0)
        axes.plot(series.loads, middle, color=predicted, marker="o", label="predicted")
        if series.measured:
            _draw_readings(axes, series.measured)
        if series.target is not None:
            axes.axhline(
                series.target,
                label="target",
                color=COLOURS["ink"],
                linestyle=(0, (5, 3)),
                linewidth=1.6,
            )
        _scale_loads(axes, axis)
        values = [*middle, *(reading.value for reading in series.measured)]
        _scale_values(axes, values, from_zero=series.from_zero)
        axes.set_ylabel(series.label)

    return _figure(name, draw, description)


def frontier(name: str, lines: Sequence[Line], device: str, description: str) -> str:
    """Throughput of a device against the time per output token, one line a split."""
    return _figure(name, _frontier(lines, device), description)


def frontier_figure(lines: Sequence[Line], device: str, title: str) -> Figure:
    """The same figure by itself, with a title."""
    figure = _drawn(_frontier(lines, device), SIZE[1])
    figure.axes[0].set_title(title, fontsize=9, loc="left")
    return figure


def _frontier(lines: Sequence[Line], device: str) -> Drawing:
    others = iter((("second", "s"), ("third", "^"), ("fourth", "v")))

    def draw(axes: Axes) -> None:
        for index, line in enumerate(lines):
            colour, marker = "predicted", "o"
            if line.measured:
                colour, marker = "measured", "D"
            elif index:
                colour, marker = next(others)
            width = 1.4 if index and not line.measured else 2
            axes.plot(
                *zip(*line.points, strict=True),
                color=COLOURS[colour],
                marker=marker,
                linewidth=width,
                markersize=6 if width == 2 else 4,
                label=line.name,
                zorder=3 if width == 2 else 2,
            )
        first = lines[0]
        for load, point in list(zip(first.loads, first.points, strict=True))[::2]:
            axes.annotate(
                f"{load:g}", point, (-5, 5), textcoords="offset points", ha="right", fontsize=9
            )
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        _write_values(axes)
        axes.set_xlabel("TPOT, ms (quicker to the left)")
        axes.set_ylabel(f"Output tokens/s a {device}")

    return draw


def stacks(name: str, bars: Sequence[Stack], unit: str, description: str) -> str:
    """Horizontal bars of parts, one below the other, and a note at the end of each."""

    def draw(axes: Axes) -> None:
        places = range(len(bars))
        left = [0.0] * len(bars)
        for index, (part, _, colour) in enumerate(bars[0].parts):
            sizes = [bar.parts[index][1] for bar in bars]
            axes.barh(
                places,
                sizes,
                left=left,
                height=0.62,
                label=part,
                color=COLOURS[colour],
                edgecolor=COLOURS["paper"],
                linewidth=1,
            )
            left = [before + size for before, size in zip(left, sizes, strict=True)]
        for place, bar, end in zip(places, bars, left, strict=True):
            axes.annotate(bar.note, (end, place), (5, 0), textcoords="offset points", va="center")
        axes.set_yticks(list(places), [bar.name for bar in bars])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
        axes.margins(x=0.14 if any(bar.note for bar in bars) else 0)
        axes.set_xlabel(unit)

    return _figure(name, draw, description, height=1.5 + 0.42 * len(bars))


def _figure(name: str, draw: Drawing, description: str, height: float = SIZE[1]) -> str:
    with rc_context(STYLE):
        return inline(_drawn(draw, height), name, description)


def _drawn(draw: Drawing, height: float) -> Figure:
    figure = Figure(figsize=(SIZE[0], height), layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    longest = max(len(label) for label in axes.get_legend_handles_labels()[1])
    figure.legend(
        loc="outside upper left",
        ncols=max(1, min(3, LEGEND_LETTERS // longest)),
        columnspacing=1.2,
        handlelength=1.6,
    )
    return figure


def _draw_readings(axes: Axes, readings: Sequence[Reading]) -> None:
    loads, values = [r.load for r in readings], [r.value for r in readings]
    colour = COLOURS["measured"]
    axes.plot(loads, values, color=colour, marker="D", label="measured")
    below, above = [r.value - r.low for r in readings], [r.high - r.value for r in readings]
    axes.errorbar(
        loads, values, [below, above], fmt="none", color=colour, capsize=3, elinewidth=1.2
    )


def _scale_loads(axes: Axes, axis: Axis) -> None:
    if axis.logarithmic:
        axes.set_xscale("log", base=2)
    shown = axis.ticks
    while len(shown) > MOST_TICKS:
        shown = shown[::2]
    axes.set_xticks(list(shown), [f"{tick:,g}" for tick in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(axis.label)
    for name, load in axis.marks:
        axes.axvline(load, color=COLOURS["muted"], linewidth=1, linestyle=(0, (1, 2)), zorder=1)
        axes.annotate(
            name,
            (load, 1),
            xytext=(0, 2),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            ha="center",
            color=COLOURS["muted"],
            fontsize=9,
        )


def _scale_values(axes: Axes, values: Sequence[float], *, from_zero: bool) -> None:
    if not from_zero and min(values) > 0 and max(values) / min(values) > LOGARITHMIC:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
    _write_values(axes)


def _write_values(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
