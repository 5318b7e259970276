"""Replicas: how few of a split carry the load."""

from math import ceil

from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.question import Question
from tpdeploy.planner.search.evaluation import Candidate, Refusal, evaluate


def with_fewest_replicas(
    question: Question, split: Parallelism, guess: int, most: int
) -> Candidate | Refusal:
    """`split` with the fewest of up to `most` replicas that meet the load, else with `most`.

    More replicas never have more load each. From the `guess` on the count is doubled while the load
    is not met; what lies between is halved.
    """
    found = _evaluate(question, split, most)
    if isinstance(found, Refusal) or found.missed:
        return found
    failing, enough, tried = 0, most, min(guess, most - 1)
    while enough - failing > 1:
        fewer = _evaluate(question, split, tried)
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


def _evaluate(question: Question, split: Parallelism, replicas: int) -> Candidate | Refusal:
    return evaluate(question, split.model_copy(update={"replicas": replicas}))
