"""Candidate: one split of the devices into replicas, sized, predicted, or refused."""

from dataclasses import dataclass, field
from functools import lru_cache

from tpdeploy.numbers import duration
from tpdeploy.planner.engine_rules import OwnKernels
from tpdeploy.planner.inputs import PlanInputs, share_of_load
from tpdeploy.planner.memory.sizing import DoesNotFit, Sized, size
from tpdeploy.planner.model.stages import split_problem
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.performance.assembly import step_model
from tpdeploy.planner.performance.step import Step, StepTime
from tpdeploy.planner.performance.step_model import StepModel
from tpdeploy.planner.plan import Limits, MemoryPerGpu, Prediction
from tpdeploy.planner.serving.prediction import predict
from tpdeploy.planner.serving.scheduler import Engine
from tpdeploy.planner.serving.simulation import Served, serve
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.models.shape import ModelShape
from tpdeploy.profiles.record import Dtype

# Where the fewest devices are looked for, a queue that is longer than its answers is too little.
LEAST_DEVICES = {"cost", "fewest"}
# Searches under another load, or with smaller steps, come back to the same replicas.
MODELS_KEPT = 32


@dataclass(frozen=True)
class Prepared:
    """One split that fits, ready to be simulated."""

    parallelism: Parallelism
    sized: Sized
    replica: Engine


@dataclass(frozen=True)
class Candidate:
    """One split that fits, with its prediction."""

    parallelism: Parallelism
    replica: Engine
    limits: Limits
    memory: MemoryPerGpu
    kv_requests: int  # requests of the workload's mean length that a replica's KV cache holds
    prediction: Prediction
    served: Served  # by the busiest replica
    decode: StepTime  # the mean decode step under the load
    missed: tuple[str, ...]  # targets and rates it misses, in words

    @property
    def tensor(self) -> int:
        """Its tensor-parallel width."""
        return self.parallelism.tensor

    @property
    def replicas(self) -> int:
        """Number of replicas."""
        return self.parallelism.replicas

    @property
    def tokens_per_s(self) -> float:
        """Output tokens/s of all replicas together."""
        return self.prediction.output_tokens_per_s.value

    @property
    def tokens_per_s_per_device(self) -> float:
        """Output tokens/s of each device it uses."""
        return self.tokens_per_s / self.parallelism.devices


@dataclass(frozen=True)
class Refusal:
    """One split that cannot run, and why."""

    parallelism: Parallelism
    reason: str
    does_not_fit: bool = False  # whether memory is what it lacks


def evaluate(
    inputs: PlanInputs, parallelism: Parallelism, model: StepModel | None = None
) -> Candidate | Refusal:
    """Size and predict one split; `model` is the replica's step model if it exists already."""
    prepared = prepare(inputs, parallelism, model)
    return prepared if isinstance(prepared, Refusal) else simulate(inputs, prepared)


def prepare(
    inputs: PlanInputs, parallelism: Parallelism, model: StepModel | None = None
) -> Prepared | Refusal:
    """Size one split; `model` is the replica's step model if it exists already."""
    problem = engine_problem(inputs, parallelism) or split_problem(inputs.shape, parallelism)
    if problem:
        return Refusal(parallelism, problem)
    try:
        sized = size(inputs, parallelism)
    except DoesNotFit as shortage:
        return Refusal(parallelism, str(shortage), does_not_fit=True)
    serving = inputs.cluster.efficiency.serving
    engine, kv = inputs.engine, inputs.engine.kv_allocation
    replica = Engine(
        model or _step_model(inputs, parallelism),
        sized.limits.max_num_seqs,
        sized.limits.max_num_batched_tokens,
        kv_tokens=sized.kv_room.tokens,
        lanes=parallelism.lanes,
        prefill_priority=engine.prefill_priority,
        async_scheduling=engine.async_scheduling,
        turnaround_s=serving.turnaround_s,
        request_s=serving.request_s,
        data=parallelism.data,
        prompt_wait_steps=engine.prompt_wait_steps if parallelism.data_parallel else 0,
        kv_fixed_tokens=sized.kv_room.fixed_tokens,
        block_tokens=kv.block_tokens,
        whole_requests=kv.whole_requests,
        reuses_blocks=kv.reuses and inputs.shape.linear is None,
    )
    return Prepared(parallelism, sized, replica)


@dataclass(frozen=True)
class _Serving:
    """Everything that the time of a step depends on."""

    parallelism: Parallelism  # of one replica
    kv_cache_dtype: Dtype
    eager: bool
    own: OwnKernels
    # They have no hash, and are compared by all that they hold.
    shape: ModelShape = field(hash=False)
    cluster: Cluster = field(hash=False)


def _step_model(inputs: PlanInputs, parallelism: Parallelism) -> StepModel:
    one = parallelism.with_replicas(1)
    kernels, eager = inputs.engine.own_kernels, inputs.graphless
    return _known(
        _Serving(one, inputs.kv_cache_dtype, eager, kernels, inputs.shape, inputs.cluster)
    )


@lru_cache(maxsize=MODELS_KEPT)
def _known(serving: _Serving) -> StepModel:
    return step_model(
        serving.shape,
        serving.cluster,
        serving.parallelism,
        serving.kv_cache_dtype,
        eager=serving.eager,
        own=serving.own,
    )


def simulate(inputs: PlanInputs, prepared: Prepared) -> Candidate:
    """Predict one split that fits."""
    replica, replicas = prepared.replica, prepared.parallelism.replicas
    served = serve(replica, share_of_load(inputs.workload, replicas), inputs.protocol)
    prediction = predict(inputs, replica.model, served, replicas)
    return Candidate(
        parallelism=prepared.parallelism,
        replica=replica,
        limits=prepared.sized.limits,
        memory=prepared.sized.memory,
        kv_requests=prepared.sized.kv_requests,
        prediction=prediction,
        served=served,
        decode=replica.model.time(mean_decode(served, prepared.parallelism.data)),
        missed=tuple(missed(inputs, prediction, served, replicas)),
    )


def _overrun(rate: float, capacity: float) -> str:
    """Why a request rate cannot be sustained, in words."""
    if rate >= capacity:
        return f"serves {capacity:.2f} of {rate:g} requests/s, the queue grows"
    return f"{rate:g} requests/s are {rate / capacity:.0%} of what it serves at most: waits grow"


def engine_problem(inputs: PlanInputs, parallelism: Parallelism) -> str | None:
    """Why the engine of the question cannot run such a split, in words; None if it can."""
    engine = inputs.engine
    if parallelism.pipelined and not engine.pipeline:
        return f"{engine.name} runs no pipeline stages here"
    if parallelism.data_parallel and not engine.data_parallel:
        return f"{engine.name} has no data-parallel attention here"
    if parallelism.data_parallel and engine.data_or_tensor and parallelism.tensor > 1:
        return f"attention of {engine.name} is either data-parallel or tensor-parallel"
    if parallelism.expert_parallel and not engine.expert_parallel:
        return f"{engine.name} has no expert parallelism here"
    if parallelism.expert_parallel or parallelism.data_parallel:
        return None  # widths are refused for what they cut, and whole experts are not cut
    return engine.refused_widths.get(parallelism.tensor)


def mean_decode(served: Served, data: int) -> Step:
    """The mean decode step of what was served, on each of `data` ranks."""
    sequences = max(1, round(served.decode_sequences))
    return Step(sequences, served.decode_context, elsewhere=(data - 1) * sequences)


def missed(inputs: PlanInputs, prediction: Prediction, served: Served, replicas: int) -> list[str]:
    """The targets `prediction` misses, in words."""
    workload = inputs.workload
    found = []
    for name, target, estimate in (
        ("TTFT", workload.ttft, prediction.ttft_ms),
        ("TPOT", workload.tpot, prediction.tpot_ms),
    ):
        if target is not None and estimate.value > target.ms:
            found.append(
                f"{name} {target.at} {duration(estimate.value)} misses the target {target.ms:,g} ms"
            )
    if served.full_per_s is not None:
        found.append(_overrun(workload.rate or 0.0, served.full_per_s * replicas))
    elif inputs.optimize in LEAST_DEVICES and served.waits_longest:
        found.append(
            f"requests wait {served.waiting_s:,.1f} s to be begun, longer than the "
            f"{served.running_s:,.1f} s they run"
        )
    return found
