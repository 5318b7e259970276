"""Ranking: which of two splits is better for what the question asks."""

from collections.abc import Sequence

from tpdeploy.planner.candidate import Candidate, Prepared
from tpdeploy.planner.question import Question
from tpdeploy.planner.steady_state import SteadyState

# Predictions closer than this are a tie, decided by latency and then by the simpler split.
TIE = 0.02


def score(question: Question, prepared: Prepared, steady: SteadyState) -> float:
    """The objective in steady state, more is better."""
    match question.optimize:
        case "throughput":
            return steady.tokens_per_s
        case "cost" | "fewest":
            return steady.tokens_per_s / prepared.parallelism.devices
        case "latency":
            return 1 / steady.latency_s


def rank(question: Question, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates best first: targets met, then the objective, ties by latency, then simplicity.

    Where none meets the targets, those that come closest are first.
    """
    meeting = [c for c in candidates if not c.missed]
    best = max((objective(question, c) for c in meeting or candidates), default=0.0)

    def key(candidate: Candidate) -> tuple[bool, float, float, float, int, int, int]:
        far = 0.0 if meeting else shortfall(question, candidate)
        lost = max(0.0, 1 - TIE - objective(question, candidate) / best)
        split = candidate.parallelism
        latency = end_to_end_ms(question, candidate)
        ties = split.pipeline, split.expert, split.tensor
        return bool(candidate.missed), far, lost, latency, *ties

    return sorted(candidates, key=key)


def objective(question: Question, candidate: Candidate) -> float:
    """What the question asks for the most of; latency alone decides where it is asked for."""
    match question.optimize:
        case "throughput":
            return candidate.tokens_per_s
        case "cost" | "fewest":
            return candidate.tokens_per_s_per_device
        case "latency":
            return 1.0


def shortfall(question: Question, candidate: Candidate) -> float:
    """How many times the target that it misses most it takes, or the rate what it serves."""
    load, told = question.workload, candidate.prediction
    parts = [
        estimate.value / target.ms
        for target, estimate in ((load.ttft, told.ttft_ms), (load.tpot, told.tpot_ms))
        if target
    ]
    if load.rate:
        parts.append(load.rate / told.requests_per_s.value)
    return max(parts, default=1.0)


def end_to_end_ms(question: Question, candidate: Candidate) -> float:
    """Predicted TTFT plus TPOT for every further token, in ms."""
    gaps = question.workload.output_tokens - 1
    return candidate.prediction.ttft_ms.value + gaps * candidate.prediction.tpot_ms.value
