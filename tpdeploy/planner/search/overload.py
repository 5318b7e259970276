"""Overload: how many requests of a closed loop have to wait."""

from tpdeploy.planner.question import Question
from tpdeploy.planner.search.evaluation import Candidate


def requests_at_once(candidate: Candidate) -> int:
    """Requests of mean length that memory and limits allow at once on all replicas."""
    of_steps = candidate.parallelism.data * candidate.limits.max_num_seqs
    most = min(candidate.kv_requests, of_steps)
    return candidate.replicas * max(1, most)


def overload(question: Question, best: Candidate) -> str | None:
    """What of the load has to wait and what helps, in words; None if nothing has to."""
    clients, running = question.workload.concurrency, requests_at_once(best)
    if clients is None or running >= clients:
        return None
    held = best.kv_requests > best.parallelism.data * best.limits.max_num_seqs
    ranks = " of each data rank" if best.parallelism.data_parallel else ""
    why = f"{best.limits.max_num_seqs:,} sequences per step{ranks}" if held else "KV cache"
    verb = "fits" if running == 1 else "fit"
    more = "a larger --max-num-seqs" if held else f"more {question.device}s"
    return (
        f"{running:,} of your {clients:,} requests {verb} at once ({why}): the others wait for "
        f"one to end before their first token. What helps: --concurrency {running}, or {more}."
    )
