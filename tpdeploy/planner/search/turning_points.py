"""Turning points: the loads at which another split of the same devices is chosen."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.performance.step_model import StepModel
from tpdeploy.planner.search.evaluation import Candidate, Refusal, evaluate
from tpdeploy.planner.search.ranking import TIE, rank, ties
from tpdeploy.planner.workload import Workload

# Requests in flight that are looked at, up to a few times the load that was asked about.
CLIENTS = (1, 4, 16, 64, 256, 1024)
BEYOND = 8
# The same for a rate, as shares of the one that was asked about.
SHARES_OF_RATE = (0.25, 0.5, 2.0)
# An open loop's medians need only be known well enough to tell splits apart that are no tie.
SETTLED = TIE / 2
# The best split of so many widths, and of data-parallel attention at any.
CONTENDERS = 3


def turning_points(inputs: PlanInputs, ranked: Sequence[Candidate]) -> tuple[str, ...]:
    """Which split is chosen up to which load, in words; none where only one can be.

    A split is looked at with the replicas that it has in `ranked`.
    """
    contenders = best_of_each_width(ranked)[:CONTENDERS]
    if inputs.optimize in {"cost", "goodput", "fewest", "daily"} or len(contenders) < 2:
        return ()
    chosen = _over_loads(inputs, contenders)
    spans = [list(span) for _, span in groupby(chosen, key=lambda pair: pair[1])]
    if len(spans) == 1:
        (_, first), *_ = spans[0]
        return (f"{first} from {spans[0][0][0].arriving} to {spans[0][-1][0].arriving}.",)
    parts = [f"up to {spans[0][-1][0].arriving} {spans[0][0][1]}"]
    parts += [f"from {span[0][0].arriving} {span[0][1]}" for span in spans[1:]]
    words = ", ".join(parts)
    return (words[0].upper() + words[1:] + ".",)


def best_of_each_width(ranked: Sequence[Candidate]) -> list[Candidate]:
    """The best split of each width, the best widths first."""
    best: dict[int, Candidate] = {}
    for candidate in ranked:
        kind = 0 if candidate.parallelism.data_parallel else candidate.tensor
        best.setdefault(kind, candidate)
    return list(best.values())


def _loads(workload: Workload) -> list[Workload]:
    """Loads around the requested one, the lightest first."""
    if workload.rate is not None:
        rates = sorted({workload.rate, *(share * workload.rate for share in SHARES_OF_RATE)})
        return [workload.at_rate(rate) for rate in rates]
    asked = workload.concurrency or 1
    clients = sorted({asked, *(c for c in CLIENTS if c <= BEYOND * asked)})
    return [workload.at_concurrency(each) for each in clients]


def _over_loads(inputs: PlanInputs, contenders: Sequence[Candidate]) -> list[tuple[Workload, str]]:
    """Each load and the split that is chosen under it: from the requested load to either side."""
    loads = _loads(inputs.workload)
    at = loads.index(inputs.workload)
    best = chosen(contenders, inputs)
    lighter = _onwards(inputs, contenders, loads[:at][::-1], best)
    heavier = _onwards(inputs, contenders, loads[at + 1 :], best)
    return [*lighter[::-1], (inputs.workload, best), *heavier]


def _onwards(
    inputs: PlanInputs, contenders: Sequence[Candidate], loads: Sequence[Workload], best: str
) -> list[tuple[Workload, str]]:
    """The split of each of `loads`; the one before, at first `best`, while it is as good."""
    found = []
    for load in loads:
        asked = replace(inputs, workload=load)
        answers = [roughly(asked, c.parallelism, c.replica.model) for c in contenders]
        best = chosen(answers, asked, best)
        found.append((load, best))
    return found


def roughly(
    inputs: PlanInputs, parallelism: Parallelism, model: StepModel | None = None
) -> Candidate | Refusal:
    """One split, with figures that tell splits apart that are no tie."""
    protocol = replace(inputs.protocol, settled=SETTLED)
    return evaluate(replace(inputs, protocol=protocol), parallelism, model)


def chosen(answers: Sequence[Candidate | Refusal], inputs: PlanInputs, before: str = "") -> str:
    """The best of `answers`, in words, or `before` if it is as good within the error."""
    ranked = rank(inputs, [a for a in answers if isinstance(a, Candidate)])
    if not ranked or ranked[0].missed:
        return "none of these"
    names = [f"{c.parallelism.words} x {c.replicas}" for c in (ranked[0], *ties(inputs, ranked))]
    return before if before in names else names[0]
