"""Turning points: the loads at which another split of the same devices is chosen."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.performance.step_model import StepModel
from tpdeploy.planner.search.evaluation import Candidate, Refusal, evaluate
from tpdeploy.planner.search.ranking import TIE, rank
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
    chosen = [(load, _chosen(inputs, contenders, load)) for load in _loads(inputs.workload)]
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


def _chosen(inputs: PlanInputs, contenders: Sequence[Candidate], load: Workload) -> str:
    """The split that is chosen under `load`, in words."""
    if load == inputs.workload:
        return _first(rank(inputs, contenders))
    asked = replace(inputs, workload=load)
    return chosen([roughly(asked, c.parallelism, c.replica.model) for c in contenders], asked)


def roughly(
    inputs: PlanInputs, parallelism: Parallelism, model: StepModel | None = None
) -> Candidate | Refusal:
    """One split, with figures that tell splits apart that are no tie."""
    protocol = replace(inputs.protocol, settled=SETTLED)
    return evaluate(replace(inputs, protocol=protocol), parallelism, model)


def chosen(answers: Sequence[Candidate | Refusal], inputs: PlanInputs) -> str:
    """The best of `answers`, in words."""
    return _first(rank(inputs, [a for a in answers if isinstance(a, Candidate)]))


def _first(found: Sequence[Candidate]) -> str:
    if not found or found[0].missed:
        return "none of these"
    return f"{found[0].parallelism.words} x {found[0].replicas}"
