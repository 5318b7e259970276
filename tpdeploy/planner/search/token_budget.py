"""Tokens per step: if a target is missed with the usual step size, smaller ones are tried.

A step that reads many prompts at once holds up all that is decoded and all prompts in it; one that
reads fewer lets the first answers begin earlier, and costs throughput.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import inf

from tpdeploy.numbers import MOST_MORE, change
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.search.fleet import fewest_devices
from tpdeploy.planner.search.ranking import TIE, objective, shortfall
from tpdeploy.planner.search.search import Outcome, Solved, search

SMALLER = (4096, 2048, 1024)


def search_steps(inputs: PlanInputs) -> Solved:
    """The search, with smaller steps if they meet the targets and improve the objective.

    The largest steps of those that do as well; where none meets the targets, those that come
    closest.

    Raises:
        InputError: as `search` does.
    """
    usual = search(inputs)
    tried = [(inputs, usual)]
    if _held_back(inputs, usual):
        tried += [(asked, search(asked)) for asked in _smaller(inputs, usual)]
    good = [solved for solved in tried if solved[1].best]
    if not good:
        return min(tried, key=_shortfall)
    most = max(_worth(solved) for solved in good)
    asked, found = next(solved for solved in good if _worth(solved) >= (1 - TIE) * most)
    if asked is inputs:
        return asked, found
    gain = _worth((asked, found)) / _worth(tried[0]) - 1 if usual.best else 0.0
    more = f"{gain:.0%} more" if gain <= MOST_MORE else f"{change(gain)} as much"
    why = f"a split with {more} misses the targets" if gain else "no split meets them"
    return asked, _explained(asked, found, usual, f"more prompts are read at once, and {why}")


def fewest_with_steps(inputs: PlanInputs) -> Solved:
    """The fewest devices for the load, with the largest of the steps that need no more.

    Raises:
        InputError: as `fewest_devices` does.
    """
    usual = best = fewest_devices(inputs)
    targets = inputs.workload.ttft or inputs.workload.tpot
    for asked in _smaller(inputs, usual.outcome) if targets else ():
        devices = best.outcome.best.parallelism.devices if best.outcome.best else None
        if devices == 1:
            break
        found = fewest_devices(asked, below=devices)
        if found.order[:3] < best.order[:3]:
            best = found
    if best is usual or not best.outcome.best:
        return best.inputs, best.outcome
    before = usual.outcome.best
    needed = f"{before.parallelism.devices} {inputs.device}s are needed" if before else ""
    why = needed or "no number of them meets the targets"
    return best.inputs, _explained(best.inputs, best.outcome, usual.outcome, why)


def _held_back(inputs: PlanInputs, usual: Outcome) -> bool:
    """Whether a target excludes a split with a better objective than the best split."""
    if not (inputs.workload.ttft or inputs.workload.tpot) or not usual.ranked:
        return False
    if usual.best is None:
        return True
    least = objective(inputs, usual.best) * (1 + TIE)
    return any(c.missed and objective(inputs, c) > least for c in usual.ranked)


def _smaller(inputs: PlanInputs, usual: Outcome) -> Iterator[PlanInputs]:
    if inputs.max_num_batched_tokens or not usual.ranked:
        return
    limits = usual.ranked[0].limits
    for tokens in SMALLER:
        if limits.max_num_seqs <= tokens < limits.max_num_batched_tokens:
            yield replace(inputs, max_num_batched_tokens=tokens)


def _worth(solved: Solved) -> float:
    """What the question asks for the most of, of the best split; 0 where there is none."""
    inputs, outcome = solved
    return objective(inputs, outcome.best) if outcome.best else 0.0


def _shortfall(solved: Solved) -> float:
    inputs, outcome = solved
    return shortfall(inputs, outcome.ranked[0]) if outcome.ranked else inf


def _explained(asked: PlanInputs, found: Outcome, usual: Outcome, why: str) -> Outcome:
    """The result, with the reason for its step size."""
    remark = (
        f"Steps of at most {asked.max_num_batched_tokens:,} tokens: with the usual "
        f"{usual.ranked[0].limits.max_num_batched_tokens:,}, {why}."
    )
    return replace(found, remarks=(remark, *found.remarks))
