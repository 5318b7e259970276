"""Daily: the width that takes the fewest GPU-hours for a day, with the replicas of its peak."""

from dataclasses import replace
from statistics import fmean

from tpdeploy.bounds import MOST_DEVICES, MOST_RATE
from tpdeploy.errors import InputError
from tpdeploy.planner.daily import (
    HELD_S,
    DailyLoad,
    DailyPlan,
    DailyWidth,
    late_requests,
    replica_hours,
    replicas_needed,
)
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.search.evaluation import Candidate, evaluate
from tpdeploy.planner.search.highest_rate import three_digits
from tpdeploy.planner.search.search import Solved
from tpdeploy.planner.search.token_budget import search_steps

MOST_OTHERS = 3  # widths that are told beside the chosen one


def search_day(inputs: PlanInputs, load: DailyLoad) -> Solved:
    """The search at the peak of `load`, and the question of it; fewest GPU-hours of a day first.

    Widths of which the devices hold too few replicas come last, and say how many are needed.

    Raises:
        InputError: as `search` does; or no number of devices is enough.
    """
    most = inputs.workload.at_rate(MOST_RATE)
    asked, outcome = search_steps(replace(inputs, optimize="goodput", workload=most))
    peak = inputs.workload.at_rate(load.peak.requests_per_s)
    answered = replace(asked, optimize="daily", workload=peak)
    able = [candidate for candidate in outcome.ranked if not candidate.missed]
    if not able:
        return answered, outcome
    days = [(_width(load, candidate), candidate) for candidate in able]
    days = [day for day in days if day[0].parallelism.devices <= MOST_DEVICES]
    if not days:
        raise InputError(
            f"--daily: {load.peak.requests_per_s:g} requests/s need more than {MOST_DEVICES:,} "
            f"{inputs.device}s"
        )
    days.sort(key=lambda day: day[0].gpu_hours)
    found = [(width, _at_peak(answered, load, width, c)) for width, c in days]
    fitting = [pair for pair in found if not pair[1].missed]
    lacking = sorted((p for p in found if p[1].missed), key=lambda p: p[0].parallelism.devices)
    found = fitting + lacking
    (chosen, best), *_ = found
    others = [width for width, _ in days if width is not chosen][:MOST_OTHERS]
    daily = _plan(answered, load, best, (chosen, *others))
    ranked = tuple(candidate for _, candidate in found)
    remarks = (_fewest(daily), *outcome.remarks)
    return answered, replace(outcome, ranked=ranked, daily=daily, remarks=remarks)


def _width(load: DailyLoad, candidate: Candidate) -> DailyWidth:
    """What one width takes; `candidate` is it at its highest rate."""
    split = candidate.parallelism
    highest = three_digits(candidate.prediction.requests_per_s.value / split.replicas)
    needed = replicas_needed(load, highest)
    hours = replica_hours(load, needed, ahead_s=load.start_up_s, held_s=HELD_S) * split.ranks
    return DailyWidth(
        parallelism=split.with_replicas(max(needed)),
        requests_per_s=highest,
        mean_gpus=hours / 24,
        gpu_hours=hours,
    )


def _at_peak(
    inputs: PlanInputs, load: DailyLoad, width: DailyWidth, candidate: Candidate
) -> Candidate:
    """The width with the replicas of the peak; with what it lacks where they do not fit."""
    split, here = width.parallelism, candidate.parallelism
    if split.replicas <= here.replicas:
        found = evaluate(inputs, split, candidate.replica.model)
        if isinstance(found, Candidate):
            return found
    lacks = (
        f"the peak of {load.peak.requests_per_s:.3g} requests/s with {load.headroom:.0%} headroom "
        f"needs {split.replicas} replicas, {split.devices} {inputs.device}s; there is room for "
        f"{here.replicas}"
    )
    return replace(candidate, missed=(lacks,))


def _plan(
    inputs: PlanInputs,
    load: DailyLoad,
    candidate: Candidate,
    widths: tuple[DailyWidth, ...],
) -> DailyPlan:
    """The day of the first width, which `candidate` is; the others stand beside it."""
    width = widths[0]
    highest, ranks = width.requests_per_s, width.parallelism.ranks
    needed = replicas_needed(load, highest)
    now = replica_hours(load, needed) * ranks
    ahead = replica_hours(load, needed, ahead_s=load.start_up_s) * ranks
    return DailyPlan(
        load=load,
        requests_per_s=highest,
        most_in_flight=_in_flight(inputs, candidate, highest),
        in_flight=_least_in_flight(inputs, candidate, highest, max(needed)),
        replicas=needed,
        peak_gpus=width.parallelism.devices,
        mean_gpus=width.mean_gpus,
        needed_gpu_hours=now,
        starting_gpu_hours=ahead - now,
        held_gpu_hours=width.gpu_hours - ahead,
        fixed_gpu_hours=width.parallelism.devices * 24,
        late_requests=late_requests(load, needed, highest),
        widths=widths,
    )


def _in_flight(inputs: PlanInputs, candidate: Candidate, rate: float) -> float:
    """Requests in flight in one replica at `rate`: requests/s times how long one takes (Little)."""
    one = replace(inputs, workload=inputs.workload.at_rate(rate))
    split = candidate.parallelism.with_replicas(1)
    found = evaluate(one, split, candidate.replica.model)
    assert isinstance(found, Candidate)  # noqa: S101 - it fitted under the highest rate
    return rate * fmean(found.served.e2e_s)


def _least_in_flight(
    inputs: PlanInputs, candidate: Candidate, highest: float, replicas: int
) -> float:
    """Requests in flight in a replica at which taking others away never overloads it.

    Answers are quicker where replicas have less to do, so that fewer requests are in flight: an
    autoscaler that divides them by what a busy replica has takes away too many, and adds them
    again. If all `replicas` share the highest rate of one, as many are in flight as are safe in
    one. Fewer replicas lie between, since requests in flight grow faster than the rate.
    """
    return replicas * _in_flight(inputs, candidate, three_digits(highest / replicas))


def _fewest(daily: DailyPlan) -> str:
    """How many GPU-hours it takes, and what the other widths would."""
    chosen, *others = daily.widths
    told = ", ".join(f"{w.parallelism.words} {w.gpu_hours:,.0f}" for w in others)
    instead = f"; {told}" if told else ""
    return f"{chosen.parallelism.words} takes {chosen.gpu_hours:,.0f} GPU-hours a day{instead}."
