"""Days of traffic and what is planned for them, small."""

from tpdeploy.planner.daily import (
    DailyLoad,
    DailyPlan,
    DailyWidth,
    Stretch,
    late_requests,
    replica_hours,
    replicas_needed,
)
from tpdeploy.planner.parallelism import Parallelism


def day(*rates: float, headroom: float = 0.0, start_up_s: float = 120.0) -> DailyLoad:
    """Equal parts of a day with these requests/s."""
    each = 86_400 / len(rates)
    stretches = [Stretch(from_s=at * each, requests_per_s=rate) for at, rate in enumerate(rates)]
    return DailyLoad(
        name="day.csv",
        span_s=86_400,
        stretches=tuple(stretches),
        headroom=headroom,
        start_up_s=start_up_s,
    )


def planned(load: DailyLoad, requests_per_s: float, split: Parallelism) -> DailyPlan:
    """A plan of the day with replicas of one split that serve so many each."""
    needed = replicas_needed(load, requests_per_s)
    hours = replica_hours(load, needed) * split.ranks
    most = max(needed) * split.ranks
    width = DailyWidth(
        parallelism=split.with_replicas(max(needed)),
        requests_per_s=requests_per_s,
        mean_gpus=hours / 24,
        gpu_hours=hours,
    )
    return DailyPlan(
        load=load,
        requests_per_s=requests_per_s,
        most_in_flight=57.24,
        in_flight=28.16,
        replicas=needed,
        peak_gpus=most,
        mean_gpus=hours / 24,
        needed_gpu_hours=hours,
        starting_gpu_hours=0,
        held_gpu_hours=0,
        fixed_gpu_hours=most * 24,
        late_requests=late_requests(load, needed, requests_per_s),
        widths=(width,),
    )
