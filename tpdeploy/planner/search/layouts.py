"""Splits: the ways to use the devices that are tried, and those that are impossible."""

from collections.abc import Iterator
from itertools import product

from tpdeploy.errors import InputError
from tpdeploy.planner.model.sharding import head_problem
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.question import Question
from tpdeploy.planner.search.placement import group_capacity, replica_capacity

# Depths up to this one are looked at even where they leave devices idle.
SHALLOW = 8


def splits(question: Question) -> list[Parallelism]:
    """Every split that the stated options allow, with as many replicas as fit unless stated.

    A tensor-parallel group stays within one machine. Deep pipelines are tried if they use as many
    devices as tensor parallelism alone, or if the fewest devices are asked for. Expert parallelism,
    and data-parallel attention within one machine, are tried for every model with experts.

    Raises:
        InputError: the user's choices need more devices than there are.
    """
    per_machine = question.cluster.per_machine
    widths = [question.tensor] if question.tensor else range(1, per_machine + 1)
    found = [split for width in widths for split in _of_width(question, width)]
    if not found:
        _refuse_count(question)
    return found


def _of_width(question: Question, tensor: int) -> Iterator[Parallelism]:
    for one in (*_replica_shapes(question, tensor), *_data_parallel(question, tensor)):
        # Data ranks stay within a machine: over a network every layer with experts would wait.
        several_machines = question.engine.several_machines and not one.data_parallel
        most = replica_capacity(
            question.cluster, one.stage_ranks, one.pipeline, several_machines=several_machines
        )
        for replicas in _replicas(question, most):
            yield one.with_replicas(replicas)


def _replica_shapes(question: Question, tensor: int) -> Iterator[Parallelism]:
    """One replica of each kind whose attention is not data-parallel."""
    if question.data not in {None, 1}:
        return
    for pipeline, whole in product(_depths(question, tensor), _whole_experts(question, tensor)):
        yield Parallelism.of(tensor, pipeline=pipeline, expert_parallel=whole)


def _data_parallel(question: Question, tensor: int) -> Iterator[Parallelism]:
    """One replica of each kind with data-parallel attention; only for models with experts."""
    for data in _data_ranks(question, tensor):
        whole = question.expert_parallel is not False
        yield Parallelism.of(
            tensor, pipeline=question.pipeline or 1, data=data, expert_parallel=whole
        )


def _data_ranks(question: Question, tensor: int) -> Iterator[int]:
    if question.data is not None:
        if question.data > 1:
            yield question.data
        return
    engine, experts, devices = question.engine, question.shape.experts, question.cluster.per_machine
    mixed = engine.data_or_tensor and tensor > 1
    if experts is None or not engine.data_parallel or mixed or question.pipeline not in {None, 1}:
        return
    if head_problem(question.shape, tensor, expert_shards=1):
        return
    for data in range(2, min(devices // tensor, experts.count // tensor) + 1):
        if devices % (tensor * data) == 0:
            yield data


def _depths(question: Question, tensor: int) -> Iterator[int]:
    if question.pipeline:
        yield question.pipeline
        return
    yield 1
    if question.on_cpu or not question.engine.pipeline:
        return
    if head_problem(question.shape, tensor, expert_shards=1):
        return
    groups = group_capacity(question.cluster, tensor)
    for depth in range(2, min(groups, question.shape.layers) + 1):
        if depth <= SHALLOW or groups % depth == 0 or question.optimize == "fewest":
            yield depth


def _whole_experts(question: Question, tensor: int) -> Iterator[bool]:
    if tensor == 1 or question.shape.experts is None:
        yield False
    elif question.expert_parallel is not None:
        yield question.expert_parallel
    else:
        yield False
        heads_divide = head_problem(question.shape, tensor, expert_shards=1) is None
        if question.engine.expert_parallel and heads_divide:
            yield True


def _replicas(question: Question, most: int) -> Iterator[int]:
    if question.replicas:
        if question.replicas <= most:
            yield question.replicas
    elif most:
        yield most


def _refuse_count(question: Question) -> None:
    cluster, per_machine = question.cluster, question.cluster.per_machine
    asked = {
        "--tp": question.tensor,
        "--pp": question.pipeline,
        "--dp": question.data,
        "--replicas": question.replicas,
    }
    words = " ".join(f"{name} {value}" for name, value in asked.items() if value)
    tensor, pipeline = (question.tensor or 1) * (question.data or 1), question.pipeline or 1
    most = replica_capacity(cluster, tensor, pipeline)
    depth = group_capacity(cluster, tensor)
    if (question.data or 1) > 1 and not most:
        works = f"--tp x --dp up to {per_machine}"
    elif most:
        of = f"--tp {tensor} --pp {pipeline}" if question.pipeline else f"--tp {tensor}"
        works = f"--replicas up to {most} with {of}"
    elif depth:
        works = f"--pp up to {depth} with --tp {tensor}"
    else:
        works = f"--tp up to {per_machine}"
    raise InputError(
        f"{words}: {cluster.count} devices ({per_machine} per machine) are too few; "
        f"what works: {works}"
    )
