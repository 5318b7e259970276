"""Real replicas, as the planner sizes them and as the plain simulator takes them."""

from dataclasses import dataclass, replace
from typing import Any

from tests.planner.inputs import VLLM, ask
from tests.simulator.plain import Engine, EngineLimits, Lengths
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.search.evaluation import Prepared, prepare
from tpdeploy.planner.serving.scheduler import Engine as PlannedEngine
from tpdeploy.planner.workload import Workload

PROMPT, ANSWER = 1024, 256


def load(**of: Any) -> Workload:
    """Prompts of 1,024 tokens and answers of 256, both drawn with the default spread."""
    return Workload(input_tokens=PROMPT, output_tokens=ANSWER, **of)


@dataclass(frozen=True)
class Replica:
    """One replica of `model` on `tensor` GPUs, of an engine that may schedule asynchronously."""

    model: str
    gpus: str
    tensor: int
    async_scheduling: bool = True
    prefill_priority: bool = False

    def __str__(self) -> str:
        kinds = {"prefill priority": self.prefill_priority, "async": self.async_scheduling}
        return ", ".join([f"{self.model} TP {self.tensor}", *(k for k, on in kinds.items() if on)])

    def inputs(self, workload: Workload, gpus: str | None = None) -> PlanInputs:
        """What the planner is asked."""
        rules = replace(
            VLLM,
            prefill_priority=self.prefill_priority,
            async_scheduling=self.async_scheduling,
        )
        return ask(self.model, gpus or self.gpus, workload=workload, engine=rules)

    def engine(self, workload: Workload) -> PlannedEngine:
        """The replica as the planner simulates it."""
        found = prepare(self.inputs(workload), Parallelism(tensor=self.tensor))
        assert isinstance(found, Prepared), found
        return found.replica

    def plain(self, workload: Workload) -> Engine:
        """The same replica for the plain simulator."""
        engine = self.engine(workload)
        limits = EngineLimits(
            max_num_seqs=engine.max_num_seqs,
            max_num_batched_tokens=engine.max_num_batched_tokens,
            kv_tokens=engine.kv_tokens,
            prefill_priority=engine.prefill_priority,
            async_scheduling=engine.async_scheduling,
            block_tokens=engine.block_tokens,
            fixed_tokens=engine.kv_fixed_tokens,
            whole_requests=engine.whole_requests,
            reuses=engine.reuses_blocks,
        )
        return Engine(
            lambda step: engine.model.time(step).total, limits, request_s=engine.request_s
        )


def lengths(workload: Workload) -> Lengths:
    """The lengths of the workload's requests."""
    pairs = workload.lengths.pairs if workload.lengths else ()
    return Lengths(workload.input_tokens, workload.output_tokens, workload.length_spread, pairs)
