"""Reasons: why a split was chosen and why each other was not, in words with numbers."""

from collections.abc import Sequence

from tpdeploy.planner.candidate import Candidate, Prepared, Refusal
from tpdeploy.planner.memory import GIB
from tpdeploy.planner.placement import place
from tpdeploy.planner.question import Question
from tpdeploy.planner.steady_state import SteadyState

RANKED_BY = {
    "throughput": "tokens/s",
    "latency": "latency, TTFT and TPOT of a request together",
    "cost": "tokens/s of each {device} in use",
    "fewest": "how few {device}s carry the load",
}
# Differences smaller than this are none.
NO_CHANGE = 0.005


def reasons_for(
    question: Question,
    best: Candidate,
    ranked: Sequence[Candidate],
    refused: Sequence[Refusal],
) -> list[str]:
    """Why `best` was chosen: what fits, what widening saved, what communication cost."""
    reasons = [_fit(question, best), *_too_narrow(refused)]
    alike = [c for c in ranked if _same_but_for_width(question, c, best)]
    narrower = [c for c in alike if c.tensor < best.tensor]
    wider = [c for c in alike if c.tensor > best.tensor]
    if narrower:
        reasons.append(_widening(max(narrower, key=_width), best, done=True))
    if wider:
        reasons.append(_widening(best, min(wider, key=_width), done=False))
    reasons += _deepening(question, best, ranked)
    runner_up = next((c for c in ranked if c is not best and not c.missed), None)
    if runner_up:
        words = reason_for_loser(question, runner_up, best).partition(": a decode step")[0]
        reasons.append(f"Next best: {runner_up.parallelism.words} x {runner_up.replicas}, {words}.")
    ranked_by = RANKED_BY[question.optimize].format(device=question.device)
    reasons.append(f"Ranked by {ranked_by}; near ties by latency; targets come first.")
    return reasons + _idle(question, best)


def reason_for_loser(question: Question, loser: Candidate, best: Candidate | None) -> str:
    """Why `loser` was not chosen."""
    if loser.missed:
        return "; ".join(loser.missed)
    if best is None:
        return "not chosen"
    mine, theirs = loser.prediction, best.prediction
    slower = mine.tpot_ms.value / theirs.tpot_ms.value - 1 if theirs.tpot_ms.value else 0.0
    first = mine.ttft_ms.value / theirs.ttft_ms.value - 1
    if question.optimize == "fewest":
        more = loser.parallelism.devices - best.parallelism.devices
        needs = f"needs {loser.parallelism.devices} {question.device}s, {more or 'not one'} more"
        return f"{needs}: TPOT {_change(slower)}, TTFT {_change(first)}"
    if question.optimize == "cost":
        fewer = loser.tokens_per_s_per_device / best.tokens_per_s_per_device - 1
        unit = f"tokens/s a {question.device}"
    else:
        fewer = loser.tokens_per_s / best.tokens_per_s - 1
        unit = "tokens/s"
    if max(abs(fewer), abs(slower), abs(first)) < NO_CHANGE:
        return f"as good, and less simple than {best.parallelism.words} x {best.replicas}"
    return (
        f"{_change(fewer)} {unit}, TPOT {_change(slower)}, TTFT {_change(first)}: a decode "
        f"step is {_step_words(loser)}"
    )


def reason_not_simulated(
    question: Question, prepared: Prepared, steady: SteadyState, best: Candidate | None
) -> str:
    """Why a split that fits was not looked at closely."""
    if question.optimize == "fewest":
        return f"needs about {prepared.parallelism.devices} {question.device}s: not simulated"
    if question.optimize == "latency":
        words = f"about {steady.latency_s:,.1f} s a request"
        behind = best and steady.latency_s / _end_to_end_s(question, best) - 1
    elif question.optimize == "throughput":
        words = f"about {steady.tokens_per_s:,.0f} tokens/s"
        behind = best and steady.tokens_per_s / best.tokens_per_s - 1
    else:
        each = steady.tokens_per_s / prepared.parallelism.devices
        words = f"about {each:,.0f} tokens/s a {question.device}"
        behind = best and each / best.tokens_per_s_per_device - 1
    return f"{words} ({_change(behind)}): not simulated" if behind else f"{words}: not simulated"


def _end_to_end_s(question: Question, candidate: Candidate) -> float:
    gaps, prediction = question.workload.output_tokens - 1, candidate.prediction
    return (prediction.ttft_ms.value + gaps * prediction.tpot_ms.value) / 1e3


def _fit(question: Question, best: Candidate) -> str:
    memory = best.memory
    deep = " of the fullest stage" if best.parallelism.pipeline > 1 else ""
    return (
        f"Each {question.device}{deep} holds {memory.weights_bytes / GIB:.1f} GiB of weights and "
        f"{memory.kv_cache_bytes / GIB:.1f} GiB of KV cache: {memory.kv_cache_tokens:,} tokens a "
        f"replica, {best.kv_requests:,} requests of {question.workload.context_tokens:,} tokens "
        "at once."
    )


def _too_narrow(refused: Sequence[Refusal]) -> list[str]:
    plain = [r.parallelism for r in refused if r.does_not_fit]
    widths = sorted({p.tensor for p in plain if p.pipeline == 1})
    if not widths:
        return []
    return [f"Does not fit: TP {', '.join(map(str, widths))} without pipeline stages."]


def _deepening(question: Question, best: Candidate, ranked: Sequence[Candidate]) -> list[str]:
    """What pipeline stages and whole experts did, against the best split without them."""
    found = []
    split = best.parallelism
    if split.pipeline > 1:
        flat = next((c for c in ranked if c.parallelism.pipeline == 1), None)
        why = (
            f"{_change(best.tokens_per_s / flat.tokens_per_s - 1)} tokens/s against "
            f"{flat.parallelism.words} x {flat.replicas}"
            if flat
            else ("as asked" if question.pipeline else "no split without them fits")
        )
        found.append(
            f"{split.pipeline} pipeline stages of TP {split.tensor}: {why}. Each stage holds "
            f"about {question.shape.layers / split.pipeline:.0f} of {question.shape.layers} layers."
        )
    if split.expert > 1 and question.shape.experts:
        cut = next((c for c in ranked if _same_but_for_experts(c, best)), None)
        count = question.shape.experts.count / split.expert
        gain = f": {_change(best.tokens_per_s / cut.tokens_per_s - 1)} tokens/s" if cut else ""
        found.append(
            f"Each {question.device} holds {count:.0f} of {question.shape.experts.count} experts "
            f"whole instead of a slice of each{gain}."
        )
    return found


def _idle(question: Question, best: Candidate) -> list[str]:
    """Which devices no replica uses."""
    cluster = question.cluster
    used = {rank for placed in place(cluster, best.parallelism) for rank in placed.ranks}
    found = []
    for node in range(cluster.nodes):
        free = [d for d in range(cluster.count // cluster.nodes) if (node, d) not in used]
        if free:
            numbers = ", ".join(map(str, free))
            found.append(f"{numbers} of machine {node}" if cluster.nodes > 1 else numbers)
    if not found:
        return []
    idle = cluster.count - best.parallelism.devices
    return [f"{idle} of {cluster.count} {question.device}s stay idle: {'; '.join(found)}."]


def _same_but_for_width(question: Question, one: Candidate, other: Candidate) -> bool:
    mine, theirs = one.parallelism, other.parallelism
    same = mine.pipeline == theirs.pipeline and (mine.expert > 1) == (theirs.expert > 1)
    # Where each device counts, replica counts differ for other reasons than the width.
    free = question.optimize in {"cost", "fewest"} and mine.replicas != theirs.replicas
    return same and not free


def _same_but_for_experts(one: Candidate, other: Candidate) -> bool:
    mine, theirs = one.parallelism, other.parallelism
    same = (mine.tensor, mine.pipeline) == (theirs.tensor, theirs.pipeline)
    return same and (mine.expert > 1) != (theirs.expert > 1)


def _width(candidate: Candidate) -> int:
    return candidate.tensor


def _widening(narrow: Candidate, wide: Candidate, *, done: bool) -> str:
    """What going from `narrow` to `wide` does to a decode step."""
    kernels = narrow.decode.linear + narrow.decode.attention
    saved = kernels - wide.decode.linear - wide.decode.attention
    cost = wide.decode.communication - narrow.decode.communication
    verb = ("saves", "costs") if done else ("would save", "cost")
    gain = 1 - wide.decode.total / narrow.decode.total
    plural = "s" if narrow.replicas > 1 else ""
    sharing = (
        f", with {wide.replicas} instead of {narrow.replicas} replica{plural} sharing the load"
    )
    if wide.replicas == narrow.replicas:
        sharing = ""
    return (
        f"TP {narrow.tensor} to {wide.tensor} {verb[0]} {saved * 1e3:.2f} ms of weight and KV "
        f"reading in a decode step and {verb[1]} {cost * 1e3:.2f} ms more in communication: "
        f"TPOT {_change(-gain)}{sharing}."
    )


def _step_words(candidate: Candidate) -> str:
    decode = candidate.decode
    return (
        f"{(decode.linear + decode.attention) * 1e3:.1f} ms in kernels, "
        f"{decode.communication * 1e3:.1f} in communication, {decode.overhead * 1e3:.1f} engine"
    )


def _change(share: float) -> str:
    return f"{share:+.0%}"
