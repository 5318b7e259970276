"""Where the engines of a deployment have been slower than the plan says, and for how long."""

from collections.abc import Sequence
from datetime import timedelta

from tpdeploy.launcher.figures import Look, observed
from tpdeploy.planner.plan import DeploymentPlan, Estimate, Statistics
from tpdeploy.profiles.record import Record

# A shorter time tells little: an engine tells the TPOT of a request when that ends.
WINDOW = timedelta(minutes=5)
MOST_WINDOWS = 12
LEAST_OBSERVED = 5
# A load is called another one from here on.
HEAVIER = 1.1


class Expected(Record):
    """A mean that the plan predicts, and the highest that its range allows; both in ms."""

    mean_ms: float
    high_ms: float


def expected(estimate: Estimate, spread: Statistics) -> Expected:
    """The mean of a latency, with the range of its median, which the plan states."""
    wider = estimate.high / estimate.value if estimate.value else 1.0
    return Expected(mean_ms=spread.mean, high_ms=spread.mean * wider)


def drifts(looks: Sequence[Look], plan: DeploymentPlan) -> tuple[str, ...]:
    """Each latency that has lately been above the plan's range, in words."""
    told = plan.prediction
    found = []
    for name, field, limit in (
        ("TTFT", "ttft", expected(told.ttft_ms, told.ttft_distribution)),
        ("TPOT", "tpot", expected(told.tpot_ms, told.tpot_distribution)),
    ):
        slow = _slow_end(looks, field, limit.high_ms)
        mean = _mean_ms(slow, field)
        if mean is not None:
            minutes = (slow[-1].at - slow[0].at).total_seconds() / 60
            above = f"{mean / limit.mean_ms - 1:.0%} above plan" if limit.mean_ms else "above plan"
            found.append(f"{name} {above} for {minutes:.0f} minutes{_cause(slow, plan)}")
    return tuple(found)


def _slow_end(looks: Sequence[Look], field: str, high_ms: float) -> Sequence[Look]:
    """The looks of the last whole windows, of which each is above `high_ms`; none if it is not."""
    begin, end = len(looks), len(looks) - 1
    for _ in range(MOST_WINDOWS):
        start = _first_before(looks, end)
        window = looks[start : end + 1] if start is not None else []
        mean = _mean_ms(window, field)
        if start is None or mean is None or mean <= high_ms:
            break
        begin = end = start
    return looks[begin:]


def _first_before(looks: Sequence[Look], end: int) -> int | None:
    """The last look that lies a window before look number `end`."""
    earlier = (n for n in range(end, -1, -1) if looks[end].at - looks[n].at >= WINDOW)
    return next(earlier, None)


def _mean_ms(looks: Sequence[Look], field: str) -> float | None:
    times = observed(looks, _labels(looks), field)
    if times is None or times.count < LEAST_OBSERVED:
        return None
    return 1000 * times.sum / times.count


def _cause(looks: Sequence[Look], plan: DeploymentPlan) -> str:
    """That the load is heavier than the planned one, if it is."""
    planned, seconds = plan.workload, (looks[-1].at - looks[0].at).total_seconds()
    if planned.concurrency is not None:
        busy = [
            sum((m.running or 0) + (m.waiting or 0) for m in look.replicas.values())
            for look in looks
        ]
        mean = sum(busy) / len(busy)
        if mean > HEAVIER * planned.concurrency:
            return f" ({mean:.0f} requests in flight; the plan is for {planned.concurrency})"
    elif planned.rate is not None:
        begun = observed(looks, _labels(looks), "ttft")
        rate = begun.count / seconds if begun else 0.0
        if rate > HEAVIER * planned.rate:
            return f" ({rate:.2g} requests/s; the plan is for {planned.rate:g})"
    return ""


def _labels(looks: Sequence[Look]) -> list[str]:
    return sorted({label for look in looks for label in look.replicas})
