"""Over time: what a replay does, window by window; the same for a simulation and a measurement."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from tpdeploy.planner.plan import Timeline, Window
from tpdeploy.planner.serving.percentiles import statistics_ms
from tpdeploy.planner.serving.prediction import distribution
from tpdeploy.planner.workload import Target, Workload

# A table of more rows is not read at a glance.
MOST_WINDOWS = 12
NICE_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400)


@dataclass(frozen=True)
class Answered:
    """One request of a replay, in seconds of it: when it was due, and how long it then took."""

    at: float
    ttft: float
    e2e: float
    answer: int  # tokens

    @property
    def tpot(self) -> float | None:
        """Seconds for each token after the first; None: there was one."""
        return (self.e2e - self.ttft) / (self.answer - 1) if self.answer > 1 else None


def timeline(
    answered: Sequence[Answered], seconds: float, workload: Workload, cached: float | None = None
) -> Timeline:
    """All requests of a replay whose last is due after `seconds`, with the targets of `workload`.

    A request that failed is none of `answered`.
    """
    each = _window_s(seconds)
    windows: list[list[Answered]] = [[] for _ in range(max(1, ceil(seconds / each)))]
    for request in answered:
        windows[min(int(request.at / each), len(windows) - 1)].append(request)
    edges = [*(number * each for number in range(len(windows))), seconds]
    running = _means([(a.at, a.at + a.e2e, 1.0) for a in answered], edges)
    came = _means([_stream(a) for a in answered], edges)
    return Timeline(
        window_s=each,
        windows=tuple(
            _window(edges[number], requests, workload, running[number], came[number])
            for number, requests in enumerate(windows)
        ),
        e2e_ms=distribution(tuple(a.e2e for a in answered)),
        peak_in_flight=_peak(answered),
        within_targets=_within(answered, workload),
        cached=cached,
    )


def _window_s(seconds: float) -> float:
    """The shortest round length of which MOST_WINDOWS or fewer cover `seconds`."""
    return next((each for each in NICE_S if each * MOST_WINDOWS >= seconds), NICE_S[-1])


def _stream(a: Answered) -> tuple[float, float, float]:
    """From its first token to its last, and tokens/s, or a millisecond for one that comes whole."""
    begin, lasts = a.at + a.ttft, max(a.e2e - a.ttft, 1e-3)
    return begin, begin + lasts, a.answer / lasts


def _means(spans: Sequence[tuple[float, float, float]], edges: Sequence[float]) -> list[float]:
    """Between two edges each: the sum of the weights of `spans`, on average over the seconds."""
    totals = [0.0] * (len(edges) - 1)
    for begin, end, weight in spans:
        number = bisect_right(edges, begin) - 1
        while number < len(totals) and edges[number] < end:
            inside = min(end, edges[number + 1]) - max(begin, edges[number])
            totals[number] += weight * inside
            number += 1
    lengths = (after - before for before, after in pairwise(edges))
    return [total / length for total, length in zip(totals, lengths, strict=True)]


def _window(
    from_s: float, requests: list[Answered], workload: Workload, running: float, rate: float
) -> Window:
    # Of the very requests of the window: with few of them, p99 is nearly the longest wait.
    first = statistics_ms([a.ttft for a in requests]) if requests else {}
    later = tuple(a.tpot for a in requests if a.tpot is not None)
    return Window(
        from_s=from_s,
        arrivals=len(requests),
        in_flight=running,
        ttft_p50_ms=first.get("p50"),
        ttft_p99_ms=first.get("p99"),
        tpot_p50_ms=statistics_ms(later)["p50"] if later else None,
        output_tokens_per_s=rate,
        within_targets=_within(requests, workload),
        missed=_misses(tuple(a.ttft for a in requests), workload.ttft)
        or _misses(later, workload.tpot),
    )


def _within(requests: Sequence[Answered], workload: Workload) -> float | None:
    if not requests or not (workload.ttft or workload.tpot):
        return None
    first = workload.ttft.ms / 1e3 if workload.ttft else float("inf")
    later = workload.tpot.ms / 1e3 if workload.tpot else float("inf")
    return sum(a.ttft <= first and (a.tpot or 0.0) <= later for a in requests) / len(requests)


def _misses(seconds: tuple[float, ...], target: Target | None) -> bool:
    if target is None or not seconds:
        return False
    return statistics_ms(seconds)[target.at] > target.ms


def _peak(answered: Sequence[Answered]) -> int:
    """The most requests in flight at one instant; one that ends then is not."""
    ends = sorted(a.at + a.e2e for a in answered)
    begun = enumerate(sorted(a.at for a in answered), 1)
    return max((number - bisect_right(ends, at) for number, at in begun), default=0)
