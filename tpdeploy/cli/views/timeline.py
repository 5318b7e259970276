"""A replay over time in a terminal: a row per window, predicted beside measured."""

from itertools import zip_longest

from rich.console import Console
from rich.text import Text

from tpdeploy.cli.views.text import aligned
from tpdeploy.numbers import in_ms, number
from tpdeploy.planner.plan import Timeline, Window

HEAD = ("from", "arrivals", "in flight", "TTFT p50", "TTFT p99, ms", "TPOT p50", "tokens/s")
MOST_NAMED = 4


def over_time(timeline: Timeline) -> str:
    """How much is cached, how many are in flight at most, and when targets are missed."""
    cached = f"{timeline.cached:.0%} of prompt tokens cached, " if timeline.cached else ""
    flight = f"{cached}at most {timeline.peak_in_flight:,} requests in flight"
    flight = flight[0].upper() + flight[1:]
    if timeline.within_targets is None:
        return f"{flight}."
    share = f"{timeline.within_targets:.1%} of the requests are within the targets"
    broken = [w for w in timeline.windows if w.missed]
    if not broken:
        return f"{flight}; {share}, which hold in every {_span(timeline.window_s)}."
    named = ", ".join(_span(w.from_s) for w in broken[:MOST_NAMED])
    more = ", ..." if len(broken) > MOST_NAMED else ""
    return (
        f"{flight}; {share}, which break in {len(broken)} of {len(timeline.windows)} windows of "
        f"{_span(timeline.window_s)} (from {named}{more} on)."
    )


def timeline_rows(first: Timeline | None, second: Timeline | None) -> list[tuple[str, ...]]:
    """A row per window under the titles of HEAD; of two timelines both figures in each cell."""
    both = zip_longest(first.windows if first else (), second.windows if second else ())
    return [_row(*pair) for pair in both]


def show_timeline(console: Console, first: Timeline | None, second: Timeline | None) -> None:
    """The table of both. What missed a target is marked `!`."""
    titles, *lines = aligned([HEAD, *timeline_rows(first, second)], right=range(1, len(HEAD)))
    console.print(Text(titles, style="dim"))
    for line in lines:
        console.print(Text(line))


def _row(first: Window | None, second: Window | None) -> tuple[str, ...]:
    windows = [w for w in (first, second) if w]
    cells = [_cells(w) for w in windows]
    return (
        _span(windows[0].from_s),
        f"{windows[-1].arrivals:,}",
        *("/".join(pair) for pair in zip(*cells, strict=True)),
    )


def _cells(window: Window) -> tuple[str, ...]:
    return (
        number(window.in_flight),
        in_ms(window.ttft_p50_ms),
        in_ms(window.ttft_p99_ms),
        in_ms(window.tpot_p50_ms),
        number(window.output_tokens_per_s) + "!" * window.missed,
    )


def _span(seconds: float) -> str:
    """A time from the beginning, in the largest unit of which it is a whole number."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds and not seconds % unit:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"
