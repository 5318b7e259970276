"""Fleet: the fewest devices that carry a load within its targets, when no count is given."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf

from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.parallelism import Parallelism
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

    inputs: PlanInputs
    outcome: Outcome

    @property
    def order(self) -> tuple[float, ...]:
        """Of its first split: the smaller, the better; of fleets too."""
        ranked = self.outcome.ranked
        return order(self.inputs, ranked[0]) if ranked else (inf,)


def fewest_devices(inputs: PlanInputs, below: int | None = None) -> Fleet:
    """The smallest cluster of the question's device that meets its load and targets.

    Where MOST_MACHINES are not enough the fleet is all of them, and no split of it is the best.
    With `below`, only fleets of fewer devices are looked for.
    """
    check_context(inputs)
    asked = replace(inputs, optimize="fewest")
    refused: tuple[Refusal, ...] = ()
    for machines in range(1, MOST_MACHINES + 1):
        here = replace(asked, cluster=_machines(inputs, machines))
        prepared = prepare_all(here, list(_replica_shapes(here)))
        fitting = [p for p in prepared if isinstance(p, Prepared)]
        refused = tuple(p for p in prepared if isinstance(p, Refusal))
        if fitting:
            return _smallest(here, fitting, refused, below)
    return Fleet(here, Outcome((), refused))


def _smallest(
    inputs: PlanInputs, fitting: list[Prepared], refused: tuple[Refusal, ...], below: int | None
) -> Fleet:
    """Each split with the fewest replicas that carry the load; fewest devices first.

    Once some carry it, others are looked at on as many devices only. One replica of each was sized
    for all of the load already, so that none is refused.
    """
    found: list[Candidate] = []
    skipped: list[Estimated] = []
    fewest = below - 1 if below else MOST_MACHINES * per_machine(inputs.cluster)
    unlikely = _unlikely(inputs, fitting)
    for shape in sorted(fitting, key=lambda p: (_least(inputs, p), p.parallelism.ranks)):
        split = shape.parallelism
        most = min(_most_replicas(inputs, split), fewest // split.ranks)
        too_many = shape in unlikely or (found and _least(inputs, shape) > ROUGH * fewest)
        if too_many or most < (inputs.replicas or 1):
            replicas = min(least_replicas(inputs, shape), _most_replicas(inputs, split))
            skipped.append(_estimated(inputs, shape, max(1, replicas)))
            continue
        candidate = _fewest(inputs, shape, most)
        if isinstance(candidate, Refusal):
            continue
        found.append(candidate)
        if not candidate.missed:
            fewest = min(fewest, candidate.parallelism.devices)
    found.sort(key=lambda c: order(inputs, c))
    return _fleet(inputs, Outcome(tuple(found), refused, tuple(skipped)))


def _unlikely(inputs: PlanInputs, fitting: list[Prepared]) -> list[Prepared]:
    """Data-parallel splits that, by estimate, serve less than another on as many devices."""
    best: dict[int, Prepared] = {}
    data = [p for p in fitting if p.parallelism.data_parallel and inputs.data is None]
    for shape in sorted(data, key=lambda p: rough_capacity(p.replica, inputs.workload)):
        best[shape.parallelism.ranks] = shape
    return [p for p in data if best[p.parallelism.ranks] is not p]


def _fewest(inputs: PlanInputs, shape: Prepared, most: int) -> Candidate | Refusal:
    """The split with the fewest replicas that meet the load, else with `most`."""
    if inputs.replicas:
        split = shape.parallelism.with_replicas(inputs.replicas)
        return evaluate(inputs, split, shape.replica.model)
    return with_fewest_replicas(inputs, shape, least_replicas(inputs, shape), most)


def _fleet(inputs: PlanInputs, outcome: Outcome) -> Fleet:
    """The smallest cluster that holds the best split; all machines if no split is good enough."""
    best = outcome.best
    if best is None:
        cluster = _machines(inputs, MOST_MACHINES)
        return Fleet(replace(inputs, cluster=cluster), outcome)
    remarks = (_why_no_fewer(inputs, best),)
    cluster = _holding(inputs, best.parallelism)
    return Fleet(replace(inputs, cluster=cluster), replace(outcome, remarks=remarks))


def order(inputs: PlanInputs, candidate: Candidate) -> tuple[float, ...]:
    """The fewest devices first, the simplest, then latency; last those that miss a target."""
    far = shortfall(inputs, candidate) if candidate.missed else 0.0
    split = candidate.parallelism
    far_apart = inputs.cluster.on_network(split.stage_ranks)
    simple = far_apart or split.pipelined, split.data_parallel, split.expert_parallel
    return bool(candidate.missed), far, split.devices, *simple, end_to_end_s(inputs, candidate)


def _why_no_fewer(inputs: PlanInputs, best: Candidate) -> str:
    """The targets that one replica fewer would miss."""
    devices = best.parallelism.devices
    enough = f"{devices} {inputs.device}" + (" carries" if devices == 1 else "s carry")
    enough += " the load"
    if inputs.replicas or best.replicas == 1:
        return f"{enough}, as {best.parallelism.words} x {best.replicas}."
    fewer = best.parallelism.with_replicas(best.replicas - 1)
    less = evaluate(inputs, fewer, best.replica.model)
    missed = less.missed if isinstance(less, Candidate) else (less.reason,)
    return f"{enough}; {fewer.devices} would not, as {fewer.words} x {fewer.replicas}: " + (
        "; ".join(missed) + "."
    )


def _estimated(inputs: PlanInputs, shape: Prepared, replicas: int) -> Estimated:
    split = shape.parallelism.with_replicas(replicas)
    prepared = replace(shape, parallelism=split)
    return Estimated(prepared, steady_state(inputs, prepared))


def _least(inputs: PlanInputs, shape: Prepared) -> int:
    """Devices without which the load is above what such replicas do at all, roughly."""
    return least_replicas(inputs, shape) * shape.parallelism.ranks


def _most_replicas(inputs: PlanInputs, split: Parallelism) -> int:
    if inputs.replicas:
        return inputs.replicas
    machines = _machines(inputs, MOST_MACHINES)
    most = replica_capacity(machines, split.stage_ranks, split.pipeline)
    return min(most, inputs.workload.concurrency or most)


def _replica_shapes(inputs: PlanInputs) -> Iterator[Parallelism]:
    seen = set()
    for split in splits(replace(inputs, replicas=None)):
        one = split.with_replicas(inputs.replicas or 1)
        if one not in seen:
            seen.add(one)
            yield one


def _holding(inputs: PlanInputs, split: Parallelism) -> Cluster:
    """The smallest cluster on which the replicas can be placed."""
    if split.devices <= per_machine(inputs.cluster):
        exact = _assumed(inputs, 1, split.devices)
        if replica_capacity(exact, split.stage_ranks, split.pipeline) >= split.replicas:
            return exact
    machines = 1
    while (
        replica_capacity(_machines(inputs, machines), split.stage_ranks, split.pipeline)
        < split.replicas
    ):
        machines += 1
    return _machines(inputs, machines)


def _machines(inputs: PlanInputs, machines: int) -> Cluster:
    return _assumed(inputs, machines, per_machine(inputs.cluster))


def _assumed(inputs: PlanInputs, machines: int, each: int) -> Cluster:
    """The cluster, with a note that its size was left open."""
    count, fabric = machines * each, inputs.cluster.fabric
    shape = f"{machines} machines of {each}" if machines > 1 else f"{count} in one machine"
    assumptions = (
        f"The count was left open: {shape}, on {fabric.name} (assumed): {fabric.description}.",
    )
    return assembled(inputs, machines, each).changed(assumptions=assumptions)
