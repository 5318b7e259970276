"""A day in a terminal: a row and a bar for each hour, GPU-hours, other widths, how to scale."""

from rich.console import Console
from rich.text import Text

from tpdeploy.cli.views.splits import split_words
from tpdeploy.cli.views.text import GAP, aligned, bar
from tpdeploy.numbers import number
from tpdeploy.planner.daily import DAY_S, HELD_S, HOUR_S, DailyPlan

LEAST_BAR, MOST_BAR = 6, 40
HEAD = ("from", "requests/s", "replicas", "GPUs")
WIDTHS_HEAD = ("split x replicas", "requests/s each", "GPUs", "mean", "GPU-hours")


def show_daily(console: Console, daily: DailyPlan, price: float | None) -> None:
    """All of it, with dollars where the `price` of a GPU-hour is known."""
    load = daily.load
    again = "" if load.span_s == DAY_S else f", of which {load.span_s / HOUR_S:.3g} h come again"
    console.print(
        f"\nThe day of {load.name}{again}: {number(load.mean_per_s)} requests/s on average, "
        f"{number(load.peak.requests_per_s)} at most (from {clock(load.peak.from_s)} on)."
    )
    _show_hours(console, daily)
    for line in aligned(figure_rows(daily, price), right=[1]):
        console.print(line)
    if len(daily.widths) > 1:
        titles, *lines = aligned([WIDTHS_HEAD, *width_rows(daily)], right=[1, 2, 3, 4])
        console.print(Text(titles, style="dim"))
        for line in lines:
            console.print(line)
    console.print(scale_words(daily))


def _show_hours(console: Console, daily: DailyPlan) -> None:
    rows = hour_rows(daily)
    titles, *lines = aligned([HEAD, *rows], right=[1, 2, 3])
    room = min(MOST_BAR, console.width - len(titles) - len(GAP))
    console.print(Text(titles, style="dim"))
    for line, replicas in zip(lines, daily.replicas, strict=True):
        drawn = bar(console, replicas / max(daily.replicas), room) if room >= LEAST_BAR else ""
        console.print(f"{line}{GAP}{drawn}")


def hour_rows(daily: DailyPlan) -> list[tuple[str, ...]]:
    """When, requests/s, replicas and GPUs, under the titles of HEAD."""
    each = daily.peak_gpus // max(daily.replicas)
    return [
        (clock(s.from_s), number(s.requests_per_s), f"{replicas:,}", f"{replicas * each:,}")
        for s, replicas in zip(daily.load.stretches, daily.replicas, strict=True)
    ]


def figure_rows(daily: DailyPlan, price: float | None) -> list[tuple[str, str, str]]:
    """Name, value, and what it comes to in a day."""

    def hours(count: float) -> str:
        dollars = f", ${count * price:,.0f}" if price else ""
        return f"{number(count)} GPU-hours a day{dollars}"

    saved = daily.fixed_gpu_hours - daily.gpu_hours
    start_up = f"Start-up of {daily.load.start_up_s:g} s"
    return [
        ("GPUs at the peak", f"{daily.peak_gpus:,}", f"{hours(daily.fixed_gpu_hours)} if fixed"),
        ("GPUs on average", number(daily.mean_gpus), f"{hours(daily.gpu_hours)} if scaled"),
        ("Scaling saves", f"{daily.saved:.0%}", hours(saved)),
        (start_up, number(daily.starting_gpu_hours), "GPU-hours a day, started ahead of a rise"),
        ("  after a rise instead", f"{daily.late_requests:,.0f}", "requests a day above what runs"),
        (f"Kept for {HELD_S:g} s", number(daily.held_gpu_hours), "GPU-hours a day, after a fall"),
    ]


def width_rows(daily: DailyPlan) -> list[tuple[str, ...]]:
    """What each width takes, under the titles of WIDTHS_HEAD."""
    return [
        (
            split_words(width.parallelism),
            number(width.requests_per_s),
            f"{width.parallelism.devices:,}",
            number(width.mean_gpus),
            number(width.gpu_hours),
        )
        for width in daily.widths
    ]


def scale_words(daily: DailyPlan) -> str:
    """What one replica serves, and by what an autoscaler can tell how many are needed."""
    least, most = min(daily.replicas), max(daily.replicas)
    serves = (
        f"A replica serves {number(daily.requests_per_s)} requests/s within the targets, "
        f"{number(daily.target_per_s)} with {daily.load.headroom:.0%} headroom."
    )
    if least == most:
        return f"{serves} The same number runs all day: there is nothing to scale."
    return (
        f"{serves} Scale from {least} to {most} replicas by that rate, and by "
        f"{number(daily.most_in_flight)} requests in flight: launch --on kubernetes --autoscale "
        "keda, or --on ray --autoscale serve."
    )


def clock(seconds: float) -> str:
    """A time of the day.

    >>> clock(27_000)
    '07:30'
    """
    return f"{int(seconds // 3600):02}:{int(seconds // 60 % 60):02}"
