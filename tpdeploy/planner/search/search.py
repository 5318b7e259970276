"""Search: every split of the devices, sized, predicted and ranked; the best becomes the plan."""

from collections.abc import Mapping
from dataclasses import dataclass

from tpdeploy.errors import InfeasibleError, InputError
from tpdeploy.planner.daily import DailyPlan
from tpdeploy.planner.inputs import PlanInputs, share_of_load
from tpdeploy.planner.model.sharding import legal_widths, parameter_count
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import (
    Alternative,
    DeploymentPlan,
    PlannedCluster,
    PlannedModel,
)
from tpdeploy.planner.search.answer import answer_of, why
from tpdeploy.planner.search.cost import cost_of
from tpdeploy.planner.search.evaluation import (
    LEAST_DEVICES,
    Candidate,
    Prepared,
    Refusal,
    prepare,
    simulate,
)
from tpdeploy.planner.search.highest_rate import at_highest_rate
from tpdeploy.planner.search.layouts import splits
from tpdeploy.planner.search.overload import overload
from tpdeploy.planner.search.pareto import frontier
from tpdeploy.planner.search.placement import place
from tpdeploy.planner.search.ranking import rank, score
from tpdeploy.planner.search.reasons import reason_for_loser, reason_not_simulated, reasons_for
from tpdeploy.planner.search.replicas import with_fewest_replicas
from tpdeploy.planner.search.steady_state import SteadyState, steady_state
from tpdeploy.profiles.models.shape import ModelShape

# Splits with pipeline stages, whole experts, data-parallel attention or fewer replicas than fit are
# simulated when their steady state is at most this much worse than the best, and at most so many.
MARGIN = 0.15
MOST_SIMULATED = 4


@dataclass(frozen=True, eq=False)
class Estimated:
    """A split that fits but was not simulated, because its steady state is too far behind."""

    prepared: Prepared
    steady: SteadyState


@dataclass(frozen=True)
class Outcome:
    """All splits: simulated ones (best first), those not simulated, and those that cannot run."""

    ranked: tuple[Candidate, ...]
    refused: tuple[Refusal, ...]
    estimated: tuple[Estimated, ...] = ()
    remarks: tuple[str, ...] = ()  # more reasons for the best
    daily: DailyPlan | None = None  # of the first split, where the load is that of a day

    @property
    def best(self) -> Candidate | None:
        """The best split that meets every target, if any."""
        return next((c for c in self.ranked if not c.missed), None)


# What was answered may differ from what was asked: the devices, or the tokens of a step.
Solved = tuple[PlanInputs, Outcome]


def search(inputs: PlanInputs) -> Outcome:
    """Evaluate and rank every split that the stated options allow.

    Raises:
        InputError: a width, replica count or context that cannot be had here.
    """
    estimated, refused = _estimates(inputs)
    chosen = worth_simulating(inputs, estimated)
    candidates = [_simulated(inputs, e.prepared) for e in chosen]
    rest = [e for e in estimated if e not in chosen]
    if rest and all(c.missed for c in candidates):
        # A target that the likely ones miss may be met by one of the others.
        more = _quickest(rest)
        candidates += [_simulated(inputs, e.prepared) for e in more]
        rest = [e for e in rest if e not in more]
    rest.sort(key=lambda e: score(inputs, e.prepared, e.steady), reverse=True)
    return Outcome(tuple(rank(inputs, candidates)), refused, tuple(rest))


def is_met(inputs: PlanInputs) -> bool:
    """Whether a split that `search` looks at meets every target; the first that does is enough.

    Raises:
        InputError: as `search` does.
    """
    estimated, _ = _estimates(inputs)
    chosen = worth_simulating(inputs, estimated)
    rest = [e for e in estimated if e not in chosen]
    chosen.sort(key=lambda e: e.steady.latency_s)
    likely = chosen + _quickest(rest)
    return any(not simulate(inputs, e.prepared).missed for e in likely)


def _estimates(inputs: PlanInputs) -> tuple[list[Estimated], tuple[Refusal, ...]]:
    """Every split that fits with its steady state, and those that cannot run."""
    check_context(inputs)
    prepared = prepare_all(inputs, splits(inputs))
    refused = tuple(p for p in prepared if isinstance(p, Refusal))
    fitting = [p for p in prepared if isinstance(p, Prepared)]
    if inputs.tensor and refused and not fitting:
        _refuse_width(inputs, refused[0])
    return [Estimated(p, steady_state(inputs, p)) for p in fitting], refused


def _quickest(estimated: list[Estimated]) -> list[Estimated]:
    return sorted(estimated, key=lambda e: e.steady.latency_s)[:MOST_SIMULATED]


def _simulated(inputs: PlanInputs, prepared: Prepared) -> Candidate:
    """`prepared`, for cost with the fewest replicas that do, for goodput at its highest rate."""
    if inputs.optimize == "goodput":
        return at_highest_rate(inputs, prepared)
    if inputs.optimize != "cost" or inputs.replicas:
        return simulate(inputs, prepared)
    found = with_fewest_replicas(inputs, prepared, 1, prepared.parallelism.replicas)
    return found if isinstance(found, Candidate) else simulate(inputs, prepared)


def prepare_all(inputs: PlanInputs, wanted: list[Parallelism]) -> list[Prepared | Refusal]:
    """Every split, sized, except those that cannot win.

    P stages of a width serve at best as P replicas of it do, and share one copy of the weights:
    they are of use only where that width alone does not fit, or has less KV cache than its load
    fills. Where links are direct, more of them are better used by a wider group. Data-parallel
    attention goes over a network only where nothing fits that does not.
    """
    alone: dict[tuple[int, int, int], Prepared | Refusal] = {}
    found = []
    apart = inputs.cluster.on_network
    for split in sorted(wanted, key=lambda p: (p.pipeline, apart(p.stage_ranks))):
        if split.pipelined and not inputs.pipeline and _pipeline_loses(inputs, split, alone):
            continue
        if split.data_parallel and inputs.data is None and _waits_in_vain(inputs, split, alone):
            continue
        prepared = prepare(inputs, split)
        cut = alone.get((split.tensor, split.data, 1))
        if not split.pipelined:
            alone[split.tensor, split.data, split.expert] = prepared
        if split.expert_parallel and _neither_fits(prepared, cut):
            continue
        found.append(prepared)
    return found


def _pipeline_loses(
    inputs: PlanInputs,
    split: Parallelism,
    alone: Mapping[tuple[int, int, int], Prepared | Refusal],
) -> bool:
    """Whether a split without stages uses the same devices better."""
    flat = alone.get((split.tensor, split.data, split.expert))
    if flat and not _lacks(inputs, flat):
        return True
    cluster = inputs.cluster
    direct = cluster.fabric.direct and split.ranks <= cluster.domain
    return direct and any(isinstance(other, Prepared) for other in alone.values())


def _waits_in_vain(
    inputs: PlanInputs,
    split: Parallelism,
    alone: Mapping[tuple[int, int, int], Prepared | Refusal],
) -> bool:
    """Whether data ranks would wait for a network though a split that does not wait fits."""
    apart = inputs.cluster.on_network
    nearer = (o for o in alone.values() if isinstance(o, Prepared))
    return apart(split.stage_ranks) and any(not apart(o.parallelism.stage_ranks) for o in nearer)


def worth_simulating(inputs: PlanInputs, estimated: list[Estimated]) -> list[Estimated]:
    """Every plain split, and of the others those whose steady state comes near the best."""
    most: dict[int, int] = {}
    for e in estimated:
        split = e.prepared.parallelism
        most[split.tensor] = max(most.get(split.tensor, 0), split.replicas)
    plain = [e for e in estimated if _is_plain(e, most)]
    others = [e for e in estimated if not _is_plain(e, most)]
    others.sort(key=lambda e: score(inputs, e.prepared, e.steady), reverse=True)
    if inputs.data is None:
        others = _likely(others)
    if inputs.pipeline or inputs.expert_parallel or not plain:
        return plain + others[:MOST_SIMULATED]
    best = max(score(inputs, e.prepared, e.steady) for e in estimated)
    near = [e for e in others if score(inputs, e.prepared, e.steady) >= best * (1 - MARGIN)]
    return plain + near[:MOST_SIMULATED]


def _likely(others: list[Estimated]) -> list[Estimated]:
    """The first of several data-parallel splits: they perform alike and are slow to simulate."""
    first = next((e for e in others if e.prepared.parallelism.data_parallel), None)
    return [e for e in others if e is first or not e.prepared.parallelism.data_parallel]


def plan(inputs: PlanInputs, outcome: Outcome) -> DeploymentPlan:
    """The plan for the best split.

    Raises:
        InfeasibleError: nothing fits, or nothing that fits meets the targets.
    """
    best = outcome.best
    if best is None:
        raise InfeasibleError(_nothing_feasible(inputs, outcome))
    waiting = overload(inputs, best)
    return DeploymentPlan(
        model=_planned_model(inputs),
        cluster=_planned_cluster(inputs),
        workload=inputs.workload,
        request=inputs.request,
        backend=inputs.engine.name,
        parallelism=best.parallelism,
        placement=place(inputs.cluster, best.parallelism),
        limits=best.limits,
        memory_per_gpu=best.memory,
        prediction=best.prediction,
        overload=waiting,
        answer=answer_of(inputs, best),
        why=(*outcome.remarks, *why(inputs, best, outcome.ranked, outcome.refused)),
        reasons=(
            *((waiting,) if waiting else ()),
            *outcome.remarks,
            *reasons_for(inputs, best, outcome.ranked, outcome.refused),
        ),
        alternatives=alternatives(inputs, outcome),
        pareto=frontier(inputs, outcome.ranked),
        cost=cost_of(inputs, best),
        daily=outcome.daily,
    )


def alternatives(inputs: PlanInputs, outcome: Outcome) -> tuple[Alternative, ...]:
    """Every split that was not chosen, with its reason: those that run first, best first."""
    best = outcome.best
    losers = tuple(
        Alternative(
            **_split(c.parallelism),
            feasible=not c.missed,
            reason=reason_for_loser(inputs, c, best),
            ttft_ms=c.prediction.ttft_ms.value if c.served.keeps_up else None,
            tpot_ms=c.prediction.tpot_ms.value,
            output_tokens_per_s=c.tokens_per_s,
        )
        for c in outcome.ranked
        if c is not best
    )
    estimated = tuple(
        Alternative(
            **_split(e.prepared.parallelism),
            feasible=None,
            reason=reason_not_simulated(inputs, e.prepared, e.steady, best),
        )
        for e in outcome.estimated
    )
    refused = tuple(
        Alternative(
            **_split(r.parallelism),
            feasible=False,
            reason=r.reason,
            lacks_memory=r.does_not_fit,
        )
        for r in outcome.refused
    )
    return losers + estimated + refused


def _split(parallelism: Parallelism) -> dict[str, int]:
    return parallelism.model_dump()


def check_context(inputs: PlanInputs) -> None:
    """Raise InputError unless requests fit the model's context and their drafts fit one step.

    Raises:
        InputError: they are longer.
    """
    workload, most = inputs.workload, inputs.shape.max_context
    asked = workload.longest_tokens
    request = f"--input-tokens {workload.input_tokens} + --output-tokens {workload.output_tokens}"
    if workload.lengths:
        request = f"the longest request of {workload.lengths.name}"
    elif workload.length_spread:
        request += f" with --length-spread {workload.length_spread:g}"
    if asked > most:
        raise InputError(f"{request} = {asked}: the context of {inputs.shape.id} is {most}")
    verified, tokens = workload.verified_tokens, inputs.max_num_batched_tokens
    if tokens and verified > tokens:
        raise InputError(
            f"--max-num-batched-tokens {tokens}: a step verifies {verified} tokens of a sequence; "
            f"give {verified} or more, or fewer --speculative-tokens"
        )
    longest = inputs.max_model_len
    if longest and longest > most:
        raise InputError(f"--max-model-len {longest}: the context of {inputs.shape.id} is {most}")
    if longest and longest < asked:
        raise InputError(f"--max-model-len {longest}: too short for {request} = {asked}")


def _planned_model(inputs: PlanInputs) -> PlannedModel:
    shape = inputs.shape
    return PlannedModel(
        id=shape.id,
        path=shape.path,
        architecture=shape.architecture,
        uncounted=shape.uncounted,
        parameters=parameter_count(shape),
        vocab=shape.vocab,
        dtype=shape.dtype,
        native_dtype=inputs.native_dtype,
        quantization=inputs.quantization,
        stored_as=None if inputs.quantization else _method(shape),
        kv_cache_dtype=inputs.kv_cache_dtype,
    )


def _method(shape: ModelShape) -> str | None:
    return shape.quantization.method if shape.quantization else None


def _planned_cluster(inputs: PlanInputs) -> PlannedCluster:
    cluster = inputs.cluster
    return PlannedCluster(
        gpu=cluster.accelerator.name,
        platform=cluster.accelerator.platform,
        compute_capability=cluster.accelerator.compute_capability,
        count=cluster.count,
        nodes=cluster.machines,
        fabric=cluster.fabric.name,
        network=cluster.network.name if cluster.network else None,
        domain=cluster.domain,
        memory_bytes=cluster.accelerator.peaks.memory_bytes,
        assumptions=cluster.assumptions,
        kinds=cluster.kinds,
        origin=cluster.origin,
    )


def _refuse_width(inputs: PlanInputs, refusal: Refusal) -> None:
    if refusal.does_not_fit:
        return
    split, whole = refusal.parallelism, bool(inputs.expert_parallel)
    widest = max(inputs.cluster.per_machine, inputs.cluster.widest)
    legal = legal_widths(inputs.shape, widest, expert_parallel=whole)
    legal = tuple(w for w in legal if whole or w not in inputs.engine.refused_widths)
    asked = f"--tp {split.tensor}" + (f" --pp {split.pipeline}" if split.pipelined else "")
    if split.data_parallel:
        raise InputError(f"{asked} --dp {split.data}: {refusal.reason}; leave --tp or --dp out")
    raise InputError(
        f"{asked}: {refusal.reason}; legal widths for {inputs.shape.id} here: "
        f"{', '.join(map(str, legal))}"
    )


def _nothing_feasible(inputs: PlanInputs, outcome: Outcome) -> str:
    if outcome.ranked:
        closest = outcome.ranked[0]
        up_to = f" of up to {inputs.cluster.count} GPUs" if inputs.optimize == "fewest" else ""
        tokens = inputs.max_num_batched_tokens
        steps = f" in steps of at most {tokens:,} tokens" if tokens else ""
        return (
            f"no split{up_to} meets the targets; closest is {closest.parallelism.words} x "
            f"{closest.replicas}{steps} ({'; '.join(closest.missed)})"
        )
    cluster = inputs.cluster
    fits = [r for r in outcome.refused if r.does_not_fit] or list(outcome.refused)
    tightest = max(fits, key=lambda r: (r.parallelism.ranks, r.parallelism.tensor))
    return (
        f"{inputs.shape.id} does not run on {cluster.count}x{cluster.accelerator.name}: "
        f"at {tightest.parallelism.words} it {tightest.reason}"
    )


def _lacks(inputs: PlanInputs, flat: Prepared | Refusal) -> bool:
    """Whether a width without stages lacks memory for its weights or its share of the load."""
    if isinstance(flat, Refusal):
        return flat.does_not_fit
    share = share_of_load(inputs.workload, flat.parallelism.replicas).concurrency
    most = flat.replica.max_num_seqs
    wanted = 1 if inputs.optimize in LEAST_DEVICES else min(share or most, most)
    return flat.sized.kv_requests < wanted


def _neither_fits(whole: Prepared | Refusal, cut: Prepared | Refusal | None) -> bool:
    """Whether splits with and without expert parallelism lack memory alike (reported once)."""
    both = [p for p in (whole, cut) if isinstance(p, Refusal) and p.does_not_fit]
    return len(both) == 2


def _is_plain(estimated: Estimated, most: dict[int, int]) -> bool:
    """Tensor parallelism alone, with as many replicas as there can be."""
    split = estimated.prepared.parallelism
    return split.plain and split.replicas == most[split.tensor]
