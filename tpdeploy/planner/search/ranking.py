"""Ranking: which of two splits is better for the objective."""

from collections.abc import Sequence

from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.search.evaluation import LEAST_DEVICES, Candidate, Prepared
from tpdeploy.planner.search.steady_state import SteadyState

# Median error of a comparison, |predicted ratio / measured ratio - 1| of the tokens/s of two widths
# of the same GPUs under the same load: 6 % of 962 pairs behind a server, 5 % of 303 offline
# (benchmarks/choice.py on benchmarks/published). Splits that are closer are a tie.
TIE = 0.06


def score(inputs: PlanInputs, prepared: Prepared, steady: SteadyState) -> float:
    """The objective in steady state; more is better."""
    match inputs.optimize:
        case "throughput" | "goodput":
            return steady.tokens_per_s
        case "cost" | "fewest" | "daily":
            return steady.tokens_per_s / prepared.parallelism.devices
        case "latency":
            return 1 / steady.latency_s


def rank(inputs: PlanInputs, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates best first: targets met, then the objective, then the simplest of a tie.

    Simple is: neither pipeline stages nor layers that wait for a network, no data-parallel
    attention, no expert parallelism, no device idle; then the quicker answer comes first, and then
    the narrower group. Where none meets the targets, those that come closest are first.
    """
    meeting = [c for c in candidates if not c.missed]
    best = max((objective(inputs, c) for c in meeting or candidates), default=0.0)
    most_used = max((c.parallelism.devices for c in candidates), default=0)

    def key(candidate: Candidate) -> tuple[bool | float, ...]:
        far = 0.0 if meeting else shortfall(inputs, candidate)
        lost = max(0.0, 1 - TIE - objective(inputs, candidate) / best)
        split = candidate.parallelism
        idle = inputs.optimize not in LEAST_DEVICES and split.devices < most_used
        far_apart = inputs.cluster.on_network(split.stage_ranks)
        simple = far_apart or split.pipelined, split.data_parallel, split.expert_parallel, idle
        return (
            bool(candidate.missed),
            far,
            lost,
            *simple,
            end_to_end_s(inputs, candidate),
            split.tensor,
        )

    return sorted(candidates, key=key)


def ties(inputs: PlanInputs, ranked: Sequence[Candidate]) -> list[Candidate]:
    """Candidates equal to the first within the error of a comparison, best first."""
    if not ranked or ranked[0].missed:
        return []
    least = (1 - TIE) * max(objective(inputs, c) for c in ranked if not c.missed)
    return [c for c in ranked[1:] if not c.missed and objective(inputs, c) >= least]


def objective(inputs: PlanInputs, candidate: Candidate) -> float:
    """The value of the objective; more is better."""
    match inputs.optimize:
        case "throughput" | "goodput":
            return candidate.tokens_per_s
        case "cost" | "fewest" | "daily":
            return candidate.tokens_per_s_per_device
        case "latency":
            return 1 / end_to_end_s(inputs, candidate)


def shortfall(inputs: PlanInputs, candidate: Candidate) -> float:
    """How many times the target that it misses most it takes, or the rate what it serves."""
    load, told = inputs.workload, candidate.prediction
    parts = [
        estimate.value / target.ms
        for target, estimate in ((load.ttft, told.ttft_ms), (load.tpot, told.tpot_ms))
        if target
    ]
    if load.rate and inputs.optimize != "goodput":
        parts.append(load.rate / told.requests_per_s.value)
    return max(parts, default=1.0)


def end_to_end_s(inputs: PlanInputs, candidate: Candidate) -> float:
    """Predicted TTFT plus TPOT for every further token, in seconds."""
    gaps, prediction = inputs.workload.output_tokens - 1, candidate.prediction
    return (prediction.ttft_ms.value + gaps * prediction.tpot_ms.value) / 1e3
