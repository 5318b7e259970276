"""Squeeze: if nothing fits, smaller engine limits are tried before the request is refused.

Fewer sequences need fewer logits and graphs, eager mode needs no graphs, a higher fraction leaves
others less, smaller steps have smaller activations. What the user stated is never changed.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, product
from typing import Any

from tpdeploy.errors import InputError
from tpdeploy.planner.inputs import PlanInputs, share_of_load
from tpdeploy.planner.memory.sizing import DoesNotFit, Sized, size, step_size
from tpdeploy.planner.model.stages import split_problem
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.search.evaluation import engine_problem
from tpdeploy.planner.search.layouts import splits
from tpdeploy.planner.search.ranking import TIE, objective
from tpdeploy.planner.search.search import Outcome, Solved
from tpdeploy.planner.search.token_budget import SMALLER

# Above the usual fractions; what is left is for the driver and what else runs there.
FRACTIONS = (0.95, 0.97)
SMALLER_STEPS = (*SMALLER, 512)

Change = dict[str, Any]


def solve_tightly(inputs: PlanInputs, solve: Callable[[PlanInputs], Solved]) -> Solved:
    """The result of `solve`; if nothing fits, the result after the mildest change that fits.

    Where only pipeline stages fit, which then hold a part of the load, so is what makes a width
    fit, if it is better.

    Raises:
        InputError: as `solve` does.
    """
    asked, outcome = solve(inputs)
    if outcome.ranked and not _starved(inputs, outcome):
        return asked, outcome
    tight = squeeze(replace(inputs, pipeline=1) if outcome.ranked else inputs)
    if tight is None:
        return asked, outcome
    squeezed = replace(tight, pipeline=inputs.pipeline)
    answered, found = solve(squeezed)
    if outcome.ranked and not _better(inputs, found, outcome):
        return asked, outcome
    remark = _remark(inputs, squeezed, "TP alone fits" if outcome.ranked else "Fits")
    return answered, replace(found, remarks=(remark, *found.remarks))


def _starved(inputs: PlanInputs, outcome: Outcome) -> bool:
    """Whether stages were chosen for want of memory, in which most of the load has to wait."""
    best = outcome.ranked[0]
    open_ = inputs.pipeline is None and best.parallelism.pipelined
    return open_ and best.served.waits_longest


def _better(inputs: PlanInputs, found: Outcome, before: Outcome) -> bool:
    """Whether a plan is better than the previous one, if any, by more than a tie."""
    if found.best is None or before.best is None:
        return found.best is not None
    return objective(inputs, found.best) > (1 + TIE) * objective(inputs, before.best)


def squeeze(inputs: PlanInputs) -> PlanInputs | None:
    """`inputs` with the mildest change that makes it fit; None if none does.

    One lever alone before two together, in the order of `_levers`.
    """
    levers = _levers(inputs)
    strongest = {name: value for lever in levers for name, value in lever[-1].items()}
    if not levers or not fits(replace(inputs, **strongest)):
        return None
    changed = (replace(inputs, **change) for change in _changes(levers))
    return next(filter(fits, changed))


def fits(inputs: PlanInputs) -> bool:
    """Whether the memory is enough for any split that the question allows."""
    return any(True for _ in fitting(inputs))


def fitting(inputs: PlanInputs) -> Iterator[tuple[Parallelism, Sized]]:
    """Every split that can run and fits, and what it leaves room for."""
    try:
        wanted = splits(inputs)
    except InputError:
        return
    for split in wanted:
        if engine_problem(inputs, split) or split_problem(inputs.shape, split):
            continue
        try:
            yield split, size(inputs, split)
        except DoesNotFit:
            continue


def in_options(change: Change) -> str:
    """A change as its options are typed."""
    words = []
    for name, value in change.items():
        option = f"--{name.replace('_', '-')}"
        words.append(option if value is True else f"{option} {value:g}")
    return " ".join(words)


def _levers(inputs: PlanInputs) -> list[list[Change]]:
    """The changes that are tried, each from mild to strong."""
    step = step_size(inputs, Parallelism(tensor=1))
    found: list[list[Change]] = []
    if inputs.max_num_seqs is None:
        found.append([{"max_num_seqs": n} for n in _fewer(step.sequences, _needed(inputs))])
    if inputs.engine.eager and not inputs.enforce_eager and not inputs.on_cpu:
        found.append([{"enforce_eager": True}])
    if inputs.memory_fraction is None and not inputs.on_cpu:
        usual = inputs.memory_share
        found.append([{"memory_fraction": f} for f in FRACTIONS if f > usual])
    if inputs.max_num_batched_tokens is None:
        smaller = [n for n in SMALLER_STEPS if step.sequences <= n < step.batched_tokens]
        found.append([{"max_num_batched_tokens": n} for n in smaller])
    return [lever for lever in found if lever]


def _changes(levers: list[list[Change]]) -> Iterator[Change]:
    for together in range(1, len(levers) + 1):
        for chosen in combinations(levers, together):
            for parts in product(*chosen):
                yield {name: value for part in parts for name, value in part.items()}


def _needed(inputs: PlanInputs) -> int:
    """Sequences of the busiest replica, with as many replicas as there can be."""
    try:
        most = max(split.replicas for split in splits(inputs))
    except InputError:
        most = 1
    return share_of_load(inputs.workload, most).concurrency or 1


def _fewer(usual: int, needed: int) -> Iterator[int]:
    """Half of the usual, and half of that, as long as the load does not need more."""
    fewer = usual // 2
    while fewer >= needed:
        yield fewer
        fewer //= 2


def _remark(asked: PlanInputs, squeezed: PlanInputs, what: str) -> str:
    before, after = dict(asked.request), dict(squeezed.request)
    change = {name: after[name] for name in after if after[name] != before[name]}
    return f"{what} only with {in_options(change)}: chosen here, since it was left open."
