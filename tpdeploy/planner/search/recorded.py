"""Recorded: the splits that are best at the mean rate, simulated under the requests themselves."""

from collections.abc import Sequence
from dataclasses import replace

from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.plan import DeploymentPlan, Prediction
from tpdeploy.planner.search.evaluation import (
    Candidate,
    Prepared,
    evaluate,
    mean_decode,
    missed,
    prepare,
)
from tpdeploy.planner.search.ranking import rank
from tpdeploy.planner.search.replay import prepared_as
from tpdeploy.planner.search.search import Estimated, Outcome
from tpdeploy.planner.search.steady_state import steady_state
from tpdeploy.planner.serving.prediction import predict
from tpdeploy.planner.serving.replay import replay
from tpdeploy.planner.serving.scheduler import Engine
from tpdeploy.planner.serving.simulation import Served
from tpdeploy.planner.trace import Trace
from tpdeploy.planner.workload import Workload

# Each takes up to two seconds for 20,000 requests.
MOST_REPLAYED = 4


def under_recording(inputs: PlanInputs, outcome: Outcome, trace: Trace) -> Outcome:
    """`outcome` with its best splits ranked by what they do under `trace`.

    The others are told as not simulated: their figures at the mean rate say nothing of bursts.
    """
    likely, others = outcome.ranked[:MOST_REPLAYED], outcome.ranked[MOST_REPLAYED:]
    ranked = rank(inputs, [_enough(inputs, candidate, trace) for candidate in likely])
    prepared = [prepare(inputs, c.parallelism, c.replica.model) for c in others]
    rest = tuple(Estimated(p, steady_state(inputs, p)) for p in prepared if isinstance(p, Prepared))
    return replace(outcome, ranked=tuple(ranked), estimated=(*rest, *outcome.estimated))


def cache_words(inputs: PlanInputs, ranked: Sequence[Candidate]) -> str:
    """What the prefix caches of each split held, in a sentence; nothing without hashes.

    Replicas split the cache, tensor parallelism keeps it whole.
    """
    parts = [
        f"{told.cached:.1%} with {c.parallelism.words} x {c.replicas}"
        for c in ranked
        if (told := c.prediction.timeline) and told.cached is not None
    ]
    if not parts:
        return ""
    return (
        "Of all prompt tokens, prefix caches (each replica has its own) hold "
        f"{', '.join(parts)}, behind a {inputs.router} router."
    )


def predict_recorded(
    inputs: PlanInputs, plan: DeploymentPlan, load: Workload, trace: Trace
) -> Prediction:
    """The prediction for `plan` under `trace`, of which `load` is the mean.

    Raises:
        InputError: its split cannot run, which only a plan edited by hand can say.
    """
    stated, ready = prepared_as(inputs, plan)
    return _told(replace(stated, workload=load), ready.replica, plan.parallelism.replicas, trace)[1]


def _told(
    inputs: PlanInputs, replica: Engine, replicas: int, trace: Trace
) -> tuple[Served, Prediction]:
    served, over_time = replay(replica, inputs.workload, trace, replicas, inputs.router)
    told = predict(inputs, replica.model, served, replicas)
    return served, told.changed(timeline=over_time)


def _enough(inputs: PlanInputs, candidate: Candidate, trace: Trace) -> Candidate:
    """`candidate` under `trace`; for cost with as many more replicas as its bursts need."""
    found = _replayed(inputs, candidate, trace)
    most = inputs.cluster.count // candidate.parallelism.ranks
    open_ = inputs.optimize == "cost" and not inputs.replicas
    while open_ and found.missed and found.replicas < most:
        more = min(most, found.replicas + max(1, found.replicas // 4))
        split = found.parallelism.with_replicas(more)
        again = evaluate(inputs, split, found.replica.model)
        if not isinstance(again, Candidate):
            break
        found = _replayed(inputs, again, trace)
    return found


def _replayed(inputs: PlanInputs, candidate: Candidate, trace: Trace) -> Candidate:
    replica, replicas = candidate.replica, candidate.replicas
    served, told = _told(inputs, replica, replicas, trace)
    return replace(
        candidate,
        prediction=told,
        served=served,
        decode=replica.model.time(mean_decode(served, candidate.parallelism.data)),
        missed=tuple(missed(inputs, told, served, replicas)),
    )
