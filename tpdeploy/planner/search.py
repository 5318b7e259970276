"""Search: every split of the devices, sized, predicted and ranked; the best becomes the plan."""

from dataclasses import dataclass

from tpdeploy.errors import InfeasibleError, InputError
from tpdeploy.planner.candidate import Candidate, Refusal, evaluate
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.placement import device_groups, place
from tpdeploy.planner.plan import (
    Alternative,
    DeploymentPlan,
    PlannedCluster,
    PlannedModel,
)
from tpdeploy.planner.question import Question
from tpdeploy.planner.reasons import reason_for_loser, reasons_for
from tpdeploy.planner.sharding import legal_widths, parameter_count

# Predictions closer than this are a tie, decided by latency and then by fewer ranks.
TIE = 0.02


@dataclass(frozen=True)
class Outcome:
    """All splits, best first, and those that cannot run."""

    ranked: tuple[Candidate, ...]
    refused: tuple[Refusal, ...]

    @property
    def best(self) -> Candidate | None:
        """The best split that meets every target, if any."""
        return next((c for c in self.ranked if not c.missed), None)


def search(question: Question) -> Outcome:
    """Evaluate and rank every split the user's choices allow.

    Raises:
        InputError: a width, replica count or context that cannot be had here.
    """
    _check_context(question)
    evaluated = [evaluate(question, tensor, replicas) for tensor, replicas in splits(question)]
    candidates = [c for c in evaluated if isinstance(c, Candidate)]
    refused = tuple(c for c in evaluated if isinstance(c, Refusal))
    if question.tensor and refused and not candidates:
        _refuse_width(question, refused[0])
    return Outcome(tuple(rank(question, candidates)), refused)


def splits(question: Question) -> list[tuple[int, int]]:
    """Every (tensor, replicas) to consider: as many replicas as fit, unless the user says."""
    cluster = question.cluster
    per_node = cluster.count // cluster.nodes
    widths = [question.tensor] if question.tensor else range(1, per_node + 1)
    found = []
    for tensor in widths:
        most = len(device_groups(cluster, tensor))
        replicas = question.replicas or most
        if 0 < replicas <= most:
            found.append((tensor, replicas))
    if not found:
        _refuse_count(question)
    return found


def rank(question: Question, candidates: list[Candidate]) -> list[Candidate]:
    """Candidates best first: targets met, then the objective, ties by latency and width."""
    best = max((c.prediction.output_tokens_per_s.value for c in candidates), default=0.0)

    def key(candidate: Candidate) -> tuple[bool, float, float, int]:
        latency = end_to_end_ms(question, candidate)
        throughput = candidate.prediction.output_tokens_per_s.value
        lost = max(0.0, 1 - TIE - throughput / best) if question.optimize == "throughput" else 0.0
        return bool(candidate.missed), lost, latency, candidate.tensor

    return sorted(candidates, key=key)


def end_to_end_ms(question: Question, candidate: Candidate) -> float:
    """Predicted TTFT plus TPOT for every further token, in ms."""
    gaps = question.workload.output_tokens - 1
    return candidate.prediction.ttft_ms.value + gaps * candidate.prediction.tpot_ms.value


def plan(question: Question, outcome: Outcome) -> DeploymentPlan:
    """The plan for the best split.

    Raises:
        InfeasibleError: nothing fits, or nothing that fits meets the targets.
    """
    best = outcome.best
    if best is None:
        raise InfeasibleError(_nothing_feasible(question, outcome))
    return DeploymentPlan(
        model=_planned_model(question),
        cluster=_planned_cluster(question),
        workload=question.workload,
        backend=question.engine.name,
        parallelism=Parallelism(tensor=best.tensor, replicas=best.replicas),
        placement=place(question.cluster, best.tensor, best.replicas),
        limits=best.limits,
        memory_per_gpu=best.memory,
        prediction=best.prediction,
        reasons=tuple(reasons_for(question, best, outcome.ranked, outcome.refused)),
        alternatives=alternatives(question, outcome),
    )


def alternatives(question: Question, outcome: Outcome) -> tuple[Alternative, ...]:
    """Every split that was not chosen, with its reason: those that run first, best first."""
    best = outcome.best
    losers = tuple(
        Alternative(
            tensor=c.tensor,
            replicas=c.replicas,
            feasible=not c.missed,
            reason=reason_for_loser(question, c, best),
            ttft_ms=c.prediction.ttft_ms.value,
            tpot_ms=c.prediction.tpot_ms.value,
            output_tokens_per_s=c.prediction.output_tokens_per_s.value,
        )
        for c in outcome.ranked
        if c is not best
    )
    refused = tuple(
        Alternative(tensor=r.tensor, replicas=r.replicas, feasible=False, reason=r.reason)
        for r in outcome.refused
    )
    return losers + refused


def _check_context(question: Question) -> None:
    workload, most = question.workload, question.shape.max_context
    asked = workload.context_tokens
    request = f"--input-tokens {workload.input_tokens} + --output-tokens {workload.output_tokens}"
    if asked > most:
        raise InputError(f"{request} = {asked}: the context of {question.shape.id} is {most}")
    longest = question.max_model_len
    if longest and longest > most:
        raise InputError(f"--max-model-len {longest}: the context of {question.shape.id} is {most}")
    if longest and longest < asked:
        raise InputError(f"--max-model-len {longest}: too short for {request} = {asked}")


def _planned_model(question: Question) -> PlannedModel:
    shape = question.shape
    return PlannedModel(
        id=shape.id,
        path=shape.path,
        architecture=shape.architecture,
        parameters=parameter_count(shape),
        vocab=shape.vocab,
        dtype=shape.dtype,
        quantization=question.quantization,
        kv_cache_dtype=question.kv_cache_dtype,
    )


def _planned_cluster(question: Question) -> PlannedCluster:
    cluster = question.cluster
    return PlannedCluster(
        gpu=cluster.accelerator.name,
        platform=cluster.accelerator.platform,
        count=cluster.count,
        nodes=cluster.nodes,
        fabric=cluster.fabric.name,
        island=cluster.island,
        memory_bytes=cluster.accelerator.peaks.memory_bytes,
        assumptions=cluster.assumptions,
    )


def _refuse_width(question: Question, refusal: Refusal) -> None:
    if refusal.reason.startswith("does not fit"):
        return
    legal = legal_widths(question.shape, question.cluster.count // question.cluster.nodes)
    legal = tuple(w for w in legal if w not in question.engine.refused_widths)
    raise InputError(
        f"--tp {refusal.tensor}: {refusal.reason}; legal widths for {question.shape.id} here: "
        f"{', '.join(map(str, legal))}"
    )


def _refuse_count(question: Question) -> None:
    per_node = question.cluster.count // question.cluster.nodes
    asked = [
        f"{name} {value}"
        for name, value in (("--tp", question.tensor), ("--replicas", question.replicas))
        if value
    ]
    tensor = question.tensor or 1
    most = len(device_groups(question.cluster, tensor))
    fits = f"--replicas up to {most} with --tp {tensor}" if most else f"--tp up to {per_node}"
    raise InputError(
        f"{' '.join(asked)}: {question.cluster.count} devices "
        f"({per_node} a node) are too few; what works: {fits}"
    )


def _nothing_feasible(question: Question, outcome: Outcome) -> str:
    if outcome.ranked:
        closest = outcome.ranked[0]
        return (
            f"no split meets the targets; closest is TP {closest.tensor} x {closest.replicas} "
            f"({'; '.join(closest.missed)}); relax the target, lower the load or add GPUs"
        )
    cluster, widest = question.cluster, max(outcome.refused, key=lambda r: r.tensor)
    fits = [r for r in outcome.refused if r.reason.startswith("does not fit")]
    tightest = max(fits, key=lambda r: r.tensor) if fits else widest
    return (
        f"{question.shape.id} does not run on {cluster.count}x{cluster.accelerator.name}: "
        f"at TP {tightest.tensor} it {tightest.reason}; more or larger GPUs, --quantization fp8 "
        "or a smaller --max-model-len would help"
    )
