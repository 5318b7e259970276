"""Without a count the fewest devices are found that carry the load, and no fewer would."""

from dataclasses import replace
from functools import cache

import pytest

from tests.planner.inputs import ask
from tpdeploy.errors import InfeasibleError
from tpdeploy.planner.search.evaluation import Candidate, evaluate
from tpdeploy.planner.search.fleet import Fleet, fewest_devices
from tpdeploy.planner.search.machines import MACHINE, MOST_MACHINES
from tpdeploy.planner.search.search import plan
from tpdeploy.planner.workload import Target, Workload

BUSY = Workload(rate=30, ttft=Target(ms=500), tpot=Target(ms=50))


@cache
def busy() -> Fleet:
    """What carries BUSY."""
    return fewest_devices(ask("llama-70b", "H100", workload=BUSY))


@pytest.mark.slow
def test_one_replica_fewer_would_not_carry_the_load() -> None:
    """The answer meets the rate and the targets; the same split with one replica less does not."""
    fleet = busy()
    best = fleet.outcome.best
    assert best
    assert not best.missed
    fewer = best.parallelism.model_copy(update={"replicas": best.replicas - 1})
    less = evaluate(fleet.inputs, fewer)
    assert isinstance(less, Candidate)
    assert less.missed


@pytest.mark.slow
def test_the_others_need_more_devices_or_miss_a_target() -> None:
    """Every other split says how many devices it needs, or which target it misses."""
    fleet = busy()
    chosen = plan(fleet.inputs, fleet.outcome)
    for other in chosen.alternatives:
        words = ("needs", "misses", "serves", "does not fit", "cannot")
        assert any(word in other.reason for word in words), other.reason


@pytest.mark.slow
def test_more_load_never_needs_fewer_devices() -> None:
    """Rates of 1 to 100 requests/s on an 8B model."""
    counts = []
    for rate in (1, 10, 40, 100):
        fleet = fewest_devices(ask("llama-8b", "H100", workload=Workload(rate=rate)))
        assert fleet.outcome.best
        counts.append(fleet.outcome.best.parallelism.devices)
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


@pytest.mark.slow
def test_the_cluster_is_the_smallest_that_holds_the_replicas() -> None:
    """Up to a machine exactly as many devices; beyond, whole machines, and idle devices named."""
    small = fewest_devices(ask("llama-8b", "H100", workload=Workload(rate=1)))
    assert small.outcome.best
    assert small.inputs.cluster.count == small.outcome.best.parallelism.devices
    large = fewest_devices(ask("llama-70b", "H100", workload=replace_rate(60)))
    chosen = plan(large.inputs, large.outcome)
    assert chosen.cluster.count == chosen.cluster.nodes * MACHINE
    assert len(chosen.placement) == chosen.parallelism.replicas


@pytest.mark.slow
def test_targets_at_a_concurrency_count_too() -> None:
    """A TPOT that one replica cannot hold for all clients is met by more of them."""
    load = Workload(concurrency=400, tpot=Target(ms=25))
    best = fewest_devices(ask("llama-8b", "H100", workload=load)).outcome.best
    assert best
    assert best.parallelism.devices > 1
    assert best.prediction.tpot_ms.value <= 25


@pytest.mark.slow
def test_a_model_larger_than_a_machine_spans_two() -> None:
    """405B in BF16 takes two machines as two stages."""
    best = fewest_devices(ask("llama-405b", "H100", workload=Workload(rate=0.1))).outcome.best
    assert best
    assert best.parallelism.pipeline > 1
    assert best.parallelism.ranks > MACHINE


def test_a_load_beyond_the_most_devices_says_what_comes_closest() -> None:
    """A TPOT no split reaches is infeasible, with the most that was looked at."""
    load = Workload(rate=1, tpot=Target(ms=0.01))
    fleet = fewest_devices(ask("llama-8b", "H100", workload=load))
    most = MACHINE * MOST_MACHINES
    with pytest.raises(InfeasibleError, match=rf"of up to {most} GPUs .* closest is TP .* misses"):
        plan(fleet.inputs, fleet.outcome)


@pytest.mark.slow
def test_a_model_that_fits_no_machines_says_so() -> None:
    """A trillion parameters do not fit 64 T4 with 14 GiB each."""
    fleet = fewest_devices(ask("kimi-k2", "T4", workload=Workload(rate=1)))
    with pytest.raises(InfeasibleError, match=r"does not run on 64xT4"):
        plan(fleet.inputs, fleet.outcome)


def test_a_fixed_number_of_replicas_is_kept() -> None:
    """`--replicas 3` asks only for the width."""
    load = Workload(rate=2)
    best = fewest_devices(ask("llama-8b", "H100", workload=load, replicas=3)).outcome.best
    assert best
    assert best.replicas == 3


def replace_rate(rate: float) -> Workload:
    return BUSY.model_copy(update={"rate": rate})


@pytest.mark.slow
def test_the_question_keeps_what_the_user_fixed() -> None:
    """A width that is asked for is the only one looked at."""
    inputs = replace(ask("llama-70b", "H100", workload=BUSY), tensor=8)
    fleet = fewest_devices(inputs)
    assert {c.parallelism.tensor for c in fleet.outcome.ranked} == {8}


def test_where_no_fleet_is_enough_the_closest_split_is_first() -> None:
    """A target below what any of them does: the quickest is named, not the one with most tokens."""
    load = Workload(concurrency=4, ttft=Target(ms=0.001))
    ranked = fewest_devices(ask("llama-70b", "H100", workload=load)).outcome.ranked
    assert ranked[0].prediction.ttft_ms.value == min(c.prediction.ttft_ms.value for c in ranked)
