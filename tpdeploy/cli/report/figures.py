"""The figures of a report: each takes what it draws and returns an SVG element."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from tpdeploy.cli.report.svg import COLOURS, STYLE, inline
from tpdeploy.planner.plan import Estimate

SIZE = (4.7, 2.7)  # inches of 72 px: as wide as a phone's screen
FRONTIER_HEIGHT = 3.2
BAR_POINTS = 9  # width of the bar that a range is
# Numbers along a line are apart by so much of the width and of the height, or left out.
APART = (0.12, 0.1)
# Another split's line may be so many times as long as the first one's.
WIDEST = 2.2
# A figure whose largest value is so many times its smallest is drawn on a logarithmic scale.
LOGARITHMIC = 10
MOST_TICKS = 8
LEGEND_LETTERS = 42  # that fit side by side
Drawing = Callable[[Axes], None]


@dataclass(frozen=True)
class Axis:
    """The loads of the horizontal axis, and what they count."""

    label: str
    ticks: tuple[float, ...]
    logarithmic: bool  # requests in flight double from point to point, rates do not
    planned: float
    knee: float | None = None


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
    main: bool = False  # what the figure is about; the others are for comparison


@dataclass(frozen=True)
class Stack:
    """One bar of parts: the name, the size and the colour of each."""

    name: str
    parts: tuple[tuple[str, float, str], ...]
    note: str = ""


@dataclass(frozen=True)
class Day:
    """What comes and what is needed for it, between one time and the next."""

    times: tuple[float, ...]  # one more than of the others: the end
    unit: str  # of them
    requests_per_s: tuple[float, ...]
    devices: tuple[int, ...]
    device: str


def day(name: str, shown: Day, description: str) -> str:
    """Devices as steps over the day, those of the peak as a line; requests/s above them."""
    return _figure(name, _day(shown), description, FRONTIER_HEIGHT)


def day_figure(shown: Day, title: str) -> Figure:
    """The same figure by itself, with a title."""
    return _titled(_day(shown), title)


def _day(shown: Day) -> Drawing:
    def draw(axes: Axes) -> None:
        times, devices = list(shown.times), list(shown.devices)
        most = max(devices)
        axes.stairs(devices, times, fill=True, color=COLOURS["predicted"], alpha=0.25)
        axes.stairs(devices, times, color=COLOURS["predicted"], label=f"{shown.device}s, scaled")
        axes.hlines(most, times[0], times[-1], COLOURS["muted"], (0, (5, 3)), label="fixed")
        rates = axes.twinx()
        colour = COLOURS["measured"]
        rates.stairs(list(shown.requests_per_s), times, color=colour, baseline=None)
        axes.plot([], [], color=colour, label="requests/s")
        rates.set_ylim(0, 1.15 * max(shown.requests_per_s))
        axes.set_ylim(0, 1.15 * most)
        rates.set_ylabel("Requests/s")
        rates.grid(visible=False)
        axes.set_xlim(times[0], times[-1])
        axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 3, 6, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(shown.unit)
        axes.set_ylabel(f"{shown.device}s")

    return draw


def against_load(name: str, axis: Axis, series: Series, description: str) -> str:
    """Predicted (line, and a bar for each range) and measured (points) against the load."""

    def draw(axes: Axes) -> None:
        low = [e.low for e in series.predicted]
        high = [e.high for e in series.predicted]
        middle = [e.value for e in series.predicted]
        predicted = COLOURS["predicted"]
        axes.vlines(series.loads, low, high, color=predicted, alpha=0.2, linewidth=BAR_POINTS)
        axes.plot(series.loads, middle, color=predicted, marker="o", markersize=5)
        if series.measured:
            _draw_readings(axes, series.measured)
        if series.target is not None:
            dashes = (0, (5, 3))
            axes.axhline(series.target, color=COLOURS["ink"], linestyle=dashes, linewidth=1.6)
        _scale_loads(axes, axis)
        values = [*middle, *(reading.value for reading in series.measured)]
        _scale_values(axes, values, from_zero=series.from_zero)

    return _figure(name, draw, description)


def frontier(name: str, lines: Sequence[Line], device: str, description: str) -> str:
    """Throughput per device against the time per output token, one line per split."""
    return _figure(name, _frontier(lines, device), description, FRONTIER_HEIGHT)


def frontier_figure(lines: Sequence[Line], device: str, title: str) -> Figure:
    """The same figure by itself, with a title."""
    return _titled(_frontier(lines, device), title)


def _titled(draw: Drawing, title: str) -> Figure:
    figure = _drawn(draw, FRONTIER_HEIGHT)
    figure.axes[0].set_title(title, fontsize=9, loc="left")
    return figure


def _frontier(lines: Sequence[Line], device: str) -> Drawing:
    others = iter((("second", "s"), ("third", "^"), ("fourth", "v")))

    def draw(axes: Axes) -> None:
        for line in lines:
            colour, marker = "predicted", "o"
            if line.measured:
                colour, marker = "measured", "D"
            elif not line.main:
                colour, marker = next(others)
            axes.plot(
                *zip(*line.points, strict=True),
                color=COLOURS[colour],
                marker=marker,
                linestyle="" if line.measured else "-",
                linewidth=2 if line.main else 1.4,
                markersize=6 if line.main else 4,
                label=line.name,
                zorder=3 if line.main else 2,
            )
        longest = max(x for line in lines if line.main for x, _ in line.points)
        right = min(axes.get_xlim()[1], WIDEST * longest)
        axes.set_xlim(0, right or 1)  # of one output token there is no TPOT
        axes.set_ylim(bottom=0)
        _write_loads(axes, lines[0])
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
    names = axes.get_legend_handles_labels()[1]
    if names:
        figure.legend(
            loc="outside upper left",
            ncols=max(1, min(3, LEGEND_LETTERS // max(map(len, names)))),
            columnspacing=1.2,
            handlelength=1.6,
        )
    return figure


def _draw_readings(axes: Axes, readings: Sequence[Reading]) -> None:
    loads, values = [r.load for r in readings], [r.value for r in readings]
    colour = COLOURS["measured"]
    axes.plot(loads, values, color=colour, marker="D", linestyle="")
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
    muted = COLOURS["muted"]
    axes.axvline(axis.planned, color=muted, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
    if axis.knee is not None:
        axes.axvline(axis.knee, color=muted, linewidth=1, linestyle=(0, (6, 2, 1, 2)), zorder=1)


def _scale_values(axes: Axes, values: Sequence[float], *, from_zero: bool) -> None:
    if not from_zero and min(values) > 0 and max(values) / min(values) > LOGARITHMIC:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
    _write_values(axes)


def _write_loads(axes: Axes, line: Line) -> None:
    """The load beside each point, from the heaviest on, where there is room."""
    width, height = axes.get_xlim()[1] * APART[0], axes.get_ylim()[1] * APART[1]
    written: list[tuple[float, float]] = []
    for load, (x, y) in reversed(list(zip(line.loads, line.points, strict=True))):
        if any(abs(x - at) < width and abs(y - up) < height for at, up in written):
            continue
        written.append((x, y))
        axes.annotate(
            f"{load:,g}",
            (x, y),
            (-5, 4),
            textcoords="offset points",
            ha="right",
            fontsize=9,
            bbox={"facecolor": COLOURS["paper"], "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
        )


def _write_values(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
