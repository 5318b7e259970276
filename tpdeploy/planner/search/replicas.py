"""Replicas: the fewest replicas of a split that carry the load."""

from math import floor

from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.search.evaluation import Candidate, Prepared, Refusal, evaluate
from tpdeploy.planner.serving.simulation import KEEPS_UP

# Near what replicas serve at most, one for so many of them is added, then twice as many as before.
FINE = 16


def with_fewest_replicas(
    inputs: PlanInputs, shape: Prepared, guess: int, most: int
) -> Candidate | Refusal:
    """The split of `shape` with the fewest replicas that meet the load, else with `most` of them.

    More replicas never have more load each. From the `guess` on more are tried while the load is
    not met; once it is, what lies between is halved.
    """
    found = _evaluate(inputs, shape, most)
    if isinstance(found, Refusal) or found.missed:
        return found
    failing, enough, tried, step = 0, most, min(guess, most - 1), 0
    while enough - failing > 1:
        fewer = _evaluate(inputs, shape, tried)
        if isinstance(fewer, Candidate) and not fewer.missed:
            found, enough, tried = fewer, tried, (failing + tried) // 2
            continue
        overloaded = _overloaded(inputs, fewer)
        if overloaded == tried:
            step = 2 * step or max(1, tried // FINE)
        failing = max(tried, overloaded)
        more = failing + (step or 1) if overloaded else 2 * tried
        tried = min(more if enough == most else enough, (failing + enough) // 2)
    return found


def _overloaded(inputs: PlanInputs, tried: Candidate | Refusal) -> int:
    """The most replicas for which the queue grows, at least those tried; 0 if it does not."""
    if isinstance(tried, Refusal) or not tried.served.full_per_s:
        return 0
    most = floor((inputs.workload.rate or 0.0) / (KEEPS_UP * tried.served.full_per_s))
    return max(tried.replicas, most)


def _evaluate(inputs: PlanInputs, shape: Prepared, replicas: int) -> Candidate | Refusal:
    split = shape.parallelism.with_replicas(replicas)
    return evaluate(inputs, split, shape.replica.model)
