"""Which figures a report has, and what each says to who cannot see it."""

from dataclasses import dataclass
from pathlib import Path

from tpdeploy.cli.report import figures
from tpdeploy.cli.report.content import Content, Curve
from tpdeploy.cli.report.svg import save
from tpdeploy.cli.views.splits import split_words
from tpdeploy.harness.measure.metrics import Spread
from tpdeploy.harness.measure.sweep import Point
from tpdeploy.numbers import number
from tpdeploy.planner.daily import HOUR_S, DailyPlan
from tpdeploy.planner.memory.footprint import GIB
from tpdeploy.planner.performance.step import StepTime
from tpdeploy.planner.plan import Estimate, MemoryPerGpu, Prediction
from tpdeploy.planner.search.replay import load_of
from tpdeploy.planner.workload import Target

MEMORY_COLOURS = ("predicted", "second", "measured", "third", "muted", "fourth", "grid")
QUANTITIES = {
    "ttft": ("Time to first token", "ms"),
    "tpot": ("Time per output token", "ms"),
    "throughput": ("Output tokens per second", ""),
}
LEAST_SHOWN = 0.05 * GIB
# A part of a day that is counted in minutes.
SHORT_S = 3 * HOUR_S
# A target that many times above everything else would press the curves to the ground.
FAR = 2.5


@dataclass(frozen=True)
class Plot:
    """One figure of the page: its title, its SVG, and the line under it."""

    title: str
    svg: str
    caption: str = ""


def load_plots(content: Content) -> list[Plot]:
    """TTFT, TPOT and throughput against the load."""
    load = content.plan.workload
    return [
        _latency(content, "TTFT", "ttft_ms", load.ttft),
        _latency(content, "TPOT", "tpot_ms", load.tpot),
        _throughput(content),
        _frontier(content),
    ]


def day_plot(content: Content) -> Plot | None:
    """The GPUs of a day against those of its peak; None where the load is not that of a day."""
    daily = content.plan.daily
    if daily is None:
        return None
    return Plot(
        "", figures.day("day", _day(daily, content.device), _day_words(daily, content.device))
    )


def _day(daily: DailyPlan, device: str) -> figures.Day:
    load, each = daily.load, daily.peak_gpus // max(daily.replicas)
    unit, seconds = ("Hour", HOUR_S) if load.span_s > SHORT_S else ("Minute", 60)
    times = [stretch.from_s / seconds for stretch in load.stretches]
    return figures.Day(
        times=(*times, times[0] + load.span_s / seconds),
        unit=unit,
        requests_per_s=load.rates,
        devices=tuple(each * replicas for replicas in daily.replicas),
        device=device,
    )


def _day_words(daily: DailyPlan, device: str) -> str:
    return (
        f"{daily.load.name}: {daily.peak_gpus:,} {device}s at the peak, "
        f"{number(daily.mean_gpus)} on average; scaling saves {daily.saved:.0%}"
    )


def memory_plot(content: Content) -> Plot:
    """What fills a device."""
    parts = zip(memory_parts(content.plan.memory_per_gpu), MEMORY_COLOURS, strict=True)
    shown = [(name, size / GIB, colour) for (name, size), colour in parts if size >= LEAST_SHOWN]
    words = ", ".join(f"{name} {size:.1f} GiB" for name, size, _ in shown)
    bar = figures.Stack("", tuple(shown))
    svg = figures.stacks("memory", [bar], "GiB", f"Memory of a {content.device}: {words}")
    return Plot("", svg)


def communication_plots(content: Content) -> list[Plot]:
    """A decode step and a prefill by cause, at every width."""
    decode = [(f"TP {cost.tensor}", cost.decode) for cost in content.widths]
    prefill = [(f"TP {cost.tensor}", cost.prefill) for cost in content.widths]
    return [_steps("decode", "A decode step", decode), _steps("prefill", "A prefill", prefill)]


def memory_parts(memory: MemoryPerGpu) -> list[tuple[str, int]]:
    """Bytes by what they are for; together the device's memory."""
    return [
        ("weights", memory.weights_bytes),
        ("KV cache", memory.kv_cache_bytes),
        ("activations", memory.activation_bytes),
        ("graphs", memory.graph_bytes),
        ("communicators", memory.communicator_bytes),
        ("engine", memory.context_bytes),
        ("not used", memory.reserved_bytes),
    ]


def step_parts(step: StepTime) -> tuple[tuple[str, float, str], ...]:
    """Milliseconds of a step by cause, and the colour of each."""
    return (
        ("matrix products", step.linear * 1e3, "predicted"),
        ("attention", step.attention * 1e3, "second"),
        ("communication", step.communication * 1e3, "measured"),
        ("engine", step.overhead * 1e3, "fourth"),
    )


def share(step: StepTime) -> str:
    """All-reduces' share of a step."""
    return f"{step.communication / step.total:.0%}"


def _axis(content: Content) -> figures.Axis:
    closed = content.plan.workload.rate is None
    knee = content.sweep.knee if content.sweep else None
    return figures.Axis(
        content.load_axis,
        content.chosen.loads,
        logarithmic=closed,
        planned=load_of(content.plan.workload),
        knee=knee or None,
    )


def legend(content: Content) -> list[tuple[str, str]]:
    """What the figures against the load are drawn with: the class of the sign, and its meaning."""
    load = content.plan.workload
    signs = [("line", "predicted"), ("range", "the range it is expected in")]
    if content.points:
        signs.append(("diamond", "measured, with its 95 % confidence"))
    if load.ttft or load.tpot:
        signs.append(("dashes", "target"))
    signs.append(("dots", "the plan's load"))
    if content.sweep and content.sweep.knee:
        signs.append(("knee", "knee"))
    return signs


def _steps(name: str, title: str, steps: list[tuple[str, StepTime]]) -> Plot:
    bars = [figures.Stack(width, step_parts(step), share(step)) for width, step in steps]
    words = ", ".join(f"{bar.name} {bar.note}" for bar in bars)
    said = f"{title} by cause. Share of communication: {words}"
    caption = "The figure is communication's share."
    return Plot(title, figures.stacks(name, bars, "ms", said), caption)


def _bounds(spread: Spread, statistic: str) -> tuple[float, float]:
    """The ends of a reading's bar; none is drawn to a side that is not known."""
    value = float(getattr(spread, statistic))
    low, high = spread.confidence.get(statistic, (None, None))
    return (value if low is None else low, value if high is None else high)


def _latency(content: Content, name: str, field: str, target: Target | None) -> Plot:
    statistic = target.at if target else "p50"
    estimates = tuple(getattr(p, field) for p in content.chosen.predictions)
    measured = tuple(
        figures.Reading(load_of(p.workload), value, *_bounds(spread, statistic))
        for p in content.points
        if (spread := getattr(p.measured, field)) is not None
        for value in [spread.at(statistic)]
    )
    highest = max([*(e.high for e in estimates), *(reading.value for reading in measured)])
    far = target is not None and target.ms > FAR * highest
    series = figures.Series(
        content.chosen.loads,
        estimates,
        measured,
        target.ms if target and not far else None,
    )
    caption = f"The target of {target.ms:,g} ms is far above." if target and far else ""
    return _against_load(content, name.lower(), series, caption, f", {statistic}, ms")


def _throughput(content: Content) -> Plot:
    series = figures.Series(
        content.chosen.loads,
        tuple(p.output_tokens_per_s for p in content.chosen.predictions),
        tuple(_rate(p) for p in content.points),
        from_zero=True,
    )
    return _against_load(content, "throughput", series)


def _rate(point: Point) -> figures.Reading:
    rate = point.measured.output_tokens_per_s
    return figures.Reading(load_of(point.workload), rate, rate, rate)


def _against_load(
    content: Content, name: str, series: figures.Series, caption: str = "", unit_shown: str = ""
) -> Plot:
    title, unit = QUANTITIES[name]
    title += unit_shown
    words = f"{title}, against load. Predicted: {_ends(series, unit)}."
    if series.measured:
        first, last = series.measured[0], series.measured[-1]
        words += f" Measured: {number(first.value)} {unit} at {first.load:g}, "
        words += f"{number(last.value)} at {last.load:g}."
    return Plot(title, figures.against_load(name, _axis(content), series, words), caption)


def _ends(series: figures.Series, unit: str) -> str:
    first, last = series.predicted[0].value, series.predicted[-1].value
    loads = series.loads
    return f"{number(first)} {unit} at {loads[0]:g}, {number(last)} at {loads[-1]:g}"


def save_plot(content: Content, path: Path) -> None:
    """Write the figure of the day, or of throughput against TPOT, to `path`, an SVG or a PNG.

    Raises:
        TpdeployError: the file cannot be written.
    """
    model, cluster = content.plan.model.id, content.plan.cluster
    title = f"{model.rpartition('/')[2]} on {cluster.count}x {cluster.gpu}, predicted\n"
    if daily := content.plan.daily:
        title += f"{daily.load.name}: scaling saves {daily.saved:.0%}"
        return save(lambda: figures.day_figure(_day(daily, content.device), title), path)
    title += f"Numbers: {content.load_axis.lower()}"
    lines = _frontier_lines(content)
    return save(lambda: figures.frontier_figure(lines, content.device, title), path)


def _frontier_lines(content: Content) -> list[figures.Line]:
    chosen = content.chosen
    predicted = ", predicted" if content.points else ""
    lines = [_line(chosen, split_words(chosen.parallelism) + predicted, main=True)]
    if any(point.measured.tpot_ms for point in content.points):
        lines.append(_measured_line(content))
    others = [other for other in content.others if other.loads]
    return [*lines, *(_line(other, split_words(other.parallelism)) for other in others)]


def _frontier(content: Content) -> Plot:
    lines = _frontier_lines(content)
    words = "; ".join(
        f"{line.name}: {number(line.points[0][1])} tokens/s at {number(line.points[0][0])} ms to "
        f"{number(line.points[-1][1])} at {number(line.points[-1][0])} ms"
        for line in lines
    )
    title = f"Tokens/s of a {content.device} against TPOT"
    svg = figures.frontier("frontier", lines, content.device, f"{title}. {words}")
    counted = content.load_axis.lower()
    return Plot(title, svg, f"Up and to the left is better; numbers are {counted}.")


def _line(curve: Curve, name: str, *, main: bool = False) -> figures.Line:
    """Up to the heaviest load that is served; beyond, points would lie on one another."""
    devices = curve.parallelism.devices
    points = tuple(_quick_and_much(p, devices) for p in curve.predictions)
    return figures.Line(name, curve.loads[: curve.served], points[: curve.served], main=main)


def _measured_line(content: Content) -> figures.Line:
    devices = content.plan.parallelism.devices
    statistic = content.plan.workload.tpot.at if content.plan.workload.tpot else "p50"
    points = [p for p in content.points if p.measured.tpot_ms is not None]
    return figures.Line(
        "measured",
        tuple(load_of(p.workload) for p in points),
        tuple(
            (p.measured.tpot_ms.at(statistic), p.measured.output_tokens_per_s / devices)
            for p in points
            if p.measured.tpot_ms is not None
        ),
        measured=True,
        main=True,
    )


def _quick_and_much(prediction: Prediction, devices: int) -> tuple[float, float]:
    tokens: Estimate = prediction.output_tokens_per_s
    return prediction.tpot_ms.value, tokens.value / devices
