"""Splits: every way to use the devices that is worth a look, and what cannot be had at all."""

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
    """Every split the user's choices allow: as many replicas as fit, unless the user says.

    Tensor parallelism stays within a node. Deep pipelines are looked at where they use every device
    that tensor parallelism alone would, or where fewest devices are asked for; whole experts on
    each rank wherever there are experts.

    Raises:
        InputError: the user's choices need more devices than there are.
    """
    per_node = question.cluster.count // question.cluster.nodes
    widths = [question.tensor] if question.tensor else range(1, per_node + 1)
    found = [split for width in widths for split in _of_width(question, width)]
    if not found:
        _refuse_count(question)
    return found


def _of_width(question: Question, tensor: int) -> Iterator[Parallelism]:
    for pipeline, whole in product(_depths(question, tensor), _whole_experts(question, tensor)):
        most = replica_capacity(
            question.cluster, tensor, pipeline, multi_node=question.engine.multi_node
        )
        for replicas in _replicas(question, most):
            yield Parallelism.of(
                tensor, pipeline=pipeline, expert_parallel=whole, replicas=replicas
            )


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
    cluster, per_node = question.cluster, question.cluster.count // question.cluster.nodes
    asked = {"--tp": question.tensor, "--pp": question.pipeline, "--replicas": question.replicas}
    words = " ".join(f"{name} {value}" for name, value in asked.items() if value)
    tensor, pipeline = question.tensor or 1, question.pipeline or 1
    most = replica_capacity(cluster, tensor, pipeline)
    depth = group_capacity(cluster, tensor)
    if most:
        of = f"--tp {tensor} --pp {pipeline}" if question.pipeline else f"--tp {tensor}"
        works = f"--replicas up to {most} with {of}"
    elif depth:
        works = f"--pp up to {depth} with --tp {tensor}"
    else:
        works = f"--tp up to {per_node}"
    raise InputError(
        f"{words}: {cluster.count} devices ({per_node} a node) are too few; what works: {works}"
    )
