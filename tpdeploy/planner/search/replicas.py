"""Replicas: how few of a split carry the load."""

from math import ceil

from tpdeploy.planner.question import Question
from tpdeploy.planner.search.evaluation import Candidate, Prepared, Refusal, evaluate


def with_fewest_replicas(
    question: Question, shape: Prepared, guess: int, most: int
) -> Candidate | Refusal:
    """The split of `shape` with the fewest replicas that meet the load, else with `most` of them.

    More replicas never have more load each. From the `guess` on the count is doubled while the load
    is not met; what lies between is halved.
    """
    found = _evaluate(question, shape, most)
    if isinstance(found, Refusal) or found.missed:
        return found
    failing, enough, tried = 0, most, min(guess, most - 1)
    while enough - failing > 1:
        fewer = _evaluate(question, shape, tried)
        if isinstance(fewer, Refusal):
            failing, tried = tried, (tried + enough) // 2
        elif fewer.missed:
            failing, tried = tried, min(enough - 1, max(tried + 1, ceil(_wanted(question, fewer))))
        else:
            found, enough, tried = fewer, tried, (failing + tried) // 2
    return found


def _wanted(question: Question, candidate: Candidate) -> float:
    """Replicas to try next: what the rate asks for where the queue grows, else twice as many."""
    rate, full = question.workload.rate, candidate.served.full_per_s
    return rate / full if rate and full else 2 * candidate.replicas


def _evaluate(question: Question, shape: Prepared, replicas: int) -> Candidate | Refusal:
    split = shape.parallelism.with_replicas(replicas)
    return evaluate(question, split, shape.replica.model)
