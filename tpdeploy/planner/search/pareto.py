"""Pareto: the splits that no other beats in both tokens/s per device and TPOT."""

from collections.abc import Sequence
from dataclasses import replace

from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.plan import ParetoPoint
from tpdeploy.planner.search.evaluation import Candidate, Refusal, evaluate

# Requests in flight at which `sweep` looks at every split, beside the load that was asked about.
LOADS = (1, 4, 16, 64, 256)


def frontier(inputs: PlanInputs, candidates: Sequence[Candidate]) -> tuple[ParetoPoint, ...]:
    """The Pareto-optimal `candidates` under the request's load, lowest latency first."""
    return not_beaten([_point(inputs, candidate) for candidate in candidates])


def sweep(inputs: PlanInputs, candidates: Sequence[Candidate]) -> tuple[ParetoPoint, ...]:
    """The Pareto-optimal splits at the request's load and at LOADS."""
    points = [_point(inputs, candidate) for candidate in candidates]
    for clients in LOADS:
        load = inputs.workload.at_concurrency(clients)
        asked = replace(inputs, workload=load)
        for candidate in candidates:
            found = evaluate(asked, candidate.parallelism, candidate.replica.model)
            if not isinstance(found, Refusal):
                points.append(_point(asked, found))
    return not_beaten(points)


def not_beaten(points: Sequence[ParetoPoint]) -> tuple[ParetoPoint, ...]:
    """Those of `points` to which none is better in one measure and as good in the other."""
    kept: list[ParetoPoint] = []
    for point in sorted(points, key=lambda p: (p.tpot_ms, -p.output_tokens_per_s_per_device)):
        most = kept[-1].output_tokens_per_s_per_device if kept else 0.0
        if point.output_tokens_per_s_per_device > most:
            kept.append(point)
    return tuple(kept)


def _point(inputs: PlanInputs, candidate: Candidate) -> ParetoPoint:
    return ParetoPoint(
        parallelism=candidate.parallelism,
        load=inputs.workload.arriving,
        output_tokens_per_s_per_device=candidate.tokens_per_s_per_device,
        tpot_ms=candidate.prediction.tpot_ms.value,
        ttft_ms=candidate.prediction.ttft_ms.value,
        meets_targets=not candidate.missed,
    )
