"""Fleet: the fewest devices that carry a load within its targets, when no count is given."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf

from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.question import Question
from tpdeploy.planner.search.evaluation import Candidate, Prepared, Refusal, evaluate
from tpdeploy.planner.search.layouts import splits
from tpdeploy.planner.search.machines import MOST_MACHINES, assembled, per_machine
from tpdeploy.planner.search.placement import replica_capacity
from tpdeploy.planner.search.ranking import end_to_end_s, shortfall
from tpdeploy.planner.search.replicas import with_fewest_replicas
from tpdeploy.planner.search.search import Estimated, Outcome, check_context, prepare_all
from tpdeploy.planner.search.steady_state import least_replicas, steady_state
from tpdeploy.planner.serving.simulation import rough_capacity
from tpdeploy.profiles.devices.cluster import Cluster

# The rough estimate of what a full replica serves may be this much too low.
ROUGH = 1.5


@dataclass(frozen=True)
class Fleet:
    """The machines that are needed, and every split that was tried on them."""

    question: Question
    outcome: Outcome

    @property
    def order(self) -> tuple[float, ...]:
        """Of its first split: the smaller, the better; of fleets too."""
        ranked = self.outcome.ranked
        return order(self.question, ranked[0]) if ranked else (inf,)


def fewest_devices(question: Question, below: int | None = None) -> Fleet:
    """The smallest cluster of the question's device that meets its load and targets.

    Where MOST_MACHINES are not enough the fleet is all of them, and no split of it is the best.
    With `below`, only fleets of fewer devices are looked for.
    """
    check_context(question)
    asked = replace(question, optimize="fewest")
    refused: tuple[Refusal, ...] = ()
    for machines in range(1, MOST_MACHINES + 1):
        here = replace(asked, cluster=_machines(question, machines))
        prepared = prepare_all(here, list(_replica_shapes(here)))
        fitting = [p for p in prepared if isinstance(p, Prepared)]
        refused = tuple(p for p in prepared if isinstance(p, Refusal))
        if fitting:
            return _smallest(here, fitting, refused, below)
    return Fleet(here, Outcome((), refused))


def _smallest(
    question: Question, fitting: list[Prepared], refused: tuple[Refusal, ...], below: int | None
) -> Fleet:
    """Each split with the fewest replicas that carry the load; fewest devices first.

    Once some carry it, others are looked at on as many devices only. One replica of each was sized
    for all of the load already, so that none is refused.
    """
    found: list[Candidate] = []
    skipped: list[Estimated] = []
    fewest = below - 1 if below else MOST_MACHINES * per_machine(question.cluster)
    unlikely = _unlikely(question, fitting)
    for shape in sorted(fitting, key=lambda p: (_least(question, p), p.parallelism.ranks)):
        split = shape.parallelism
        most = min(_most_replicas(question, split), fewest // split.ranks)
        too_many = shape in unlikely or (found and _least(question, shape) > ROUGH * fewest)
        if too_many or most < (question.replicas or 1):
            replicas = min(least_replicas(question, shape), _most_replicas(question, split))
            skipped.append(_estimated(question, shape, max(1, replicas)))
            continue
        candidate = _fewest(question, shape, most)
        if isinstance(candidate, Refusal):
            continue
        found.append(candidate)
        if not candidate.missed:
            fewest = min(fewest, candidate.parallelism.devices)
    found.sort(key=lambda c: order(question, c))
    return _fleet(question, Outcome(tuple(found), refused, tuple(skipped)))


def _unlikely(question: Question, fitting: list[Prepared]) -> list[Prepared]:
    """Data-parallel splits that, by estimate, serve less than another on as many devices."""
    best: dict[int, Prepared] = {}
    data = [p for p in fitting if p.parallelism.data_parallel and question.data is None]
    for shape in sorted(data, key=lambda p: rough_capacity(p.replica, question.workload)):
        best[shape.parallelism.ranks] = shape
    return [p for p in data if best[p.parallelism.ranks] is not p]


def _fewest(question: Question, shape: Prepared, most: int) -> Candidate | Refusal:
    """The split with the fewest replicas that meet the load, else with `most`."""
    if question.replicas:
        split = shape.parallelism.with_replicas(question.replicas)
        return evaluate(question, split, shape.replica.model)
    return with_fewest_replicas(question, shape, least_replicas(question, shape), most)


def _fleet(question: Question, outcome: Outcome) -> Fleet:
    """The smallest cluster that holds the best split; all machines if no split is good enough."""
    best = outcome.best
    if best is None:
        cluster = _machines(question, MOST_MACHINES)
        return Fleet(replace(question, cluster=cluster), outcome)
    remarks = (_why_no_fewer(question, best),)
    cluster = _holding(question, best.parallelism)
    return Fleet(replace(question, cluster=cluster), replace(outcome, remarks=remarks))


def order(question: Question, candidate: Candidate) -> tuple[float, ...]:
    """The fewest devices first, the simplest, then latency; last those that miss a target."""
    far = shortfall(question, candidate) if candidate.missed else 0.0
    split = candidate.parallelism
    far_apart = question.cluster.on_network(split.stage_ranks)
    simple = far_apart or split.pipelined, split.data_parallel, split.expert_parallel
    return bool(candidate.missed), far, split.devices, *simple, end_to_end_s(question, candidate)


def _why_no_fewer(question: Question, best: Candidate) -> str:
    """The targets that one replica fewer would miss."""
    devices = best.parallelism.devices
    enough = f"{devices} {question.device}" + (" carries" if devices == 1 else "s carry")
    enough += " the load"
    if question.replicas or best.replicas == 1:
        return f"{enough}, as {best.parallelism.words} x {best.replicas}."
    fewer = best.parallelism.with_replicas(best.replicas - 1)
    less = evaluate(question, fewer, best.replica.model)
    missed = less.missed if isinstance(less, Candidate) else (less.reason,)
    return f"{enough}; {fewer.devices} would not, as {fewer.words} x {fewer.replicas}: " + (
        "; ".join(missed) + "."
    )


def _estimated(question: Question, shape: Prepared, replicas: int) -> Estimated:
    split = shape.parallelism.with_replicas(replicas)
    prepared = replace(shape, parallelism=split)
    return Estimated(prepared, steady_state(question, prepared))


def _least(question: Question, shape: Prepared) -> int:
    """Devices without which the load is above what such replicas do at all, roughly."""
    return least_replicas(question, shape) * shape.parallelism.ranks


def _most_replicas(question: Question, split: Parallelism) -> int:
    if question.replicas:
        return question.replicas
    machines = _machines(question, MOST_MACHINES)
    most = replica_capacity(machines, split.stage_ranks, split.pipeline)
    return min(most, question.workload.concurrency or most)


def _replica_shapes(question: Question) -> Iterator[Parallelism]:
    seen = set()
    for split in splits(replace(question, replicas=None)):
        one = split.with_replicas(question.replicas or 1)
        if one not in seen:
            seen.add(one)
            yield one


def _holding(question: Question, split: Parallelism) -> Cluster:
    """The smallest cluster on which the replicas can be placed."""
    if split.devices <= per_machine(question.cluster):
        exact = _assumed(question, 1, split.devices)
        if replica_capacity(exact, split.stage_ranks, split.pipeline) >= split.replicas:
            return exact
    machines = 1
    while (
        replica_capacity(_machines(question, machines), split.stage_ranks, split.pipeline)
        < split.replicas
    ):
        machines += 1
    return _machines(question, machines)


def _machines(question: Question, machines: int) -> Cluster:
    return _assumed(question, machines, per_machine(question.cluster))


def _assumed(question: Question, machines: int, each: int) -> Cluster:
    """The cluster, with a note that its size was left open."""
    count, fabric = machines * each, question.cluster.fabric
    shape = f"{machines} machines of {each}" if machines > 1 else f"{count} in one machine"
    assumptions = (
        f"The count was left open: {shape}, on {fabric.name} (assumed): {fabric.description}.",
    )
    return assembled(question, machines, each).changed(assumptions=assumptions)
