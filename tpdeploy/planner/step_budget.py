"""Tokens in a step: where the usual steps miss a target or need more devices, smaller are tried.

A step that reads many prompts at once holds up all that is decoded and all prompts in it; one that
reads fewer lets the first answers begin earlier, and costs throughput.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import inf

from tpdeploy.planner.fleet import fewest_devices
from tpdeploy.planner.question import Question
from tpdeploy.planner.ranking import shortfall
from tpdeploy.planner.search import Outcome, Solved, search

SMALLER = (4096, 2048, 1024)


def search_steps(question: Question) -> Solved:
    """The search, with the largest of the smaller steps that meets the targets if need be.

    Where none does, those that come closest.

    Raises:
        InputError: as `search` does.
    """
    usual = search(question)
    tried = [(question, usual)]
    if usual.best:
        return tried[0]
    for asked in _smaller(question, usual):
        found = search(asked)
        if found.best:
            why = "more prompts are read at once, and no split meets the targets"
            return asked, _explained(asked, found, usual, why)
        tried.append((asked, found))
    return min(tried, key=_shortfall)


def fewest_with_steps(question: Question) -> Solved:
    """The fewest devices for the load, with the largest of the steps that need no more.

    Smaller ones are tried for TTFT in a closed loop, whose clients ask together.

    Raises:
        InputError: as `fewest_devices` does.
    """
    usual = fewest_devices(question)
    together = question.workload.concurrency and question.workload.ttft
    tries = _smaller(question, usual.outcome) if together else ()
    best = min((usual, *map(fewest_devices, tries)), key=lambda fleet: fleet.order[:2])
    if best is usual or not best.outcome.best:
        return best.question, best.outcome
    before = usual.outcome.best
    needed = f"{before.parallelism.devices} {question.device}s are needed" if before else ""
    why = needed or "no number of them meets the targets"
    return best.question, _explained(best.question, best.outcome, usual.outcome, why)


def _smaller(question: Question, usual: Outcome) -> Iterator[Question]:
    if question.max_num_batched_tokens or not usual.ranked:
        return
    limits = usual.ranked[0].limits
    for tokens in SMALLER:
        if limits.max_num_seqs <= tokens < limits.max_num_batched_tokens:
            yield replace(question, max_num_batched_tokens=tokens)


def _shortfall(solved: Solved) -> float:
    question, outcome = solved
    return shortfall(question, outcome.ranked[0]) if outcome.ranked else inf


def _explained(asked: Question, found: Outcome, usual: Outcome, why: str) -> Outcome:
    """What was found, with the reason why its steps are not the usual ones."""
    remark = (
        f"Steps of at most {asked.max_num_batched_tokens:,} tokens: with the usual "
        f"{usual.ranked[0].limits.max_num_batched_tokens:,}, {why}."
    )
    return replace(found, remarks=(remark, *found.remarks))
