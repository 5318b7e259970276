"""Engine-neutral limits: step size, sequences, context, and the KV cache they leave room for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil, copysign, inf
from operator import itemgetter

from tpdeploy.planner.inputs import PlanInputs, share_of_load
from tpdeploy.planner.memory.footprint import (
    DRIVER_BYTES,
    GIB,
    MIB,
    MemoryNeeds,
    StepSize,
    longest_context,
    memory_needs,
    room_for_kv,
)
from tpdeploy.planner.model.kv_cache import request_bytes
from tpdeploy.planner.model.stages import (
    Stage,
    encoder_bytes,
    stage_in_flight_bytes,
    stage_request_bytes,
    stages,
)
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import Limits, MemoryPerGpu

# vLLM's own defaults by card, passed explicitly so that a plan means the same everywhere.
BATCHED_TOKENS_BY_MEMORY = ((160 * GIB, 16384), (70 * GIB, 8192), (0, 2048))
SEQUENCES = 256
# More clients than that wait for a place; vLLM's largest default.
MOST_SEQUENCES = 1024
CPU_SEQUENCES = 16
# An engine does not start if its KV cache holds less than the longest request it is told. Of 24
# start-up logs of vLLM 0.6 to 0.31 on 17 kinds of GPUs other than H100, 19 had at most so much less
# KV cache than predicted (docs/methodology.md).
KV_MARGIN_BYTES = 512 * MIB
LEAST_GROWTH = 1e-3  # of a request's KV with a token, as a share of what it holds for each


class DoesNotFit(Exception):  # noqa: N818 - an outcome of planning, not a failure
    """The model and one request do not fit; the message says by how much."""


@dataclass(frozen=True)
class KvRoom:
    """The KV cache of a data rank in tokens, and what a request holds beside its own.

    A request of the workload's lengths holds more with each token of its answer, and from the
    beginning full windows and states: `fixed_tokens` are worth as much.
    """

    tokens: float
    fixed_tokens: int


@dataclass(frozen=True)
class Sized:
    """A replica that fits: its limits, the memory of its fullest rank, and its KV cache."""

    limits: Limits
    memory: MemoryPerGpu
    held: float  # requests of the workload's mean length that its KV caches hold at once
    kv_room: KvRoom

    @property
    def kv_requests(self) -> int:
        """Whole requests of the workload's mean length that it holds at once."""
        return int(self.held)


@dataclass(frozen=True)
class Tightest:
    """The stage of a replica that holds the fewest tokens of KV, and what a rank of it needs."""

    stage: Stage
    needs: MemoryNeeds
    room: float  # bytes left for KV cache; negative when even the weights do not fit


def step_size(
    inputs: PlanInputs, parallelism: Parallelism, most_sequences: int = MOST_SEQUENCES
) -> StepSize:
    """The largest step of a data rank: enough sequences for its load, tokens as asked or by memory.

    Engines refuse a step of fewer tokens than sequences: the tokens that were asked for count.
    """
    memory = inputs.cluster.accelerator.peaks.memory_bytes
    fitting = next(tokens for least, tokens in BATCHED_TOKENS_BY_MEMORY if memory >= least)
    tokens = inputs.max_num_batched_tokens or fitting
    of_replica = share_of_load(inputs.workload, parallelism.replicas).concurrency or 0
    clients = ceil(of_replica / parallelism.data)
    most = min(clients, most_sequences, MOST_SEQUENCES)
    usual = max(most, CPU_SEQUENCES if inputs.on_cpu else SEQUENCES)
    sequences = inputs.max_num_seqs or usual
    if inputs.max_num_batched_tokens:
        return StepSize(tokens, min(tokens, sequences))
    return StepSize(max(tokens, sequences), sequences)


def size(inputs: PlanInputs, parallelism: Parallelism) -> Sized:
    """Limits of a replica, the memory of a rank of its tightest stage, and its KV cache.

    Raises:
        DoesNotFit: no room for the weights and one request of the workload.
    """
    step = _step_held(inputs, parallelism)
    tightest = tightest_stage(inputs, parallelism, step)
    wanted = inputs.max_model_len or inputs.workload.longest_tokens
    needed = partial(_needed, inputs, parallelism, tightest.stage, step)
    least = needed(wanted)
    if tightest.room < least:
        raise DoesNotFit(_shortage(inputs, tightest, least))
    kv_bytes = tightest.room
    if inputs.on_cpu:
        kv_bytes = _kv_on_cpu(inputs, parallelism, step, tightest.room)
    limits = Limits(
        max_model_len=inputs.max_model_len or _longest(inputs, needed, kv_bytes),
        max_num_seqs=step.sequences,
        max_num_batched_tokens=step.batched_tokens,
        memory_fraction=inputs.memory_share,
        kv_cache_bytes=int(kv_bytes),
        enforce_eager=inputs.enforce_eager,
    )
    stage = tightest.stage
    one = kv_bytes_of(inputs, parallelism, stage, inputs.workload.context_tokens)
    in_flight = _in_flight(inputs, parallelism, stage, step, inputs.workload.longest_tokens)
    room = max(one, kv_bytes - in_flight)
    held = parallelism.data * room / one
    longest = inputs.shape.max_context
    memory = _memory(inputs, parallelism, tightest, kv_bytes, needed(longest) / longest)
    return Sized(limits, memory, held, _kv_room(inputs, parallelism, stage, room))


def _needed(
    inputs: PlanInputs, parallelism: Parallelism, stage: Stage, step: StepSize, tokens: int
) -> float:
    """Bytes of KV cache without which an engine refuses to start for requests of `tokens`."""
    one = kv_bytes_of(inputs, parallelism, stage, tokens)
    return one + _in_flight(inputs, parallelism, stage, step, tokens)


def _in_flight(
    inputs: PlanInputs, parallelism: Parallelism, stage: Stage, step: StepSize, tokens: int
) -> float:
    """Bytes that windows hold while a request of `tokens` is read.

    vLLM gives back what left a window when a step has ended: as many steps are under way as there
    are stages, and one more where the next is scheduled meanwhile. Without windows it is nothing.
    """
    rules = inputs.engine
    if rules.kv_allocation.whole_requests:
        return 0.0
    steps = parallelism.pipeline + rules.async_scheduling
    most = min(steps * step.batched_tokens, tokens)
    shards, dtype = parallelism.kv_shards, inputs.kv_cache_dtype
    return stage_in_flight_bytes(inputs.shape, stage, most, shards, dtype)


def _longest(inputs: PlanInputs, needed: Callable[[int], float], kv_bytes: float) -> int:
    """The longest request, in tokens, that the cache holds with KV_MARGIN_BYTES to spare.

    Never less than the load's own longest one, and on a CPU, where the cache has a stated size,
    with nothing to spare.
    """
    spare = 0 if inputs.on_cpu else KV_MARGIN_BYTES
    longest = longest_context(inputs.shape.max_context, needed, kv_bytes - spare)
    return max(longest, inputs.workload.longest_tokens)


def _kv_room(inputs: PlanInputs, parallelism: Parallelism, stage: Stage, room: float) -> KvRoom:
    workload = inputs.workload
    whole, prompt = (
        kv_bytes_of(inputs, parallelism, stage, tokens)
        for tokens in (workload.context_tokens, workload.input_tokens)
    )
    # States alone never grow: a token is then worth next to nothing.
    least = LEAST_GROWTH * whole / workload.context_tokens
    token = max(least, (whole - prompt) / workload.output_tokens)
    return KvRoom(room / token, round(whole / token) - workload.context_tokens)


def _step_held(inputs: PlanInputs, parallelism: Parallelism) -> StepSize:
    """The largest step; more sequences than usual only where the KV cache holds so many.

    Every sequence of a step takes memory from the cache: beyond what it holds they only shrink it.
    """
    asked = step_size(inputs, parallelism)
    usual = step_size(inputs, parallelism, SEQUENCES)
    if asked.sequences <= usual.sequences or inputs.on_cpu:
        return asked
    tightest = tightest_stage(inputs, parallelism, usual)
    one = kv_bytes_of(inputs, parallelism, tightest.stage, inputs.workload.context_tokens)
    return step_size(inputs, parallelism, max(usual.sequences, int(tightest.room / one)))


def tightest_stage(inputs: PlanInputs, parallelism: Parallelism, step: StepSize) -> Tightest:
    """The stage whose ranks have room for the fewest requests; every stage holds as many tokens."""
    device, found = inputs.cluster.accelerator, []
    tokens = inputs.workload.context_tokens
    for stage in set(stages(inputs.shape, parallelism.pipeline)):
        needs = memory_needs(
            inputs.shape,
            parallelism,
            stage,
            step,
            device,
            overheads=inputs.engine.overheads,
            eager=inputs.enforce_eager,
        )
        room = room_for_kv(
            needs,
            usable_bytes(inputs),
            inputs.memory_share,
            inputs.engine.fraction_of,
        )
        one = kv_bytes_of(inputs, parallelism, stage, tokens)
        found.append((room / one if one else copysign(inf, room), Tightest(stage, needs, room)))
    return min(found, key=itemgetter(0))[1]


def usable_bytes(inputs: PlanInputs) -> int:
    """Device memory that the driver makes available, in bytes."""
    device = inputs.cluster.accelerator
    kept = DRIVER_BYTES if device.platform == "cuda" else 0
    return device.peaks.memory_bytes - kept


def kv_bytes_of(inputs: PlanInputs, parallelism: Parallelism, stage: Stage, tokens: float) -> float:
    """Bytes one request of `tokens` holds on a rank of `stage`."""
    shards, dtype = parallelism.kv_shards, inputs.kv_cache_dtype
    return stage_request_bytes(inputs.shape, stage, tokens, shards, dtype)


def _kv_on_cpu(inputs: PlanInputs, parallelism: Parallelism, step: StepSize, room: float) -> float:
    """On a CPU the KV cache has a stated size: what the load needs, in whole GiB."""
    tokens = inputs.max_model_len or inputs.workload.context_tokens
    one = request_bytes(inputs.shape, tokens, parallelism.kv_shards, inputs.kv_cache_dtype)
    wanted = ceil(step.sequences * one / GIB) * GIB
    return float(max(GIB, min(wanted, room // GIB * GIB)))


def _memory(
    inputs: PlanInputs,
    parallelism: Parallelism,
    tightest: Tightest,
    kv_bytes: float,
    token_bytes: float,
) -> MemoryPerGpu:
    """What each part of a rank's memory takes; `token_bytes` of KV are one token's."""
    needs = tightest.needs
    total = inputs.cluster.accelerator.peaks.memory_bytes
    used = [int(part) for part in (needs.weights, kv_bytes, needs.activations)]
    fixed = [int(part) for part in (needs.graphs, needs.communicators)]
    fixed.append(int(needs.libraries + needs.context))
    return MemoryPerGpu(
        total_bytes=total,
        weights_bytes=used[0],
        encoder_bytes=int(encoder_bytes(inputs.shape, parallelism)),
        kv_cache_bytes=used[1],
        activation_bytes=used[2],
        graph_bytes=fixed[0],
        communicator_bytes=fixed[1],
        context_bytes=fixed[2],
        reserved_bytes=max(0, total - sum(used) - sum(fixed)),
        kv_cache_tokens=int(parallelism.data * kv_bytes / token_bytes),
    )


def _shortage(inputs: PlanInputs, tightest: Tightest, least: float) -> str:
    needs = tightest.needs
    share = inputs.memory_share if inputs.engine.fraction_of == "total" else 1
    usable = usable_bytes(inputs) * share
    have = f"{usable / GIB:.1f} GiB per {inputs.device} may be used"
    if needs.weights > usable:
        return f"does not fit: the weights alone take {needs.weights / GIB:.1f} GiB, {have}"
    tokens = inputs.max_model_len or inputs.workload.longest_tokens
    left = max(0.0, tightest.room) / GIB
    return (
        f"does not fit: {have}; weights take {needs.weights / GIB:.1f} and the engine "
        f"{(needs.counted - needs.weights) / GIB:.1f}, which leaves {left:.1f} GiB for KV where "
        f"one request of {tokens:,} tokens needs {least / GIB:.2f}"
    )
