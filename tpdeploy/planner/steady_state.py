"""Steady state: what a split would do, in closed form, to choose which ones to simulate."""

from dataclasses import dataclass
from math import ceil

from tpdeploy.planner.candidate import Prepared
from tpdeploy.planner.question import Question, share_of_load
from tpdeploy.planner.step import Step
from tpdeploy.planner.workload import Workload

# Requests in flight and latency depend on each other at a given rate; this settles them.
ROUNDS = 4


@dataclass(frozen=True)
class SteadyState:
    """A rough estimate; it is good enough to tell which splits are far behind."""

    tokens_per_s: float  # of all replicas
    latency_s: float  # of one request, from arrival to its last token


def steady_state(question: Question, prepared: Prepared) -> SteadyState:
    """Every lane decodes its share of the load, and prefills one prompt for each that ends."""
    workload, lane = question.workload, prepared.lane
    share = share_of_load(workload, prepared.lanes)
    if share.concurrency is not None:
        running = float(min(share.concurrency, lane.running_limit))
        seconds = _round_seconds(question, prepared, running)
        lanes = min(prepared.lanes, workload.concurrency or 1)
        return SteadyState(
            tokens_per_s=lanes * running * workload.output_tokens / seconds,
            latency_s=seconds * share.concurrency / running,
        )
    rate, running = share.rate or 0.0, 1.0
    for _ in range(ROUNDS):
        seconds = _round_seconds(question, prepared, running)
        running = min(max(1.0, rate * seconds), lane.running_limit)
    served = min(rate, running / seconds)
    waiting = rate / served
    return SteadyState(
        tokens_per_s=prepared.lanes * served * workload.output_tokens,
        latency_s=seconds * waiting,
    )


def least_replicas(question: Question, prepared: Prepared) -> int:
    """Replicas without which a rate is above what full replicas serve; one for a closed loop."""
    rate = question.workload.rate
    if rate is None:
        return 1
    running = float(prepared.lane.running_limit)
    of_one_lane = running / _round_seconds(question, prepared, running)
    return ceil(rate / of_one_lane / prepared.parallelism.pipeline)


def _round_seconds(question: Question, prepared: Prepared, running: float) -> float:
    """Seconds in which each of `running` requests is prefilled once and answered once."""
    workload, model = question.workload, prepared.lane.model
    prompt, cached = workload.computed_tokens, workload.input_tokens - workload.computed_tokens
    decode = Step(
        decode_sequences=max(1, round(running)),
        decode_context=workload.input_tokens + workload.output_tokens / 2,
    )
    prefill = Step(prefill_tokens=prompt, prefill_context=cached + prompt / 2, prefills_done=1)
    answers = workload.output_tokens * model.time(decode).total * _of_a_step_for_a_token(workload)
    return answers + running * model.time(prefill).total


def _of_a_step_for_a_token(workload: Workload) -> float:
    """Steps that one token takes: 1, or less with drafted tokens, drafting included.

    Verifying several tokens is taken to cost what one does, as it does while weights are read.
    """
    draft = workload.speculation
    if draft is None:
        return 1.0
    return (1 + draft.tokens * draft.draft_cost) / draft.tokens_per_step
