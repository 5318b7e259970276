"""The fewest replicas that carry a load are found, and few counts are tried for it."""

from dataclasses import replace
from math import log2

import pytest

from tests.planner.inputs import ask
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.search import replicas
from tpdeploy.planner.search.evaluation import Candidate, Prepared, evaluate, prepare
from tpdeploy.planner.search.search import is_met, search
from tpdeploy.planner.serving.simulation import KEEPS_UP
from tpdeploy.planner.workload import Target, Workload

MOST, RATE = 256, 80.0


class Replicas:
    """Of which so many are needed; with this share of those, or fewer, the queue grows."""

    def __init__(self, needed: int, growing: float, one: Candidate) -> None:
        self.needed, self.growing, self.one = needed, growing, one
        self.tried: list[int] = []

    def evaluate(self, _: PlanInputs, split: Parallelism, *__: object) -> Candidate:
        """The candidate with as many replicas as `split` has."""
        self.tried.append(split.replicas)
        missed, full = split.replicas < self.needed, None
        if missed and self.growing:
            full = RATE / KEEPS_UP / (self.growing * self.needed)
        served = replace(self.one.served, full_per_s=full)
        why = ("too few",) if missed else ()
        return replace(self.one, parallelism=split, served=served, missed=why)


@pytest.mark.parametrize("needed", [1, 2, 3, 17, 80, 91, 200, MOST])
@pytest.mark.parametrize("guess", [1, 75, MOST])
@pytest.mark.parametrize("growing", [0.0, 0.8, 0.95])
def test_the_fewest_are_found_in_few_tries(
    needed: int, guess: int, growing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the queue grows with fewer or a target is missed, and wherever it begins."""
    inputs = ask("llama-8b", "1xH100", workload=Workload(rate=RATE))
    shape = prepare(inputs, Parallelism(tensor=1))
    assert isinstance(shape, Prepared)
    light = replace(inputs, workload=Workload(concurrency=1))
    one = evaluate(light, shape.parallelism)
    assert isinstance(one, Candidate)
    fake = Replicas(needed, growing, one)
    monkeypatch.setattr(replicas, "evaluate", fake.evaluate)
    found = replicas.with_fewest_replicas(inputs, shape, guess, MOST)
    assert isinstance(found, Candidate)
    assert found.replicas == needed
    assert len(fake.tried) <= 2 * log2(MOST), fake.tried


@pytest.mark.parametrize("rate", [2, 8, 60])
@pytest.mark.parametrize("ttft", [None, 25, 150])
@pytest.mark.slow
def test_a_load_is_met_where_the_search_finds_a_plan(rate: float, ttft: float | None) -> None:
    """The first split that meets every target says so, without the others."""
    target = Target(ms=ttft) if ttft else None
    inputs = ask("llama-8b", "2xH100", workload=Workload(rate=rate, ttft=target))
    assert is_met(inputs) == bool(search(inputs).best)
