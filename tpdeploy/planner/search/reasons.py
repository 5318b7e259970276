"""Reasons: why a split was chosen and each other split was not, in words with numbers.

Two splits are compared by what was simulated under the load of the question, always the other one
against the chosen one.
"""

from collections.abc import Iterator, Sequence

from tpdeploy.numbers import MOST_MORE, change
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.memory.footprint import GIB
from tpdeploy.planner.search.evaluation import Candidate, Prepared, Refusal
from tpdeploy.planner.search.placement import place
from tpdeploy.planner.search.ranking import TIE, end_to_end_s, ties
from tpdeploy.planner.search.steady_state import SteadyState

RANKED_BY = {
    "throughput": "tokens/s",
    "latency": "latency, from when a request is sent to its last token",
    "cost": "tokens/s of each {device} in use",
    "goodput": "the highest rate within the targets",
    "fewest": "how few {device}s carry the load",
    "daily": "the {device}-hours of the day",
}
# Differences smaller than this are none.
NO_CHANGE = 0.005
MOST_MACHINES_NAMED = 4


def reasons_for(
    inputs: PlanInputs,
    best: Candidate,
    ranked: Sequence[Candidate],
    refused: Sequence[Refusal],
) -> list[str]:
    """Why `best` was chosen: memory, the next narrower and wider split, and equal splits."""
    reasons = [_fit(inputs, best), *_release(inputs, best), *_too_narrow(refused)]
    reasons += network_wait(inputs, best)
    told = list(_neighbours(best, ranked))
    reasons += [f"{name(c)} instead: {_changes(inputs, c, best)}. {_steps(c, best)}" for c in told]
    reasons += _deepening(inputs, best, ranked)
    reasons += _attention(inputs, best, ranked, told)
    reasons += _tied(inputs, best, ranked)
    runner_up = next((c for c in ranked if c is not best and not c.missed), None)
    if runner_up and runner_up not in told:
        reasons.append(
            f"Next best: {name(runner_up)}, {reason_for_loser(inputs, runner_up, best)}."
        )
    ranked_by = RANKED_BY[inputs.optimize].format(device=inputs.device)
    reasons.append(f"Ranked by {ranked_by}; targets come first, the simplest split of a tie next.")
    return reasons + _not_tried(inputs) + _idle(inputs, best)


def reason_for_loser(inputs: PlanInputs, loser: Candidate, best: Candidate | None) -> str:
    """Why `loser` was not chosen."""
    if loser.missed:
        return "; ".join(loser.missed)
    if best is None:
        return "not chosen"
    return _changes(inputs, loser, best)


def reason_not_simulated(
    inputs: PlanInputs, prepared: Prepared, steady: SteadyState, best: Candidate | None
) -> str:
    """Why a split that fits was not simulated."""
    if inputs.optimize == "fewest":
        return f"needs about {prepared.parallelism.devices} {inputs.device}s: not simulated"
    if inputs.optimize == "latency":
        words = f"about {steady.latency_s:,.1f} s per request"
        behind = best and steady.latency_s / end_to_end_s(inputs, best) - 1
    elif inputs.optimize in {"throughput", "goodput"}:
        words = f"about {steady.tokens_per_s:,.0f} tokens/s"
        behind = best and steady.tokens_per_s / best.tokens_per_s - 1
    else:
        each = steady.tokens_per_s / prepared.parallelism.devices
        words = f"about {each:,.0f} tokens/s per {inputs.device}"
        behind = best and each / best.tokens_per_s_per_device - 1
    return f"{words} ({change(behind)}): not simulated" if behind else f"{words}: not simulated"


def network_wait(inputs: PlanInputs, best: Candidate) -> list[str]:
    """What a decode step waits for, if a layer's ranks talk over a network."""
    cluster, ranks = inputs.cluster, best.parallelism.stage_ranks
    if not cluster.on_network(ranks):
        return []
    link = cluster.network.name if cluster.network else cluster.fabric.name
    step = best.decode
    return [
        f"Every layer is divided over {-(-ranks // cluster.per_machine)} machines: of a decode "
        f"step of {step.total * 1e3:.1f} ms, {step.communication * 1e3:.1f} ms are communication, "
        f"over {link}."
    ]


def _not_tried(inputs: PlanInputs) -> list[str]:
    """That no layer was divided over machines, and what tries it."""
    cluster, each = inputs.cluster, inputs.cluster.per_machine
    several = cluster.machines > 1 and inputs.engine.several_machines
    if inputs.tensor or not several or cluster.widest > each or cluster.network is None:
        return []
    return [
        f"No tensor-parallel group over several machines was tried: every layer would wait for "
        f"{cluster.network.name}. --tp {2 * each} tries one; so does a network that was measured, "
        "tpdeploy calibrate --on."
    ]


def name(candidate: Candidate) -> str:
    """The split and its replicas: `TP 4 x 2`."""
    return f"{candidate.parallelism.words} x {candidate.replicas}"


def _changes(inputs: PlanInputs, other: Candidate, best: Candidate) -> str:
    """How `other` differs, the objective first."""
    mine, theirs = other.prediction, best.prediction
    slower = mine.tpot_ms.value / theirs.tpot_ms.value - 1 if theirs.tpot_ms.value else 0.0
    first = mine.ttft_ms.value / theirs.ttft_ms.value - 1
    latency = f"{_latency('TPOT', slower)}, {_latency('TTFT', first)}"
    if inputs.optimize == "fewest":
        more = other.parallelism.devices - best.parallelism.devices
        unit = inputs.device if abs(more) == 1 else f"{inputs.device}s"
        count = f"{abs(more)} {'more' if more > 0 else 'fewer'}" if more else "as many"
        return f"{count} {unit}, {latency}"
    if inputs.optimize == "goodput":
        return change(other.tokens_per_s / best.tokens_per_s - 1, "requests/s within the targets")
    if inputs.optimize in {"cost", "daily"}:
        fewer = other.tokens_per_s_per_device / best.tokens_per_s_per_device - 1
        unit = f"tokens/s per {inputs.device}"
    else:
        fewer = other.tokens_per_s / best.tokens_per_s - 1
        unit = "tokens/s"
    if max(abs(fewer), abs(slower), abs(first)) < NO_CHANGE:
        return f"as good, and less simple than {name(best)}"
    return f"{change(fewer, unit)}, {latency}"


def _neighbours(best: Candidate, ranked: Sequence[Candidate]) -> Iterator[Candidate]:
    """The next narrower and the next wider group among otherwise equal splits."""
    alike = [c for c in ranked if _same_but_for_width(c, best) and c.served.keeps_up]
    narrower = [c for c in alike if c.tensor < best.tensor]
    wider = [c for c in alike if c.tensor > best.tensor]
    if narrower:
        yield max(narrower, key=lambda c: c.tensor)
    if wider:
        yield min(wider, key=lambda c: c.tensor)


def _steps(other: Candidate, best: Candidate) -> str:
    """The parts of each split's mean decode step."""
    steps = f"{_step_words(other)}; with {name(best)}: {_step_words(best)}"
    return f"{steps}{prompts_decide(other, best)}."


def prompts_decide(other: Candidate, best: Candidate) -> str:
    """What makes the TPOT of `other` longer though its decode step is shorter: else nothing."""
    slower = other.prediction.tpot_ms.value > best.prediction.tpot_ms.value
    shorter = other.decode.total < best.decode.total
    return "; steps that also read prompts decide" if slower and shorter else ""


def _step_words(candidate: Candidate) -> str:
    decode, sequences = candidate.decode, max(1, round(candidate.served.decode_sequences))
    plural = "s" if sequences > 1 else ""
    return (
        f"{decode.total * 1e3:.1f} ms for a decode step of {sequences} request{plural}, "
        f"{(decode.linear + decode.attention) * 1e3:.1f} in kernels, "
        f"{decode.communication * 1e3:.1f} in communication, {decode.overhead * 1e3:.1f} engine"
    )


def _tied(inputs: PlanInputs, best: Candidate, ranked: Sequence[Candidate]) -> list[str]:
    """The splits that are equal within the error of a comparison."""
    if inputs.optimize in {"fewest", "daily"}:
        return []
    others = [name(c) for c in ties(inputs, ranked)]
    if not others:
        return []
    verb = "is" if len(others) == 1 else "are"
    return [
        f"{', '.join(others)} {verb} as good within the error of such comparisons ({TIE:.0%}): "
        f"{name(best)} is the simplest, or the quickest of the simple ones."
    ]


def _fit(inputs: PlanInputs, best: Candidate) -> str:
    memory = best.memory
    deep = " of the fullest stage" if best.parallelism.pipelined else ""
    return (
        f"Each {inputs.device}{deep} holds {memory.weights_bytes / GIB:.1f} GiB of weights and "
        f"{memory.kv_cache_bytes / GIB:.1f} GiB of KV cache: {memory.kv_cache_tokens:,} tokens per "
        f"replica, {best.kv_requests:,} requests of {inputs.workload.context_tokens:,} tokens "
        "at once."
    )


def _too_narrow(refused: Sequence[Refusal]) -> list[str]:
    plain = [r.parallelism for r in refused if r.does_not_fit]
    widths = sorted({p.tensor for p in plain if not (p.pipelined or p.data_parallel)})
    if not widths:
        return []
    return [f"Does not fit: TP {', '.join(map(str, widths))} without pipeline stages."]


def _release(inputs: PlanInputs, best: Candidate) -> list[str]:
    """What the width needs of the engine's release; whole experts are not cut."""
    split = best.parallelism
    cut = split.expert == 1 and not split.data_parallel
    needs = inputs.engine.width_needs.get(split.tensor) if cut else None
    return [f"TP {split.tensor} needs {needs}."] if needs else []


def _deepening(inputs: PlanInputs, best: Candidate, ranked: Sequence[Candidate]) -> list[str]:
    """The effect of pipeline stages and expert parallelism against the best split without them."""
    found = []
    split = best.parallelism
    if split.pipelined:
        flat = next((c for c in ranked if not c.parallelism.pipelined), None)
        why = "as asked" if inputs.pipeline else "no split without them fits"
        if flat:
            why = f"without them, as {name(flat)}, {reason_for_loser(inputs, flat, best)}"
        found.append(
            f"{split.pipeline} pipeline stages of TP {split.tensor}: {why}. Each stage holds "
            f"about {inputs.shape.layers / split.pipeline:.0f} of {inputs.shape.layers} layers."
        )
    if split.expert_parallel and inputs.shape.experts:
        cut = next((c for c in ranked if _same_but_for_experts(c, best)), None)
        count = inputs.shape.experts.count / split.expert
        lost = f"; {name(cut)} instead: {reason_for_loser(inputs, cut, best)}" if cut else ""
        found.append(
            f"Each {inputs.device} holds {count:.0f} of {inputs.shape.experts.count} experts "
            f"whole instead of a slice of each{lost}."
        )
    return found


def _attention(
    inputs: PlanInputs, best: Candidate, ranked: Sequence[Candidate], told: Sequence[Candidate]
) -> list[str]:
    """The effect of data-parallel attention against the best split of the other kind."""
    data = best.parallelism.data_parallel
    other = next((c for c in ranked if c.parallelism.data_parallel != data), None)
    compared = f"{name(other)} instead: {reason_for_loser(inputs, other, best)}" if other else ""
    if not data:
        return [f"{compared}. {_steps(other, best)}"] if other and other not in told else []
    found = (
        f"Attention is data-parallel: each of {best.parallelism.data} ranks answers requests of "
        "its own from its own KV cache, and the experts get the tokens of all"
    )
    return [f"{found}; {compared}. {_steps(other, best)}" if other else f"{found}."]


def _idle(inputs: PlanInputs, best: Candidate) -> list[str]:
    """Which devices no replica uses."""
    cluster = inputs.cluster
    if cluster.count == best.parallelism.devices:
        return []
    used = {rank for placed in place(cluster, best.parallelism) for rank in placed.ranks}
    found = []
    for machine in range(cluster.machines):
        free = [d for d in range(cluster.per_machine) if (machine, d) not in used]
        if free:
            numbers = ", ".join(map(str, free))
            found.append(f"{numbers} of machine {machine}" if cluster.machines > 1 else numbers)
    idle = cluster.count - best.parallelism.devices
    where = "; ".join(found[:MOST_MACHINES_NAMED])
    if len(found) > MOST_MACHINES_NAMED:
        where += f"; and of {len(found) - MOST_MACHINES_NAMED} machines more"
    stay, which = ("stays", "number") if idle == 1 else ("stay", "numbers")
    return [f"{idle} of {cluster.count} {inputs.device}s {stay} idle: {which} {where}."]


def _same_but_for_width(one: Candidate, other: Candidate) -> bool:
    mine, theirs = one.parallelism, other.parallelism
    same = (mine.pipeline, mine.data) == (theirs.pipeline, theirs.data)
    return same and mine.expert_parallel == theirs.expert_parallel


def _same_but_for_experts(one: Candidate, other: Candidate) -> bool:
    mine, theirs = one.parallelism, other.parallelism
    same = (mine.tensor, mine.pipeline, mine.data) == (theirs.tensor, theirs.pipeline, theirs.data)
    return same and mine.expert_parallel != theirs.expert_parallel


def _latency(name: str, share: float) -> str:
    """How a latency differs, by its name: `TTFT +80%`, `57 times the TTFT`."""
    return f"{name} {change(share)}" if share <= MOST_MORE else change(share, name)
