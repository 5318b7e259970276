"""Communication by width: its share of a step as tensor parallelism widens."""

from dataclasses import dataclass
from math import ceil

from tpdeploy.planner.inputs import PlanInputs, share_of_load
from tpdeploy.planner.model.sharding import legal_widths
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.performance.assembly import step_model
from tpdeploy.planner.performance.step import Step, StepTime
from tpdeploy.planner.plan import DeploymentPlan


@dataclass(frozen=True)
class WidthCost:
    """One width: a decode step of the plan's load, and the step that prefills one prompt."""

    tensor: int
    decode: StepTime
    prefill: StepTime


def decoding(plan: DeploymentPlan) -> int:
    """Sequences that one replica of `plan` decodes at once, at most what its limits allow."""
    load = share_of_load(plan.workload, plan.parallelism.replicas)
    running = load.concurrency
    if running is None:  # Little's law: what arrives in the time that one request stays
        answers = (plan.workload.output_tokens - 1) * plan.prediction.tpot_ms.value
        running = ceil((load.rate or 0.0) * (plan.prediction.ttft_ms.value + answers) / 1e3)
    return max(1, min(running, plan.parallelism.data * plan.limits.max_num_seqs))


def cost_by_width(inputs: PlanInputs, plan: DeploymentPlan) -> tuple[WidthCost, ...]:
    """Step times at every width worth trying, memory aside, all with the plan's batch."""
    load, prompt = plan.workload, plan.workload.computed_tokens
    decode = Step(
        decode_sequences=decoding(plan),
        decode_context=load.input_tokens + load.output_tokens / 2,
    )
    cached = load.input_tokens - prompt
    prefill = Step(prefill_tokens=prompt, prefill_context=cached + prompt / 2, prefills_done=1)
    found = []
    for width in legal_widths(inputs.shape, inputs.cluster.widest):
        if width in inputs.engine.refused_widths:
            continue
        model = step_model(
            inputs.shape,
            inputs.cluster,
            Parallelism(tensor=width),
            inputs.kv_cache_dtype,
            eager=inputs.graphless,
            own=inputs.engine.own_kernels,
        )
        found.append(WidthCost(width, model.time(decode), model.time(prefill)))
    return tuple(found)
