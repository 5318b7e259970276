"""Candidate: one split of the devices into replicas, sized, predicted, or refused."""

from dataclasses import dataclass

from tpdeploy.planner.limits import DoesNotFit, kv_requests, size
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import Limits, MemoryPerGpu, Prediction
from tpdeploy.planner.prediction import predict
from tpdeploy.planner.question import Question, share_of_load
from tpdeploy.planner.serving import Engine, serve
from tpdeploy.planner.sharding import head_problem
from tpdeploy.planner.step import Step, StepTime, step_model


@dataclass(frozen=True)
class Candidate:
    """One split that fits, and what it is expected to do."""

    tensor: int
    replicas: int
    limits: Limits
    memory: MemoryPerGpu
    prediction: Prediction
    decode: StepTime  # one typical decode step under the load
    missed: tuple[str, ...]  # targets and rates it misses, in words


@dataclass(frozen=True)
class Refusal:
    """One split that cannot run, and why."""

    tensor: int
    replicas: int
    reason: str


def evaluate(question: Question, tensor: int, replicas: int) -> Candidate | Refusal:
    """Size and predict one split."""
    illegal = question.engine.refused_widths.get(tensor) or head_problem(question.shape, tensor)
    if illegal:
        return Refusal(tensor, replicas, illegal)
    try:
        limits, memory = size(question, tensor, replicas)
    except DoesNotFit as shortage:
        return Refusal(tensor, replicas, str(shortage))
    engine = Engine(
        step_model(
            question.shape,
            question.cluster,
            Parallelism(tensor=tensor, replicas=replicas),
            question.kv_cache_dtype,
        ),
        limits.max_num_seqs,
        limits.max_num_batched_tokens,
        kv_requests(question, tensor, limits.kv_cache_bytes),
    )
    share = share_of_load(question.workload, replicas)
    served = serve(engine, share)
    prediction = predict(question, engine.model, served, replicas)
    return Candidate(
        tensor=tensor,
        replicas=replicas,
        limits=limits,
        memory=memory,
        prediction=prediction,
        decode=engine.model.time(typical_decode(question, engine, replicas)),
        missed=tuple(missed(question, prediction, served.keeps_up)),
    )


def typical_decode(question: Question, engine: Engine, replicas: int) -> Step:
    """The decode step of a replica at its share of the load, requests half answered."""
    workload = question.workload
    clients = share_of_load(workload, replicas).concurrency or engine.running_limit
    return Step(
        decode_sequences=min(clients, engine.running_limit),
        decode_context=workload.input_tokens + workload.output_tokens / 2,
    )


def missed(question: Question, prediction: Prediction, keeps_up: bool) -> list[str]:
    """The targets `prediction` misses, in words."""
    workload = question.workload
    found = []
    for name, target, estimate in (
        ("TTFT", workload.ttft, prediction.ttft_ms),
        ("TPOT", workload.tpot, prediction.tpot_ms),
    ):
        if target is not None and estimate.value > target.ms:
            found.append(
                f"{name} {target.at} {estimate.value:,.1f} ms misses the target {target.ms:,g} ms"
            )
    if not keeps_up:
        served = prediction.requests_per_s.value
        found.append(f"serves {served:.2f} of {workload.rate:g} requests/s, the queue grows")
    return found
