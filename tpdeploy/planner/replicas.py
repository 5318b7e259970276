"""Replicas: how few of a split carry the load."""

from math import ceil

from tpdeploy.planner.candidate import Candidate, Refusal, evaluate
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.question import Question


def with_fewest_replicas(
    question: Question, split: Parallelism, least: int, most: int
) -> Candidate | Refusal:
    """`split` with the fewest of `least` to `most` replicas that meet the load, else with `most`.

    More replicas never have more load each. From `least` on, which need not be enough, the count
    is doubled until the load is met; what lies between is halved.
    """
    failing, tried = least - 1, least
    found = _evaluate(question, split, tried)
    while not isinstance(found, Refusal) and found.missed and tried < most:
        failing, tried = tried, min(most, max(tried + 1, ceil(_wanted(question, found))))
        found = _evaluate(question, split, tried)
    while not isinstance(found, Refusal) and not found.missed and tried - failing > 1:
        middle = (failing + tried) // 2
        fewer = _evaluate(question, split, middle)
        if isinstance(fewer, Refusal) or fewer.missed:
            failing = middle
        else:
            found, tried = fewer, middle
    return found


def _wanted(question: Question, candidate: Candidate) -> float:
    """Replicas to try next: what the rate asks for where the queue grows, else twice as many."""
    rate, full = question.workload.rate, candidate.served.full_per_s
    return rate / full if rate and full else 2 * candidate.replicas


def _evaluate(question: Question, split: Parallelism, replicas: int) -> Candidate | Refusal:
    return evaluate(question, split.model_copy(update={"replicas": replicas}))
