"""Reasons: why a split was chosen and why each other was not, in words with numbers."""

from collections.abc import Sequence

from tpdeploy.planner.candidate import Candidate, Refusal
from tpdeploy.planner.memory import GIB
from tpdeploy.planner.question import Question


def reasons_for(
    question: Question,
    best: Candidate,
    ranked: Sequence[Candidate],
    refused: Sequence[Refusal],
) -> list[str]:
    """Why `best` was chosen: what fits, what widening saved, what communication cost."""
    reasons = [_fit(question, best)]
    too_big = [r.tensor for r in refused if r.reason.startswith("does not fit")]
    if too_big:
        reasons.append(f"Narrower does not fit: TP {', '.join(map(str, too_big))}.")
    by_width = {c.tensor: c for c in ranked}
    narrower = [w for w in by_width if w < best.tensor]
    wider = [w for w in by_width if w > best.tensor]
    if narrower:
        reasons.append(_widening(by_width[max(narrower)], best, done=True))
    if wider:
        reasons.append(_widening(best, by_width[min(wider)], done=False))
    reasons.append(f"Ranked by {question.optimize}, near ties by latency; targets come first.")
    idle = question.cluster.count - best.tensor * best.replicas
    if idle:
        reasons.append(f"{idle} of {question.cluster.count} {question.device}s stay idle.")
    return reasons


def reason_for_loser(question: Question, loser: Candidate, best: Candidate | None) -> str:
    """Why `loser` was not chosen."""
    if loser.missed:
        return "; ".join(loser.missed)
    if best is None:
        return "not chosen"
    mine, theirs = loser.prediction, best.prediction
    fewer = 1 - mine.output_tokens_per_s.value / theirs.output_tokens_per_s.value
    slower = mine.tpot_ms.value / theirs.tpot_ms.value - 1
    first = mine.ttft_ms.value / theirs.ttft_ms.value - 1
    return (
        f"{_change(-fewer)} tokens/s, TPOT {_change(slower)}, TTFT {_change(first)}: a decode "
        f"step is {_step_words(loser)}"
    )


def _fit(question: Question, best: Candidate) -> str:
    memory = best.memory
    requests = memory.kv_cache_tokens // question.workload.context_tokens
    return (
        f"Each {question.device} holds {memory.weights_bytes / GIB:.1f} GiB of weights and "
        f"{memory.kv_cache_bytes / GIB:.1f} GiB of KV cache: {memory.kv_cache_tokens:,} tokens a "
        f"replica, {requests:,} requests of {question.workload.context_tokens:,} tokens at once."
    )


def _widening(narrow: Candidate, wide: Candidate, *, done: bool) -> str:
    """What going from `narrow` to `wide` does to a decode step."""
    kernels = narrow.decode.linear + narrow.decode.attention
    saved = kernels - wide.decode.linear - wide.decode.attention
    cost = wide.decode.communication - narrow.decode.communication
    verb = ("saves", "costs") if done else ("would save", "cost")
    gain = 1 - wide.decode.total / narrow.decode.total
    return (
        f"TP {narrow.tensor} to {wide.tensor} {verb[0]} {saved * 1e3:.2f} ms of weight and KV "
        f"reading in a decode step and {verb[1]} {cost * 1e3:.2f} ms more in all-reduces: "
        f"TPOT {_change(-gain)}, with {wide.replicas} instead of {narrow.replicas} "
        f"replica{'s' if narrow.replicas > 1 else ''} sharing the load."
    )


def _step_words(candidate: Candidate) -> str:
    decode = candidate.decode
    return (
        f"{(decode.linear + decode.attention) * 1e3:.1f} ms in kernels, "
        f"{decode.communication * 1e3:.1f} in all-reduces, {decode.overhead * 1e3:.1f} engine"
    )


def _change(share: float) -> str:
    return f"{share:+.0%}"
