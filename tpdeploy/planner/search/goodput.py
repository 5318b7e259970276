"""Goodput: the split whose highest rate within the targets is the highest."""

from dataclasses import replace

from tpdeploy.bounds import MOST_RATE
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.search.evaluation import Candidate, evaluate
from tpdeploy.planner.search.highest_rate import PRECISION, three_digits
from tpdeploy.planner.search.search import Solved
from tpdeploy.planner.search.token_budget import search_steps


def search_goodput(inputs: PlanInputs) -> Solved:
    """The search, and the question with the rate that its best split serves; its load is ignored.

    Raises:
        InputError: as `search` does.
    """
    asked, outcome = search_steps(replace(inputs, workload=inputs.workload.at_rate(MOST_RATE)))
    if not outcome.ranked:
        return asked, outcome
    first = outcome.ranked[0]
    rate = three_digits(first.prediction.requests_per_s.value)
    answered = replace(asked, workload=asked.workload.at_rate(rate))
    if first.missed:
        return answered, outcome
    return answered, replace(outcome, remarks=(_broken(answered, first), *outcome.remarks))


def _broken(inputs: PlanInputs, best: Candidate) -> str:
    """What breaks above the highest rate, in words."""
    rate, load = inputs.workload.rate or 0.0, inputs.workload
    words = f"{rate:g} requests/s is the highest rate within the targets"
    more = load.at_rate(three_digits(rate * (1 + 2 * PRECISION)))
    tried = evaluate(replace(inputs, workload=more), best.parallelism, best.replica.model)
    missed = tried.missed if isinstance(tried, Candidate) else ()
    return f"{words}: at {more.rate:g}, {'; '.join(missed)}." if missed else f"{words}."
