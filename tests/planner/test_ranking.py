"""What is asked for comes first, near ties go to the quicker answer, then to the simpler split."""

from dataclasses import replace

import pytest

from tests.harness.plans import estimate
from tests.planner.inputs import ask
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.search.evaluation import Candidate
from tpdeploy.planner.search.ranking import rank
from tpdeploy.planner.search.search import search

QUESTION = ask("llama-8b", "8xH100")
ANY = search(ask("llama-8b", "1xH100")).ranked[0]


def candidate(
    split: Parallelism, *, tokens: float = 1000, tpot_ms: float = 10, missed: bool = False
) -> Candidate:
    """A split with the figures that matter here."""
    prediction = ANY.prediction.model_copy(
        update={
            "output_tokens_per_s": estimate(tokens),
            "tpot_ms": estimate(tpot_ms),
            "ttft_ms": estimate(100),
        }
    )
    words = ("TPOT misses",) if missed else ()
    return replace(ANY, parallelism=split, prediction=prediction, missed=words)


WIDE, NARROW = Parallelism(tensor=8), Parallelism(tensor=2, replicas=4)


def test_more_tokens_win_over_quicker_ones() -> None:
    """Ten per cent more throughput comes before half the TPOT."""
    more, quicker = candidate(NARROW, tokens=1100), candidate(WIDE, tpot_ms=5)
    assert rank(QUESTION, [quicker, more]) == [more, quicker]


def test_a_near_tie_goes_to_the_quicker() -> None:
    """One per cent of throughput is nothing beside half the TPOT."""
    more, quicker = candidate(NARROW, tokens=1010), candidate(WIDE, tpot_ms=5)
    assert rank(QUESTION, [more, quicker]) == [quicker, more]


def test_targets_come_first_and_ties_are_among_those_that_meet_them() -> None:
    """What misses a target is last, and its throughput is no measure for the others."""
    fast = candidate(Parallelism(tensor=1, replicas=8), tokens=2000, missed=True)
    more, quicker = candidate(NARROW, tokens=1010), candidate(WIDE, tpot_ms=5)
    assert rank(QUESTION, [fast, more, quicker]) == [quicker, more, fast]


@pytest.mark.parametrize(
    "other", [Parallelism(tensor=4, pipeline=2), Parallelism(tensor=8, expert=8)]
)
def test_between_equals_the_simpler_split_wins(other: Parallelism) -> None:
    """Without stages and without whole experts, if they bring nothing."""
    simple, less_simple = candidate(WIDE), candidate(other)
    assert rank(QUESTION, [less_simple, simple]) == [simple, less_simple]


def test_for_cost_each_device_counts() -> None:
    """Half the tokens on an eighth of the devices are cheaper."""
    few, all_of_them = candidate(Parallelism(tensor=1), tokens=500), candidate(WIDE)
    inputs = replace(QUESTION, optimize="cost")
    assert rank(inputs, [all_of_them, few]) == [few, all_of_them]


def test_for_latency_throughput_does_not_count() -> None:
    """The quicker answer wins whatever the others serve."""
    more, quicker = candidate(NARROW, tokens=5000), candidate(WIDE, tpot_ms=9)
    inputs = replace(QUESTION, optimize="latency")
    assert rank(inputs, [more, quicker]) == [quicker, more]
