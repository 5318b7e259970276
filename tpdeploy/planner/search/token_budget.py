"""Tokens per step: if a target is missed with the usual step size, smaller ones are tried.

A step that reads many prompts at once holds up all that is decoded and all prompts in it; one that
reads fewer lets the first answers begin earlier, and costs throughput.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import inf

from tpdeploy.numbers import MOST_MORE, change
from tpdeploy.planner.question import Question
from tpdeploy.planner.search.fleet import fewest_devices
from tpdeploy.planner.search.ranking import TIE, objective, shortfall
from tpdeploy.planner.search.search import Outcome, Solved, search

SMALLER = (4096, 2048, 1024)


def search_steps(question: Question) -> Solved:
    """The search, with smaller steps if they meet the targets and improve the objective.

    The largest steps of those that do as well; where none meets the targets, those that come
    closest.

    Raises:
        InputError: as `search` does.
    """
    usual = search(question)
    tried = [(question, usual)]
    if _held_back(question, usual):
        tried += [(asked, search(asked)) for asked in _smaller(question, usual)]
    good = [solved for solved in tried if solved[1].best]
    if not good:
        return min(tried, key=_shortfall)
    most = max(_worth(solved) for solved in good)
    asked, found = next(solved for solved in good if _worth(solved) >= (1 - TIE) * most)
    if asked is question:
        return asked, found
    gain = _worth((asked, found)) / _worth(tried[0]) - 1 if usual.best else 0.0
    more = f"{gain:.0%} more" if gain <= MOST_MORE else f"{change(gain)} as much"
    why = f"a split with {more} misses the targets" if gain else "no split meets them"
    return asked, _explained(asked, found, usual, f"more prompts are read at once, and {why}")


def fewest_with_steps(question: Question) -> Solved:
    """The fewest devices for the load, with the largest of the steps that need no more.

    Raises:
        InputError: as `fewest_devices` does.
    """
    usual = best = fewest_devices(question)
    targets = question.workload.ttft or question.workload.tpot
    for asked in _smaller(question, usual.outcome) if targets else ():
        devices = best.outcome.best.parallelism.devices if best.outcome.best else None
        if devices == 1:
            break
        found = fewest_devices(asked, below=devices)
        if found.order[:3] < best.order[:3]:
            best = found
    if best is usual or not best.outcome.best:
        return best.question, best.outcome
    before = usual.outcome.best
    needed = f"{before.parallelism.devices} {question.device}s are needed" if before else ""
    why = needed or "no number of them meets the targets"
    return best.question, _explained(best.question, best.outcome, usual.outcome, why)


def _held_back(question: Question, usual: Outcome) -> bool:
    """Whether a target excludes a split with a better objective than the best split."""
    if not (question.workload.ttft or question.workload.tpot) or not usual.ranked:
        return False
    if usual.best is None:
        return True
    least = objective(question, usual.best) * (1 + TIE)
    return any(c.missed and objective(question, c) > least for c in usual.ranked)


def _smaller(question: Question, usual: Outcome) -> Iterator[Question]:
    if question.max_num_batched_tokens or not usual.ranked:
        return
    limits = usual.ranked[0].limits
    for tokens in SMALLER:
        if limits.max_num_seqs <= tokens < limits.max_num_batched_tokens:
            yield replace(question, max_num_batched_tokens=tokens)


def _worth(solved: Solved) -> float:
    """What the question asks for the most of, of the best split; 0 where there is none."""
    question, outcome = solved
    return objective(question, outcome.best) if outcome.best else 0.0


def _shortfall(solved: Solved) -> float:
    question, outcome = solved
    return shortfall(question, outcome.ranked[0]) if outcome.ranked else inf


def _explained(asked: Question, found: Outcome, usual: Outcome, why: str) -> Outcome:
    """The result, with the reason for its step size."""
    remark = (
        f"Steps of at most {asked.max_num_batched_tokens:,} tokens: with the usual "
        f"{usual.ranked[0].limits.max_num_batched_tokens:,}, {why}."
    )
    return replace(found, remarks=(remark, *found.remarks))
