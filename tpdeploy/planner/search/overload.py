"""Overload: how many requests of a closed loop have to wait."""

from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.search.evaluation import Candidate


def requests_at_once(inputs: PlanInputs, candidate: Candidate) -> int:
    """Requests that run at once in the mean where memory and limits are used up, on all replicas.

    More than whole requests fit where KV blocks are taken as tokens come.
    """
    return candidate.replicas * candidate.replica.running_limit(inputs.workload)


def overload(inputs: PlanInputs, best: Candidate) -> str | None:
    """What of the load has to wait and what helps, in words; None if nothing has to."""
    clients, running = inputs.workload.concurrency, requests_at_once(inputs, best)
    if clients is None or running >= clients:
        return None
    of_steps = best.parallelism.data * best.replica.most_sequences(inputs.workload)
    held = best.replica.running_limit(inputs.workload) >= of_steps
    ranks = " of each data rank" if best.parallelism.data_parallel else ""
    why = f"{best.limits.max_num_seqs:,} sequences per step{ranks}" if held else "KV cache"
    verb = "fits" if running == 1 else "fit"
    more = "a larger --max-num-seqs" if held else f"more {inputs.device}s"
    return (
        f"{running:,} of your {clients:,} requests {verb} at once ({why}): the others wait for "
        f"one to end before their first token. What helps: --concurrency {running}, or {more}."
    )
