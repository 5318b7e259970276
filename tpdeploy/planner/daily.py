"""Daily load: requests/s over a day, and the replicas and GPU-hours that they take."""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil

from pydantic import Field, model_validator

from tpdeploy.bounds import MOST_RATE, Devices, Figure
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.profiles.record import Record, Text

DAY_S, HOUR_S = 86_400, 3600
# A judgement: requests do not come evenly within an hour, and predictions are 10 to 40 % off.
HEADROOM, MOST_HEADROOM = 0.2, 9.0
# A judgement: weights from a local disk and CUDA graphs take about two minutes; see `logs`.
START_UP_S = 120.0
# For so long a replica stays after it was needed: the default of Kubernetes' autoscaler
# (--horizontal-pod-autoscaler-downscale-stabilization).
HELD_S = 300.0


class Stretch(Record):
    """A part of the day with an even rate, up to the next one."""

    from_s: float = Field(ge=0, lt=DAY_S)
    requests_per_s: float = Field(ge=0, le=MOST_RATE)


class DailyLoad(Record):
    """Requests/s over a day, or a part of one that comes again and again."""

    name: Text = Field(description="of the file")
    span_s: float = Field(gt=0, le=DAY_S, description="after which it begins again")
    stretches: tuple[Stretch, ...] = Field(min_length=1)
    headroom: float = Field(
        default=HEADROOM, ge=0, le=MOST_HEADROOM, description="replicas for so much more, 0.2: 20 %"
    )
    start_up_s: float = Field(
        default=START_UP_S, ge=0, le=DAY_S, description="until a new replica answers"
    )

    @model_validator(mode="after")
    def _in_order(self) -> "DailyLoad":
        starts = [stretch.from_s for stretch in self.stretches]
        if any(later <= earlier for earlier, later in pairwise(starts)):
            raise ValueError("stretches: each must begin later than the one before")
        if starts[-1] >= starts[0] + self.span_s:
            raise ValueError("stretches: the last one begins after the end")
        return self

    @property
    def rates(self) -> tuple[float, ...]:
        """Requests/s of each stretch."""
        return tuple(stretch.requests_per_s for stretch in self.stretches)

    @property
    def seconds(self) -> tuple[float, ...]:
        """How long each stretch lasts."""
        starts = [stretch.from_s for stretch in self.stretches]
        return tuple(b - a for a, b in pairwise([*starts, starts[0] + self.span_s]))

    @property
    def peak(self) -> Stretch:
        """The stretch with the highest rate, the first of several."""
        return max(self.stretches, key=lambda stretch: stretch.requests_per_s)

    @property
    def mean_per_s(self) -> float:
        """Requests/s on average."""
        pairs = zip(self.rates, self.seconds, strict=True)
        return sum(rate * seconds for rate, seconds in pairs) / self.span_s


class DailyWidth(Record):
    """One width under the load of the day."""

    parallelism: Parallelism = Field(description="with the replicas of the peak")
    requests_per_s: Figure = Field(description="the most one replica serves within the targets")
    mean_gpus: Figure = Field(description="that run, with those that start or are held")
    gpu_hours: Figure = Field(description="of a day, likewise")


class DailyPlan(Record):
    """What the plan's split takes for a day, and what other widths would."""

    load: DailyLoad
    requests_per_s: Figure = Field(description="the most one replica serves within the targets")
    most_in_flight: Figure = Field(description="requests of one replica that serves so many")
    in_flight: Figure = Field(
        description="requests of one replica above which one more is needed, for autoscalers that "
        "see nothing else"
    )
    replicas: tuple[Devices, ...] = Field(description="needed in each stretch")
    peak_gpus: Devices
    mean_gpus: Figure = Field(description="that run, with those that start or are held")
    needed_gpu_hours: Figure = Field(description="of a day, if replicas came and went at once")
    starting_gpu_hours: Figure = Field(description="more, for replicas started ahead of a rise")
    held_gpu_hours: Figure = Field(description="more, for replicas that stay after a fall")
    fixed_gpu_hours: Figure = Field(description="of a day, if those of the peak always run")
    late_requests: Figure = Field(
        description="of a day, above what runs, if replicas start only once a rate has risen"
    )
    widths: tuple[DailyWidth, ...] = Field(description="the chosen one first, others by GPU-hours")

    @property
    def target_per_s(self) -> float:
        """Requests/s of one replica that leave the headroom."""
        return self.requests_per_s / (1 + self.load.headroom)

    @property
    def gpu_hours(self) -> float:
        """Of a day, with an autoscaler that starts replicas ahead of a rise."""
        return self.needed_gpu_hours + self.starting_gpu_hours + self.held_gpu_hours

    @property
    def saved(self) -> float:
        """The share of the GPU-hours of a fixed fleet that such an autoscaler saves."""
        return 1 - self.gpu_hours / self.fixed_gpu_hours


def replicas_needed(load: DailyLoad, requests_per_s: float) -> tuple[int, ...]:
    """Replicas in each stretch, if one serves `requests_per_s`: at least one.

    >>> day = DailyLoad(name="day", span_s=10, headroom=0.5, stretches=(
    ...     Stretch(from_s=0, requests_per_s=0), Stretch(from_s=5, requests_per_s=4)))
    >>> replicas_needed(day, 2.0)
    (1, 3)
    """
    asked = (rate * (1 + load.headroom) / requests_per_s for rate in load.rates)
    return tuple(max(1, ceil(each - 1e-9)) for each in asked)


def replica_hours(
    load: DailyLoad, replicas: Sequence[int], *, ahead_s: float = 0.0, held_s: float = 0.0
) -> float:
    """Replica-hours of a day, if each runs `ahead_s` before it is needed and `held_s` after.

    At any moment as many run as are needed at most from `held_s` ago to `ahead_s` from now.
    """
    starts = [stretch.from_s for stretch in load.stretches]
    if ahead_s + held_s >= load.span_s:
        return max(replicas) * DAY_S / HOUR_S
    bounds = [*starts, starts[0] + load.span_s]
    turns = {
        starts[0] + (start + shift - starts[0]) % load.span_s
        for start in starts
        for shift in (0.0, -ahead_s, held_s)
    }
    found = 0.0
    for begin, end in pairwise(sorted({*turns, bounds[0], bounds[-1]})):
        now = (begin + end) / 2
        seen = _between(load, bounds, now - held_s, now + ahead_s)
        found += (end - begin) * max(replicas[at] for at in seen)
    return found / load.span_s * DAY_S / HOUR_S


def _between(load: DailyLoad, bounds: Sequence[float], first: float, last: float) -> list[int]:
    """The stretches of which a part lies between two times; the day comes again and again."""
    return [
        at
        for at, (begin, end) in enumerate(pairwise(bounds))
        for turn in (-load.span_s, 0.0, load.span_s)
        if begin + turn <= last and first < end + turn
    ]


def late_requests(load: DailyLoad, replicas: Sequence[int], requests_per_s: float) -> float:
    """Requests of a day above what runs, if replicas are started only once a rate has risen."""
    before = (replicas[-1], *replicas)
    late = sum(
        max(0.0, rate - was * requests_per_s) * min(load.start_up_s, seconds)
        for rate, seconds, was in zip(load.rates, load.seconds, before, strict=False)
    )
    return late / load.span_s * DAY_S
