"""The answer in a sentence, and in two or three more why: from the comparison, in words."""

from collections.abc import Sequence

from tpdeploy.numbers import MOST_MORE, number
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.memory.footprint import GIB
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.search.evaluation import Candidate, Refusal
from tpdeploy.planner.search.ranking import TIE, end_to_end_s, ties
from tpdeploy.planner.search.reasons import name, network_wait, prompts_decide, reason_for_loser

# Differences smaller than this are none.
NO_CHANGE = 0.005


def answer_of(inputs: PlanInputs, best: Candidate) -> str:
    """What to do, with each kind of parallelism spelled out."""
    split, device = best.parallelism, inputs.device
    idle = inputs.cluster.count - split.devices
    verb = "is" if idle == 1 else "are"
    spare = "not needed" if inputs.optimize in {"cost", "daily"} else "left idle"
    left = f"; {_count(idle, device)} {verb} {spare}" if idle else ""
    groups = _groups(split, device, whole=inputs.cluster.count)
    over = -(-split.stage_ranks // inputs.cluster.per_machine)
    each = f" over {over} machines{' each' if split.replicas > 1 else ''}" if over > 1 else ""
    return f"Use {groups}{each}: {', '.join(_ways(split))}{left}."


def why(
    inputs: PlanInputs, best: Candidate, ranked: Sequence[Candidate], refused: Sequence[Refusal]
) -> tuple[str, ...]:
    """Why `best`: against the next best split, and what does not fit; else what it leaves room for.

    The figures are those of the comparison.
    """
    other = next((c for c in ranked if c is not best and c.served.keeps_up), None)
    lacking = _lacking(best, refused, reasoned=other is None)
    waits = network_wait(inputs, best)
    if other is None:
        return (*waits, *(lacking or (_room(inputs, best),)))
    compared = _compared(inputs, other, best)
    return (*waits, compared, *_tied(inputs, best, ranked), *lacking)


def _groups(split: Parallelism, device: str, *, whole: int) -> str:
    """The replicas and the devices of each: `2 groups of 4 GPUs`."""
    if split.ranks == 1:
        one = f"one {device}"
        return one if split.replicas == 1 else f"{split.replicas} replicas of {one} each"
    if split.replicas == 1:
        if split.ranks == whole:
            return f"one group of {'both' if whole == 2 else f'all {whole:,}'} {device}s"
        return f"one group of {_count(split.ranks, device)}"
    return f"{split.replicas} groups of {_count(split.ranks, device)}"


def _ways(split: Parallelism) -> list[str]:
    """The kinds of parallelism, each with its short name, and the replicas."""
    if split.ranks == 1:
        return ["no tensor parallelism (TP 1)"]
    found = []
    if split.data_parallel:
        found.append(f"data-parallel attention (DP) {split.data}")
    if split.tensor > 1 or split.plain:
        found.append(f"tensor parallel (TP) {split.tensor}")
    if split.pipelined:
        found.append(f"{split.pipeline} pipeline stages (PP)")
    if split.expert_parallel:
        found.append("expert parallel (EP)")
    return [*found, "1 replica" if split.replicas == 1 else f"{split.replicas} replicas"]


def _compared(inputs: PlanInputs, other: Candidate, best: Candidate) -> str:
    """What `other` would do instead, of what the question asks for first, and from what steps."""
    if other.missed or inputs.optimize in {"cost", "goodput", "fewest", "daily"}:
        return f"{name(other)} instead: {reason_for_loser(inputs, other, best)}."
    slower = _longer("TPOT", other.prediction.tpot_ms.value, best.prediction.tpot_ms.value)
    if inputs.optimize == "latency":
        whole = _longer("requests", end_to_end_s(inputs, other), end_to_end_s(inputs, best))
        return f"{name(other)} instead would make {whole}, {slower}: {_steps(other, best)}."
    share = other.tokens_per_s / best.tokens_per_s - 1
    served = "as many"
    if abs(share) >= NO_CHANGE:
        served = f"{abs(share):.0%} {'more' if share > 0 else 'fewer'}"
    return f"{name(other)} instead would serve {served} tokens/s, {slower}: {_steps(other, best)}."


def _longer(what: str, mine: float, best: float) -> str:
    """How a time compares with the chosen split's: `TPOT 20% longer`."""
    share = mine / best - 1 if best else 0.0
    if abs(share) < NO_CHANGE:
        return f"{what} the same"
    if share > MOST_MORE:
        return f"{what} {number(1 + share)} times as long"
    return f"{what} {abs(share):.0%} {'longer' if share > 0 else 'shorter'}"


def _steps(other: Candidate, best: Candidate) -> str:
    """What the mean decode step of each is made of, in ms."""
    theirs, mine = other.decode, best.decode
    return (
        f"its decode step takes {_ms(theirs.total)} ms for {_count(_requests(other), 'request')} "
        f"({_ms(theirs.linear + theirs.attention)} in kernels, {_ms(theirs.communication)} in "
        f"communication), not {_ms(mine.total)} ms for {_requests(best):,} "
        f"({_ms(mine.linear + mine.attention)}, {_ms(mine.communication)})"
        f"{prompts_decide(other, best)}"
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}"


def _requests(candidate: Candidate) -> int:
    return max(1, round(candidate.served.decode_sequences))


def _tied(inputs: PlanInputs, best: Candidate, ranked: Sequence[Candidate]) -> list[str]:
    """Which others are as good within the error of a comparison."""
    others = (
        [] if inputs.optimize in {"fewest", "daily"} else [name(c) for c in ties(inputs, ranked)]
    )
    if not others:
        return []
    verb = "is" if len(others) == 1 else "are"
    return [
        f"{', '.join(others)} {verb} as good within the error ({TIE:.0%}); the simplest, then the "
        "quickest, is taken."
    ]


def _lacking(best: Candidate, refused: Sequence[Refusal], *, reasoned: bool) -> list[str]:
    """Which narrower groups lack memory; with the shortage of the widest of them, if `reasoned`."""
    plain = [r for r in refused if r.does_not_fit and r.parallelism.plain]
    narrower = sorted(
        (r for r in plain if r.parallelism.tensor < best.parallelism.ranks),
        key=lambda r: r.parallelism.tensor,
    )
    if not narrower:
        return []
    if reasoned:
        return [f"TP {narrower[-1].parallelism.tensor} {narrower[-1].reason}."]
    widths = ", ".join(str(r.parallelism.tensor) for r in narrower)
    return [f"TP {widths} {'lacks' if len(narrower) == 1 else 'lack'} the memory."]


def _room(inputs: PlanInputs, best: Candidate) -> str:
    """What the chosen split leaves room for."""
    memory = best.memory
    return (
        f"The weights take {number(memory.weights_bytes / GIB)} GiB of each {inputs.device}; "
        f"{number(memory.kv_cache_bytes / GIB)} GiB of KV cache hold "
        f"{_count(best.kv_requests, 'request')} of {inputs.workload.context_tokens:,} tokens."
    )


def _count(number_of: int, what: str) -> str:
    return f"{number_of:,} {what}{'' if number_of == 1 else 's'}"
