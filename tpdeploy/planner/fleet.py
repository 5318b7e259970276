"""Fleet: the fewest devices that carry a load within its targets, when no count is given."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf

from tpdeploy.planner.candidate import Candidate, Prepared, Refusal, evaluate, simulate
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.placement import pipelines
from tpdeploy.planner.question import Question
from tpdeploy.planner.ranking import end_to_end_ms, shortfall
from tpdeploy.planner.search import Estimated, Outcome, check_context, prepare_all
from tpdeploy.planner.splits import splits
from tpdeploy.planner.steady_state import least_replicas, steady_state
from tpdeploy.profiles.catalog import assemble
from tpdeploy.profiles.cluster import Cluster

MACHINE = 8
MOST_MACHINES = 8
# A split whose capacity alone asks for this many more devices than the best is not simulated.
MARGIN = 1.25


@dataclass(frozen=True)
class Fleet:
    """The machines that are needed, and every split that was looked at on them."""

    question: Question
    outcome: Outcome

    @property
    def order(self) -> tuple[float, float, float]:
        """Of its first split: the smaller, the better; of fleets too."""
        ranked = self.outcome.ranked
        return order(self.question, ranked[0]) if ranked else (inf, inf, inf)


def fewest_devices(question: Question) -> Fleet:
    """The smallest cluster of the question's device that meets its load and targets.

    Where MOST_MACHINES are not enough the fleet is all of them, and no split of it is the best.
    """
    check_context(question)
    asked = replace(question, optimize="fewest")
    for machines in range(1, MOST_MACHINES + 1):
        here = replace(asked, cluster=_machines(question.cluster, machines))
        prepared = prepare_all(here, list(_replica_shapes(here)))
        fitting = [p for p in prepared if isinstance(p, Prepared)]
        refused = tuple(p for p in prepared if isinstance(p, Refusal))
        if fitting:
            return _smallest(here, fitting, refused)
    return Fleet(here, Outcome((), refused))


def _smallest(question: Question, fitting: list[Prepared], refused: tuple[Refusal, ...]) -> Fleet:
    """Each shape with as few replicas as carry the load, those that need fewest devices first."""
    found: list[Candidate] = []
    skipped: list[Estimated] = []
    fewest = MOST_MACHINES * _per_machine(question.cluster)
    for shape in sorted(fitting, key=lambda p: (_least(question, p), p.parallelism.ranks)):
        if found and _least(question, shape) > fewest * MARGIN:
            replicas = min(least_replicas(question, shape), _most_replicas(question, shape))
            enough = _with_replicas(shape, replicas)
            skipped.append(Estimated(enough, steady_state(question, enough)))
            continue
        candidate = _with_fewest_replicas(question, shape)
        found.append(candidate)
        if not candidate.missed:
            fewest = min(fewest, candidate.parallelism.devices)
    found.sort(key=lambda c: order(question, c))
    best = found[0]
    cluster = _machines(question.cluster, MOST_MACHINES)
    remarks: tuple[str, ...] = ()
    if not best.missed:
        cluster = _holding(question.cluster, best.parallelism)
        remarks = (_why_no_fewer(question, best),)
    outcome = Outcome(tuple(found), refused, tuple(skipped), remarks)
    return Fleet(replace(question, cluster=cluster), outcome)


def order(question: Question, candidate: Candidate) -> tuple[float, int, float]:
    """The fewest devices first, then latency; after them those that come closest to the targets."""
    far = shortfall(question, candidate) if candidate.missed else 0.0
    return far, candidate.parallelism.devices, end_to_end_ms(question, candidate)


def _why_no_fewer(question: Question, best: Candidate) -> str:
    """What one replica fewer would miss."""
    enough = f"{best.parallelism.devices} {question.device}s carry the load"
    if question.replicas or best.replicas == 1:
        return f"{enough}, as {best.parallelism.words} x {best.replicas}."
    fewer = best.parallelism.model_copy(update={"replicas": best.replicas - 1})
    less = evaluate(question, fewer)
    missed = less.missed if isinstance(less, Candidate) else (less.reason,)
    return f"{enough}; {fewer.devices} would not, as {fewer.words} x {fewer.replicas}: " + (
        "; ".join(missed) + "."
    )


def _with_fewest_replicas(question: Question, shape: Prepared) -> Candidate:
    """The split with the fewest replicas that meets the load, else with the most there can be."""
    most = _most_replicas(question, shape)
    if question.replicas:
        return _simulate(question, shape, most)

    def meets(replicas: int) -> bool:
        return not _simulate(question, shape, replicas).missed

    fewest = 1 + bisect_left(range(1, most), True, key=meets)
    return _simulate(question, shape, fewest)


def _simulate(question: Question, shape: Prepared, replicas: int) -> Candidate:
    return simulate(question, _with_replicas(shape, replicas))


def _with_replicas(shape: Prepared, replicas: int) -> Prepared:
    split = shape.parallelism.model_copy(update={"replicas": replicas})
    return replace(shape, parallelism=split)


def _least(question: Question, shape: Prepared) -> int:
    """Devices without which the load is above what such replicas can do at all."""
    return least_replicas(question, shape) * shape.parallelism.ranks


def _most_replicas(question: Question, shape: Prepared) -> int:
    if question.replicas:
        return question.replicas
    split = shape.parallelism
    machines = _machines(question.cluster, MOST_MACHINES)
    most = len(pipelines(machines, split.tensor, split.pipeline))
    return min(most, question.workload.concurrency or most)


def _replica_shapes(question: Question) -> Iterator[Parallelism]:
    seen = set()
    for split in splits(replace(question, replicas=None)):
        one = split.model_copy(update={"replicas": question.replicas or 1})
        if one not in seen:
            seen.add(one)
            yield one


def _holding(cluster: Cluster, split: Parallelism) -> Cluster:
    """The smallest cluster on which the replicas can be placed."""
    if split.devices <= _per_machine(cluster):
        exact = _assembled(cluster, 1, split.devices)
        if len(pipelines(exact, split.tensor, split.pipeline)) >= split.replicas:
            return exact
    machines = 1
    while len(pipelines(_machines(cluster, machines), split.tensor, split.pipeline)) < (
        split.replicas
    ):
        machines += 1
    return _machines(cluster, machines)


def _per_machine(cluster: Cluster) -> int:
    return MACHINE if cluster.beyond else min(MACHINE, cluster.fabric.island)


def _machines(cluster: Cluster, machines: int) -> Cluster:
    return _assembled(cluster, machines, _per_machine(cluster))


def _assembled(cluster: Cluster, machines: int, per_machine: int) -> Cluster:
    device, fabric = cluster.accelerator, cluster.fabric
    count = machines * per_machine
    shape = f"{machines} machines of {per_machine}" if machines > 1 else f"{count} in one machine"
    assumptions = (
        f"The count was left open: {shape}, on {fabric.name} (assumed): {fabric.description}.",
    )
    built = assemble(device, fabric.name, machines, per_machine)
    kept = {"assumptions": assumptions, "efficiency": cluster.efficiency}
    return built.model_copy(update=kept)
