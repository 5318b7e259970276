"""Steady state: a closed-form estimate of a split, used to choose what to simulate."""

from dataclasses import dataclass
from math import ceil

from tpdeploy.planner.inputs import PlanInputs, share_of_load
from tpdeploy.planner.search.evaluation import Prepared
from tpdeploy.planner.serving.simulation import rough_capacity, round_seconds

# Requests in flight and latency depend on each other at a given rate; this settles them.
ROUNDS = 4


@dataclass(frozen=True)
class SteadyState:
    """A rough estimate that is good enough to identify splits that are far behind."""

    tokens_per_s: float  # of all replicas
    latency_s: float  # of one request, from arrival to its last token


def steady_state(inputs: PlanInputs, prepared: Prepared) -> SteadyState:
    """Every replica decodes its share of the load, and prefills one prompt for each that ends."""
    workload, replica = inputs.workload, prepared.replica
    replicas = prepared.parallelism.replicas
    share, most = share_of_load(workload, replicas), replica.running_limit(workload)
    if share.concurrency is not None:
        running = float(min(share.concurrency, most))
        seconds = round_seconds(replica, workload, running)
        busy = min(replicas, workload.concurrency or 1)
        return SteadyState(
            tokens_per_s=busy * running * workload.output_tokens / seconds,
            latency_s=seconds * share.concurrency / running,
        )
    rate, running = share.rate or 0.0, 1.0
    for _ in range(ROUNDS):
        seconds = round_seconds(replica, workload, running)
        running = min(max(1.0, rate * seconds), most)
    served = min(rate, running / seconds)
    waiting = rate / served
    return SteadyState(
        tokens_per_s=replicas * served * workload.output_tokens,
        latency_s=seconds * waiting,
    )


def least_replicas(inputs: PlanInputs, prepared: Prepared) -> int:
    """Replicas without which a rate is above what full replicas serve; one for a closed loop."""
    rate = inputs.workload.rate
    if rate is None:
        return 1
    return ceil(rate / rough_capacity(prepared.replica, inputs.workload))
