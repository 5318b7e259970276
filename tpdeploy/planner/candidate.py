"""Candidate: one split of the devices into replicas, sized, predicted, or refused."""

from dataclasses import dataclass

from tpdeploy.planner.limits import DoesNotFit, Sized, size
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import Limits, MemoryPerGpu, Prediction
from tpdeploy.planner.prediction import predict
from tpdeploy.planner.question import Question, share_of_load
from tpdeploy.planner.serving import Engine, serve
from tpdeploy.planner.stages import split_problem
from tpdeploy.planner.step import Step, StepTime
from tpdeploy.planner.step_model import step_model


@dataclass(frozen=True)
class Prepared:
    """One split that fits, ready to be simulated.

    A pipeline of P stages has P batches in flight, each on another stage: it serves as P lanes,
    each with a P-th of the replica's clients and KV cache and with steps over all layers.
    """

    parallelism: Parallelism
    sized: Sized
    lane: Engine

    @property
    def lanes(self) -> int:
        """Lanes of all replicas."""
        return self.parallelism.replicas * self.parallelism.pipeline


@dataclass(frozen=True)
class Candidate:
    """One split that fits, and what it is expected to do."""

    parallelism: Parallelism
    limits: Limits
    memory: MemoryPerGpu
    kv_requests: int  # requests of the workload's full length that a replica's KV cache holds
    prediction: Prediction
    decode: StepTime  # one typical decode step under the load
    missed: tuple[str, ...]  # targets and rates it misses, in words

    @property
    def tensor(self) -> int:
        """Its tensor-parallel width."""
        return self.parallelism.tensor

    @property
    def replicas(self) -> int:
        """Its replicas."""
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

    @property
    def does_not_fit(self) -> bool:
        """Whether memory is what it lacks."""
        return self.reason.startswith("does not fit")


def evaluate(question: Question, parallelism: Parallelism) -> Candidate | Refusal:
    """Size and predict one split."""
    prepared = prepare(question, parallelism)
    return prepared if isinstance(prepared, Refusal) else simulate(question, prepared)


def prepare(question: Question, parallelism: Parallelism) -> Prepared | Refusal:
    """Size one split."""
    problem = engine_problem(question, parallelism) or split_problem(question.shape, parallelism)
    if problem:
        return Refusal(parallelism, problem)
    try:
        sized = size(question, parallelism)
    except DoesNotFit as shortage:
        return Refusal(parallelism, str(shortage))
    lanes = parallelism.pipeline
    lane = Engine(
        step_model(question.shape, question.cluster, parallelism, question.kv_cache_dtype),
        max(1, sized.limits.max_num_seqs // lanes),
        sized.limits.max_num_batched_tokens,
        max(1, sized.kv_requests // lanes),
        question.engine.prompts_first,
        question.engine.steps_ahead,
        question.cluster.efficiency.serving.turnaround_s,
        question.cluster.efficiency.serving.request_s,
    )
    return Prepared(parallelism, sized, lane)


def simulate(question: Question, prepared: Prepared) -> Candidate:
    """Predict one split that fits."""
    lane, lanes = prepared.lane, prepared.lanes
    served = serve(lane, share_of_load(question.workload, lanes), question.protocol)
    prediction = predict(question, lane.model, served, lanes)
    return Candidate(
        parallelism=prepared.parallelism,
        limits=prepared.sized.limits,
        memory=prepared.sized.memory,
        kv_requests=prepared.sized.kv_requests,
        prediction=prediction,
        decode=lane.model.time(typical_decode(question, prepared)),
        missed=tuple(missed(question, prediction, served.keeps_up)),
    )


def engine_problem(question: Question, parallelism: Parallelism) -> str | None:
    """Why the engine of the question cannot run such a split, in words; None if it can."""
    engine = question.engine
    if parallelism.pipeline > 1 and not engine.pipeline:
        return f"{engine.name} runs no pipeline stages here"
    if parallelism.expert > 1 and not engine.whole_experts:
        return f"{engine.name} has no expert parallelism here"
    if parallelism.expert > 1:
        return None  # widths are refused for what they cut, and whole experts are not cut
    return engine.refused_widths.get(parallelism.tensor)


def typical_decode(question: Question, prepared: Prepared) -> Step:
    """The decode step of a lane at its share of the load, requests half answered."""
    workload, lane = question.workload, prepared.lane
    clients = share_of_load(workload, prepared.lanes).concurrency or lane.running_limit
    return Step(
        decode_sequences=min(clients, lane.running_limit),
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
