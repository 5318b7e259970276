"""Loads: what one split is expected to do from a light load to a heavy one."""

from collections.abc import Sequence
from dataclasses import replace

from tpdeploy.errors import InputError
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import DeploymentPlan, Limits, Prediction
from tpdeploy.planner.search.evaluation import Prepared, Refusal, evaluate, prepare, simulate
from tpdeploy.planner.workload import Workload

# Requests in flight at which a curve is drawn, up to four times the load that was asked about.
CONCURRENCIES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
# The same for a rate, as shares of the one that was asked about.
SHARES_OF_RATE = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


def curve(workload: Workload) -> tuple[Workload, ...]:
    """The requests of `workload` under loads around its own, the lightest first."""
    if workload.rate is not None:
        return tuple(at_load(workload, share * workload.rate) for share in SHARES_OF_RATE)
    asked = workload.concurrency or 1
    most = max(4 * asked, CONCURRENCIES[4])
    loads = sorted({asked, *(load for load in CONCURRENCIES if load <= most)})
    return tuple(at_load(workload, load) for load in loads)


def at_load(workload: Workload, load: float) -> Workload:
    """The requests of `workload` at another rate, or with as many others in flight."""
    if workload.rate is not None:
        return workload.at_rate(load)
    return workload.at_concurrency(int(load))


def load_of(workload: Workload) -> float:
    """Requests in flight, or requests/s."""
    return workload.rate if workload.rate is not None else float(workload.concurrency or 1)


def predict_plan(
    inputs: PlanInputs, plan: DeploymentPlan, loads: Sequence[Workload]
) -> tuple[Prediction, ...]:
    """The prediction for `plan` under each of `loads`; `inputs` is the request behind it.

    All from the same source: at the plan's own load, too, it is predicted as it would be now.

    Raises:
        InputError: its split cannot run, which only a plan edited by hand can say.
    """
    return tuple(replay(inputs, plan, load) for load in loads)


def replay(inputs: PlanInputs, plan: DeploymentPlan, load: Workload) -> Prediction:
    """The prediction for `plan` under `load` with today's planner.

    Raises:
        InputError: its split cannot run, which only a plan edited by hand can say.
    """
    stated, ready = prepared_as(inputs, plan)
    return simulate(replace(stated, workload=load), ready).prediction


def prepared_as(inputs: PlanInputs, plan: DeploymentPlan) -> tuple[PlanInputs, Prepared]:
    """The split of `plan` with its limits, and `inputs` as it answers it.

    Raises:
        InputError: its split cannot run, which only a plan edited by hand can say.
    """
    limits = plan.limits
    stated = replace(
        inputs,
        max_num_seqs=limits.max_num_seqs,
        max_num_batched_tokens=limits.max_num_batched_tokens,
        memory_fraction=limits.memory_fraction,
        enforce_eager=limits.enforce_eager,
    )
    prepared = prepare(stated, plan.parallelism)
    if isinstance(prepared, Refusal):
        raise InputError(f"{_words(plan.parallelism)}: {prepared.reason}")
    return stated, _limited(prepared, plan.limits)


def predict_split(
    inputs: PlanInputs, parallelism: Parallelism, loads: Sequence[Workload]
) -> tuple[Prediction, ...]:
    """What another split would do under each of `loads`, up to the first for which it is too small.

    Each load is given the limits that a plan for it would have.
    """
    found = []
    for load in loads:
        candidate = evaluate(replace(inputs, workload=load), parallelism)
        if isinstance(candidate, Refusal):
            break
        found.append(candidate.prediction)
    return tuple(found)


def _limited(prepared: Prepared, limits: Limits) -> Prepared:
    """`prepared` with the limits of a plan, which somebody may have edited."""
    counted = prepared.sized.limits.kv_cache_bytes
    replica = replace(
        prepared.replica,
        max_num_seqs=limits.max_num_seqs,
        max_num_batched_tokens=limits.max_num_batched_tokens,
        kv_tokens=prepared.replica.kv_tokens * limits.kv_cache_bytes / counted,
    )
    return replace(prepared, replica=replica)


def _words(split: Parallelism) -> str:
    return f"{split.words} x {split.replicas}"
