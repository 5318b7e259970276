"""Splits: the ways to use the devices that are tried, and those that are impossible."""

from collections.abc import Iterator
from itertools import product

from tpdeploy.errors import InputError
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.model.sharding import head_problem
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.search.placement import group_capacity, replica_capacity
from tpdeploy.profiles.devices.cluster import MOST_MACHINES_A_GROUP, Cluster

# Depths up to this one are looked at even where they leave devices idle.
SHALLOW = 8


def splits(inputs: PlanInputs) -> list[Parallelism]:
    """Every split that the stated options allow, with as many replicas as fit unless stated.

    A tensor-parallel group takes whole machines where one is not enough, as far as their fabric
    reaches, or over a network where that can win (`Cluster.widest`). Deep pipelines are tried if
    they use as many devices as tensor parallelism alone, or if the fewest devices are asked for.
    Expert parallelism and data-parallel attention are tried for every model with experts.

    Raises:
        InputError: the user's choices need more devices than there are.
    """
    widths = [inputs.tensor] if inputs.tensor else _widths(inputs)
    found = [split for width in widths for split in _of_width(inputs, width)]
    if not found:
        _refuse_count(inputs)
    return found


def _widths(inputs: PlanInputs) -> list[int]:
    """Every width of a machine, and those of several that the model's heads allow."""
    each, widest = inputs.cluster.per_machine, inputs.cluster.widest
    if not inputs.engine.several_machines:
        widest = each
    over = range(2 * each, widest + 1, each)
    legal = [w for w in over if not head_problem(inputs.shape, w, expert_shards=1)]
    return [*range(1, each + 1), *legal]


def _of_width(inputs: PlanInputs, tensor: int) -> Iterator[Parallelism]:
    for one in (*_replica_shapes(inputs, tensor), *_data_parallel(inputs, tensor)):
        for replicas in _replicas(inputs, _most_replicas(inputs, one)):
            yield one.with_replicas(replicas)


def _most_replicas(inputs: PlanInputs, one: Parallelism) -> int:
    """How many such replicas fit: groups that no machine holds need an engine that spans several.

    Groups of data ranks are not joined to pipelines across machines, and no group of tensor ranks
    in them is torn apart.
    """
    cluster, several = inputs.cluster, inputs.engine.several_machines
    if one.stage_ranks > cluster.per_machine:
        here = one.stage_ranks // -(-one.stage_ranks // cluster.per_machine)
        if not several or (one.data_parallel and here % one.tensor):
            return 0
    several = several and not one.data_parallel
    return replica_capacity(cluster, one.stage_ranks, one.pipeline, several_machines=several)


def _replica_shapes(inputs: PlanInputs, tensor: int) -> Iterator[Parallelism]:
    """One replica of each kind whose attention is not data-parallel."""
    if inputs.data not in {None, 1}:
        return
    for pipeline, whole in product(_depths(inputs, tensor), _whole_experts(inputs, tensor)):
        yield Parallelism.of(tensor, pipeline=pipeline, expert_parallel=whole)


def _data_parallel(inputs: PlanInputs, tensor: int) -> Iterator[Parallelism]:
    """One replica of each kind with data-parallel attention; only for models with experts."""
    for data in _data_ranks(inputs, tensor):
        whole = inputs.expert_parallel is not False
        yield Parallelism.of(
            tensor, pipeline=inputs.pipeline or 1, data=data, expert_parallel=whole
        )


def _data_ranks(inputs: PlanInputs, tensor: int) -> Iterator[int]:
    if inputs.data is not None:
        if inputs.data > 1:
            yield inputs.data
        return
    engine, experts = inputs.engine, inputs.shape.experts
    mixed = engine.data_or_tensor and tensor > 1
    if experts is None or not engine.data_parallel or mixed or inputs.pipeline not in {None, 1}:
        return
    if head_problem(inputs.shape, tensor, expert_shards=1):
        return
    for ranks in _shared(inputs.cluster, experts.count, several=engine.several_machines):
        if ranks % tensor == 0 and ranks > tensor:
            yield ranks // tensor


def _shared(cluster: Cluster, experts: int, *, several: bool) -> Iterator[int]:
    """Ranks over which experts are spread: a part of a machine, or several whole machines.

    Those of a machine use all its devices, those of `several` hold as many experts each.
    """
    each, most = cluster.per_machine, MOST_MACHINES_A_GROUP * cluster.per_machine
    yield from (n for n in range(2, min(each, experts) + 1) if each % n == 0)
    if several:
        widest = min(experts, cluster.count, max(cluster.domain, most))
        yield from (n for n in range(2 * each, widest + 1, each) if experts % n == 0)


def _depths(inputs: PlanInputs, tensor: int) -> Iterator[int]:
    if inputs.pipeline:
        yield inputs.pipeline
        return
    yield 1
    if inputs.on_cpu or not inputs.engine.pipeline:
        return
    if head_problem(inputs.shape, tensor, expert_shards=1):
        return
    groups = group_capacity(inputs.cluster, tensor)
    for depth in range(2, min(groups, inputs.shape.layers) + 1):
        if depth <= SHALLOW or groups % depth == 0 or inputs.optimize == "fewest":
            yield depth


def _whole_experts(inputs: PlanInputs, tensor: int) -> Iterator[bool]:
    if tensor == 1 or inputs.shape.experts is None:
        yield False
    elif inputs.expert_parallel is not None:
        yield inputs.expert_parallel
    else:
        yield False
        heads_divide = head_problem(inputs.shape, tensor, expert_shards=1) is None
        if inputs.engine.expert_parallel and heads_divide:
            yield True


def _replicas(inputs: PlanInputs, most: int) -> Iterator[int]:
    if inputs.replicas:
        if inputs.replicas <= most:
            yield inputs.replicas
    elif most:
        yield most


def _refuse_count(inputs: PlanInputs) -> None:
    cluster, per_machine = inputs.cluster, inputs.cluster.per_machine
    asked = {
        "--tp": inputs.tensor,
        "--pp": inputs.pipeline,
        "--dp": inputs.data,
        "--replicas": inputs.replicas,
    }
    words = " ".join(f"{name} {value}" for name, value in asked.items() if value)
    one = Parallelism.of(inputs.tensor or 1, data=inputs.data or 1, pipeline=inputs.pipeline or 1)
    tensor, pipeline, most = one.stage_ranks, one.pipeline, _most_replicas(inputs, one)
    depth = _most_replicas(inputs, one.model_copy(update={"pipeline": 1}))
    several = cluster.machines > 1 and inputs.engine.several_machines
    wide = f"{per_machine}"
    if several:
        even = f"{per_machine}, or as many on each of several machines"
        wide = even if per_machine > 1 else f"{cluster.count}"
    if one.data_parallel and not most:
        works = f"--tp x --dp up to {wide}"
    elif most:
        of = f"--tp {tensor} --pp {pipeline}" if inputs.pipeline else f"--tp {tensor}"
        works = f"--replicas up to {most} with {of}"
    elif depth:
        works = f"--pp up to {depth} with --tp {tensor}"
    else:
        works = f"--tp up to {wide}"
    needed = one.ranks * (inputs.replicas or 1)
    short = "are too few" if needed > cluster.count else "make no such groups"
    raise InputError(
        f"{words}: {cluster.count} devices ({per_machine} per machine) {short}; what works: {works}"
    )
