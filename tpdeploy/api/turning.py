"""The loads at which another of several plans would serve more."""

from collections.abc import Sequence
from itertools import groupby

from tpdeploy.backends.inputs import inputs_of
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.ranking import TIE
from tpdeploy.planner.search.replay import predict_plan
from tpdeploy.planner.search.turning_points import BEYOND, CLIENTS


def turns(plans: Sequence[tuple[str, DeploymentPlan]]) -> str:
    """Which of the named plans has the most tokens/s up to how many requests in flight, in words.

    Each keeps its split under every load. Empty if there is one plan, or a rate: what keeps up
    with a rate serves as much as any other.
    """
    asked = plans[0][1].workload.concurrency if plans else None
    if len(plans) < 2 or asked is None:
        return ""
    clients = sorted({asked, *(c for c in CLIENTS if c <= BEYOND * asked)})
    served = [_served(plan, clients) for _, plan in plans]
    names = [name for name, _ in plans]
    told = [_told(names, each) for each in zip(*served, strict=True)]
    spans = [list(span) for _, span in groupby(zip(clients, told, strict=True), key=_of_load)]
    if len(spans) == 1:
        return f"From {clients[0]:,} to {clients[-1]:,} requests in flight {told[0]}."
    parts = [f"Up to {spans[0][-1][0]:,} requests in flight {spans[0][0][1]}"]
    parts += [f"from {span[0][0]:,} {span[0][1]}" for span in spans[1:]]
    return f"{', '.join(parts)}."


def _of_load(load: tuple[int, str]) -> str:
    return load[1]


def _told(names: Sequence[str], tokens_per_s: Sequence[float]) -> str:
    """Which serves most under one load, if it is more than the error of a comparison."""
    (most, name), (next_most, _), *_ = sorted(zip(tokens_per_s, names, strict=True), reverse=True)
    return f"{name} serves most" if most > (1 + TIE) * next_most else "the first ones are alike"


def _served(plan: DeploymentPlan, clients: Sequence[int]) -> list[float]:
    """Tokens/s with so many requests in flight."""
    loads = [plan.workload.at_concurrency(each) for each in clients]
    predictions = predict_plan(inputs_of(plan), plan, loads)
    return [each.output_tokens_per_s.value for each in predictions]
