"""A day: the replicas of every hour, the GPU-hours, and the width that takes the fewest."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import tpdeploy
from tests.planner.days import day
from tests.planner.inputs import ask
from tpdeploy.errors import InputError
from tpdeploy.planner.daily import (
    HELD_S,
    DailyLoad,
    Stretch,
    late_requests,
    replica_hours,
    replicas_needed,
)
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.search import daily as searching
from tpdeploy.planner.search.daily import search_day
from tpdeploy.planner.search.evaluation import Candidate, evaluate
from tpdeploy.planner.search.search import Outcome, Solved, plan
from tpdeploy.planner.workload import Target, Workload

RATES = st.lists(st.floats(0, 50), min_size=1, max_size=30)
SECONDS = st.floats(0, 9_000)


@given(RATES, st.floats(0.1, 20), st.floats(0, 2))
def test_replicas_serve_what_comes_and_no_fewer_would(
    rates: list[float], each: float, headroom: float
) -> None:
    """In every part of the day, with headroom; at least one runs."""
    load = day(*rates, headroom=headroom)
    for rate, count in zip(rates, replicas_needed(load, each), strict=True):
        wanted = rate * (1 + headroom)
        assert count * each >= wanted - 1e-6
        assert count == 1 or (count - 1) * each < wanted


@given(RATES, SECONDS, SECONDS)
def test_replica_hours_are_between_what_is_needed_and_the_peak(
    rates: list[float], ahead: float, held: float
) -> None:
    """Without starts and stays the sum over the day; longer ones never make it less."""
    load = day(*rates)
    needed = replicas_needed(load, 5.0)
    now = replica_hours(load, needed)
    assert now == pytest.approx(sum(needed) * 24 / len(needed))
    longer = replica_hours(load, needed, ahead_s=ahead)
    assert now - 1e-6 <= longer <= replica_hours(load, needed, ahead_s=ahead, held_s=held) + 1e-6
    assert longer <= max(needed) * 24 + 1e-6


def test_every_rise_costs_its_start_up_and_every_fall_its_stay() -> None:
    """Two replicas more for half a day: two starts of 120 s, two stays of 300 s."""
    load = day(1.0, 3.0)
    hours = replica_hours(load, (1, 3), ahead_s=120.0, held_s=HELD_S)
    assert hours == pytest.approx(12 * 1 + 12 * 3 + 2 * (120 + 300) / 3600)


def test_a_flat_day_saves_nothing() -> None:
    """Nothing starts, stays or comes late."""
    load = day(4.0, 4.0, 4.0)
    needed = replicas_needed(load, 3.0)
    assert needed == (2, 2, 2)
    assert replica_hours(load, needed, ahead_s=120, held_s=300) == pytest.approx(2 * 24)
    assert late_requests(load, needed, 3.0) == 0


def test_requests_are_late_while_replicas_start() -> None:
    """6 requests/s come and one replica of 2 runs, for 120 s; none if it starts at once."""
    load = day(1.0, 6.0)
    assert late_requests(load, (1, 3), 2.0) == pytest.approx(4.0 * 120)
    assert late_requests(load.changed(start_up_s=0), (1, 3), 2.0) == 0


def test_a_part_of_a_day_is_taken_to_come_again_and_again() -> None:
    """Hours are those of a whole day: the same half again."""
    load = day(1.0, 3.0)
    half = DailyLoad(
        name="half",
        span_s=43_200,
        stretches=(Stretch(from_s=0, requests_per_s=1), Stretch(from_s=21_600, requests_per_s=3)),
        headroom=0,
    )
    assert replica_hours(half, (1, 3)) == pytest.approx(replica_hours(load, (1, 3)))


@pytest.mark.parametrize("starts", [(3600, 0), (0, 0), (0, 7200)])
def test_stretches_are_in_order_and_within_the_span(starts: tuple[float, float]) -> None:
    """Others are refused."""
    with pytest.raises(ValidationError, match="stretches"):
        DailyLoad(
            name="x",
            span_s=7200,
            stretches=tuple(Stretch(from_s=at, requests_per_s=1) for at in starts),
        )


def found_at(inputs: PlanInputs, rates: Mapping[int, float]) -> Solved:
    """What the search for the highest rate finds, of these requests/s a replica by width."""
    found = []
    for tensor, each in rates.items():
        split = Parallelism(tensor=tensor, replicas=inputs.cluster.count // tensor)
        load = inputs.workload.at_rate(each * split.replicas)
        candidate = evaluate(replace(inputs, workload=load, optimize="goodput"), split)
        assert isinstance(candidate, Candidate)
        found.append(candidate)
    return inputs, Outcome(tuple(found), ())


ASKED = ask(
    "llama-8b",
    "4xL40S",
    workload=Workload(
        input_tokens=256, output_tokens=16, rate=1, ttft=Target(ms=2000), tpot=Target(ms=100)
    ),
    gpu_price_per_hour=1.0,
)


def searched(load: DailyLoad, rates: Mapping[int, float] = {1: 2.0, 2: 3.0}) -> Outcome:
    """The search for `load` if replicas serve so many requests/s, by width."""
    solved = found_at(ASKED, rates)
    with mock.patch.object(searching, "search_steps", return_value=solved):
        return search_day(ASKED, load)[1]


def test_the_width_with_the_fewest_gpu_hours_has_the_replicas_of_the_peak() -> None:
    """TP 1: one, then four replicas; TP 2 would take two GPUs at night."""
    outcome = searched(day(1.0, 7.0))
    best, daily = outcome.best, outcome.daily
    assert best
    assert daily
    assert (best.tensor, best.replicas) == (1, 4)
    assert daily.replicas == (1, 4)
    assert (daily.peak_gpus, daily.fixed_gpu_hours) == (4, 96)
    assert daily.needed_gpu_hours == pytest.approx(12 + 48)
    assert daily.gpu_hours == pytest.approx(daily.mean_gpus * 24)
    assert 0 < daily.starting_gpu_hours < daily.held_gpu_hours < 1
    assert daily.saved == pytest.approx(1 - daily.gpu_hours / 96)
    assert [width.parallelism.tensor for width in daily.widths] == [1, 2]
    # Little: 2 requests/s and the 0.4 s or so that one takes; where all replicas share them, less.
    assert 0.1 < daily.in_flight <= daily.most_in_flight < 3
    assert daily.target_per_s == 2.0


def test_a_finer_step_is_worth_a_lower_rate() -> None:
    """At 2.5 requests/s TP 1 needs two GPUs, as TP 2 does; at 1 it needs one."""
    assert searched(day(2.5)).daily.widths[1].gpu_hours == 48  # type: ignore[union-attr]
    daily = searched(day(1.0)).daily
    assert daily
    assert [width.gpu_hours for width in daily.widths] == [24, 48]


def test_gpus_that_are_too_few_for_the_peak_are_told() -> None:
    """The closest split, what it needs, and the day it would have."""
    load = day(1.0, 30.0, headroom=0.2)
    outcome = searched(load)
    assert outcome.best is None
    assert outcome.ranked[0].missed == (
        "the peak of 30 requests/s with 20% headroom needs 18 replicas, 18 GPUs; there is room "
        "for 4",
    )
    assert outcome.daily
    assert outcome.daily.peak_gpus == 18


def test_a_rate_that_no_site_serves_is_refused() -> None:
    """In a line, not by what records hold."""
    with pytest.raises(InputError, match="1e\\+06 requests/s need more than 100,000 GPUs"):
        searched(day(1e6))


def test_a_plan_keeps_its_day() -> None:
    """With the reason for its width first."""
    made = plan(ASKED, searched(day(1.0, 7.0)))
    assert made.daily
    assert made.daily.peak_gpus == 4
    assert made.why[0].startswith("TP 1 takes 60 GPU-hours a day; TP 2 96.")


@pytest.mark.parametrize(
    ("gpus", "options", "said"),
    [
        ("8xH100", {}, "daily: needs a target"),
        ("H100", {"ttft_ms": 500}, "daily: say how many devices"),
        ("8xH100", {"ttft_ms": 500, "rate": 3.0}, "daily and rate"),
        ("8xH100", {"ttft_ms": 500, "replicas": 3}, "daily and replicas"),
        ("8xH100", {"ttft_ms": 500, "optimize": "cost"}, "daily and optimize cost"),
        ("8xH100", {"ttft_ms": 500, "trace_speed": 2.0}, "the file is no trace"),
        ("8xH100", {"ttft_ms": 500, "headroom": -1.0}, "headroom -1"),
        ("8xH100", {"ttft_ms": 500, "start_up_s": 1e9}, "start_up_s 1e"),
    ],
)
def test_what_a_day_leaves_no_room_for_is_refused(
    gpus: str, options: dict[str, object], said: str, tmp_path: Path
) -> None:
    """Each in a line."""
    path = tmp_path / "day.csv"
    path.write_text("hour,requests_per_second\n0,1\n", encoding="utf-8")
    with pytest.raises(InputError, match=said):
        tpdeploy.plan("llama-8b", gpus, daily=path, **options)  # type: ignore[arg-type]


def test_headroom_without_a_day_is_refused() -> None:
    """There is nothing that it could be of."""
    with pytest.raises(InputError, match=r"headroom 0\.1: give daily too"):
        tpdeploy.plan("llama-8b", "1xL40S", headroom=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("total", [6.0, 22.0, 26.0, 44.0, 64.0, 76.0])
@pytest.mark.parametrize("start", [1, 4])
def test_autoscalers_settle_where_the_rate_is_served(total: float, start: int) -> None:
    """By the rate at what is needed; by requests in flight alone never at replicas too busy.

    From few replicas and from many; each serves 24 requests/s, and is quicker with fewer.
    """
    daily = searched(day(76.0, headroom=0.2), {1: 24.0}).daily
    assert daily
    needed = replicas_needed(day(total, headroom=0.2), 24.0)[0]

    def in_flight(replicas: int) -> float:
        load = ASKED.workload.at_rate(total / replicas)
        found = evaluate(replace(ASKED, workload=load), Parallelism(tensor=1))
        assert isinstance(found, Candidate)
        assert found.prediction.e2e_distribution
        return total * found.prediction.e2e_distribution.mean / 1e3

    def settled(wanted: Callable[[int], float]) -> set[int]:
        """The replicas between which it goes, in the end."""
        seen, now = list[int](), start
        while now not in seen:
            seen.append(now)
            now = max(1, min(4, ceil(wanted(now) - 1e-9)))
        return set(seen[seen.index(now) :])

    both = settled(lambda n: max(total / daily.target_per_s, in_flight(n) / daily.most_in_flight))
    alone = settled(lambda n: in_flight(n) / daily.in_flight)
    assert both == {needed}
    assert min(alone) * 24.0 >= total * 0.97  # as exactly as the highest rate is known


@pytest.mark.slow
def test_a_plan_for_a_day_meets_the_targets_at_its_peak(tmp_path: Path) -> None:
    """From the command's options to the plan; the highest rate is searched for."""
    path = tmp_path / "day.csv"
    path.write_text("hour,requests_per_second\n0,2\n12,30\n", encoding="utf-8")
    made = tpdeploy.plan(
        "llama-8b",
        "4xL40S",
        daily=path,
        input_tokens=256,
        output_tokens=32,
        backend="vllm",
        tp=1,
        ttft_ms=500,
        tpot_ms=30,
    )
    assert made.daily
    assert made.workload.rate == 30
    assert made.parallelism.replicas == max(made.daily.replicas)
    assert made.prediction.ttft_ms.value <= 500
    assert made.prediction.tpot_ms.value <= 30
    assert made.prediction.requests_per_s.value == pytest.approx(30, rel=0.1)
