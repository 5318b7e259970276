"""Highest rate: the most requests/s that a split serves with every target met.

Waits grow with the rate until a target breaks. DistServe (Zhong et al. 2024, section 2) calls the
rate at which it does goodput.
"""

from dataclasses import replace
from math import floor, log10, sqrt

from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.search.evaluation import Candidate, Prepared, simulate
from tpdeploy.planner.serving.simulation import saturated

# At this share of what a full split serves, requests hardly wait for each other.
LEAST_SHARE = 0.02
# The highest rate is known to within this: half of what makes a tie.
PRECISION = 0.03


def at_highest_rate(inputs: PlanInputs, prepared: Prepared) -> Candidate:
    """The split at the highest rate that it keeps up with and that meets every target.

    Where no rate does, at one so low that its latencies are those of requests alone.
    """
    full = saturated(prepared.replica, inputs.workload).requests_per_s
    highest = full * prepared.parallelism.replicas
    lowest = LEAST_SHARE * highest
    found = at_rate(inputs, prepared, lowest)
    while not found.missed and highest > (1 + PRECISION) * lowest:
        between = sqrt(lowest * highest)
        tried = at_rate(inputs, prepared, between)
        if tried.missed:
            highest = between
        else:
            lowest, found = between, tried
    return found


def at_rate(inputs: PlanInputs, prepared: Prepared, rate: float) -> Candidate:
    """The split under `rate` requests/s, of which three digits count."""
    load = inputs.workload.at_rate(three_digits(rate))
    roughly = replace(inputs.protocol, settled=PRECISION)
    return simulate(replace(inputs, workload=load, protocol=roughly), prepared)


def three_digits(rate: float) -> float:
    """A rate as people state it."""
    return round(rate, 2 - floor(log10(rate)))
