"""Engine-neutral limits: step size, sequences, context, and the KV cache they leave room for."""

from math import ceil

from tpdeploy.planner.kv_cache import request_bytes
from tpdeploy.planner.memory import GIB, MemoryNeeds, StepSize, longest_context, memory_needs
from tpdeploy.planner.plan import Limits, MemoryPerGpu
from tpdeploy.planner.question import Question, share_of_load

# vLLM's own defaults by card, passed explicitly so that a plan means the same everywhere.
BATCHED_TOKENS_BY_MEMORY = ((160 * GIB, 16384), (70 * GIB, 8192), (0, 2048))
SEQUENCES = 256
CPU_SEQUENCES = 16


class DoesNotFit(Exception):  # noqa: N818 - an outcome of planning, not a failure
    """The model and one request do not fit; the message says by how much."""


def step_size(question: Question, replicas: int) -> StepSize:
    """The largest step: enough sequences for the load, tokens by the device's memory."""
    memory = question.cluster.accelerator.peaks.memory_bytes
    tokens = next(tokens for least, tokens in BATCHED_TOKENS_BY_MEMORY if memory >= least)
    clients = share_of_load(question.workload, replicas).concurrency or 0
    sequences = max(clients, CPU_SEQUENCES if question.on_cpu else SEQUENCES)
    return StepSize(max(tokens, sequences), sequences)


def size(question: Question, tp: int, replicas: int) -> tuple[Limits, MemoryPerGpu]:
    """Limits and memory of one rank of a replica of `tp` devices.

    Raises:
        DoesNotFit: no room for the weights and one request of the workload.
    """
    shape, step = question.shape, step_size(question, replicas)
    total = question.cluster.accelerator.peaks.memory_bytes
    usable = total * question.engine.memory_fraction
    needs = memory_needs(shape, tp, step, on_cpu=question.on_cpu)
    room = usable - needs.total
    wanted = question.max_model_len or question.workload.context_tokens
    least = request_bytes(shape, wanted, tp, question.kv_cache_dtype)
    if room < least:
        raise DoesNotFit(_shortage(question, needs, usable, least))
    kv_bytes = _kv_on_cpu(question, tp, step, room) if question.on_cpu else room
    longest = longest_context(shape, tp, question.kv_cache_dtype, kv_bytes)
    limits = Limits(
        max_model_len=question.max_model_len or longest,
        max_num_seqs=step.sequences,
        max_num_batched_tokens=step.batched_tokens,
        memory_fraction=question.engine.memory_fraction,
        kv_cache_bytes=int(kv_bytes),
    )
    return limits, _memory(question, tp, needs, total, kv_bytes)


def kv_requests(question: Question, tp: int, kv_bytes: float) -> int:
    """Requests of the workload's full length that the KV cache holds at once."""
    tokens = question.workload.context_tokens
    one = request_bytes(question.shape, tokens, tp, question.kv_cache_dtype)
    return int(kv_bytes // one)


def _kv_on_cpu(question: Question, tp: int, step: StepSize, room: float) -> float:
    """On a CPU the KV cache is asked for by size: what the load needs, in whole GiB."""
    tokens = question.max_model_len or question.workload.context_tokens
    one = request_bytes(question.shape, tokens, tp, question.kv_cache_dtype)
    wanted = ceil(step.sequences * one / GIB) * GIB
    return float(max(GIB, min(wanted, room // GIB * GIB)))


def _memory(
    question: Question, tp: int, needs: MemoryNeeds, total: int, kv_bytes: float
) -> MemoryPerGpu:
    shape, parts = question.shape, needs
    used = int(parts.weights), int(kv_bytes), int(parts.activations)
    fixed = int(parts.graphs), int(parts.communicators), int(parts.context)
    per_token = request_bytes(shape, shape.max_context, tp, question.kv_cache_dtype)
    return MemoryPerGpu(
        total_bytes=total,
        weights_bytes=used[0],
        kv_cache_bytes=used[1],
        activation_bytes=used[2],
        graph_bytes=fixed[0],
        communicator_bytes=fixed[1],
        context_bytes=fixed[2],
        reserved_bytes=max(0, total - sum(used) - sum(fixed)),
        kv_cache_tokens=int(kv_bytes / per_token * shape.max_context),
    )


def _shortage(question: Question, needs: MemoryNeeds, usable: float, least: float) -> str:
    have = f"{usable / GIB:.1f} GiB a {question.device} may be used"
    if needs.weights > usable:
        return f"does not fit: the weights alone take {needs.weights / GIB:.1f} GiB, {have}"
    tokens = question.max_model_len or question.workload.context_tokens
    left = max(0.0, usable - needs.total) / GIB
    return (
        f"does not fit: {have}; weights take {needs.weights / GIB:.1f} and the engine "
        f"{(needs.total - needs.weights) / GIB:.1f}, which leaves {left:.1f} GiB for KV where one "
        f"request of {tokens:,} tokens needs {least / GIB:.2f}"
    )
