"""Real replicas, as the planner sizes them and as the plain simulator takes them."""

from dataclasses import dataclass
from typing import Any

from tests.planner.questions import ask
from tests.simulator.plain import Engine, EngineLimits, Lengths
from tpdeploy.planner.candidate import Prepared, prepare
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.question import EngineRules, Question
from tpdeploy.planner.workload import Workload

SPREAD = 0.2
PROMPT, ANSWER = 1024, 256


def load(**of: Any) -> Workload:
    """Prompts of 1,024 tokens and answers of 256, both drawn with the default spread."""
    fields = {"input_tokens": PROMPT, "output_tokens": ANSWER, **of}
    if "length_spread" in Workload.model_fields:
        fields.setdefault("length_spread", SPREAD)
    return Workload.model_validate(fields)


@dataclass(frozen=True)
class Replica:
    """One replica of `model` on `tensor` GPUs, of an engine that may make steps ahead."""

    model: str
    gpus: str
    tensor: int
    steps_ahead: bool = True
    prompts_first: bool = False

    def __str__(self) -> str:
        kinds = {"prompts first": self.prompts_first, "steps ahead": self.steps_ahead}
        return ", ".join([f"{self.model} TP {self.tensor}", *(k for k, on in kinds.items() if on)])

    def question(self, workload: Workload, gpus: str | None = None) -> Question:
        """What the planner is asked."""
        rules = EngineRules(
            "vllm", 0.92, prompts_first=self.prompts_first, steps_ahead=self.steps_ahead
        )
        return ask(self.model, gpus or self.gpus, workload=workload, engine=rules)

    def prepared(self, workload: Workload) -> Prepared:
        """The replica as the planner would simulate it."""
        found = prepare(self.question(workload), Parallelism(tensor=self.tensor))
        assert isinstance(found, Prepared), found
        return found

    def plain(self, workload: Workload) -> Engine:
        """The same replica for the plain simulator."""
        lane = self.prepared(workload).lane
        limits = EngineLimits(
            max_num_seqs=lane.max_num_seqs,
            max_num_batched_tokens=lane.max_num_batched_tokens,
            kv_tokens=kv_tokens(lane, workload),
            prompts_first=lane.prompts_first,
            steps_ahead=lane.steps_ahead,
        )
        return Engine(lambda step: lane.model.time(step).total, limits, request_s=lane.request_s)


def kv_tokens(lane: Any, workload: Workload) -> float:
    """Tokens that the KV cache holds, in whichever unit the planner's engine counts them."""
    if hasattr(lane, "kv_tokens"):
        return float(lane.kv_tokens)
    return float(lane.kv_requests * workload.context_tokens)


def lengths(workload: Workload) -> Lengths:
    """The lengths of the workload's requests."""
    return Lengths(workload.input_tokens, workload.output_tokens, SPREAD)
