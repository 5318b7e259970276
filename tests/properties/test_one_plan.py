"""What holds for every plan by itself, whatever was asked."""

import re
from collections.abc import Callable
from zlib import crc32

import pytest
from hypothesis import strategies as st

from tests.properties.drawn import GPUS, MODELS, PLAIN, holds, wide_cases
from tests.properties.physics import bounds_of
from tests.properties.plans import (
    Answer,
    Case,
    Json,
    ask,
    ask_anew,
    exactly,
    numbers,
    split_of,
    text,
)
from tpdeploy.numbers import duration, number
from tpdeploy.planner.search.ranking import TIE

# Splits about as good as the best may be chosen for being simpler.
ALIKE = max(TIE, 0.05) + 0.005
# Lengths are drawn evenly from this share of the mean on.
SHORTEST = 0.8


def in_bounds(_: Case, answer: Answer) -> None:
    """Numbers are finite and none is negative; nothing takes a year."""
    found = numbers(answer.json)
    assert min(found) >= 0
    if answer.feasible:
        assert 0 < answer.ttft_ms < 3.2e10
        assert 0 <= answer.tpot_ms < 3.2e10
        assert 0 < answer.tokens_per_s < 1e9


def memory_adds_up(_: Case, answer: Answer) -> None:
    """The parts of a GPU's memory are its total."""
    if not answer.feasible:
        return
    memory = answer.json["memory_per_gpu"]
    parts = [v for k, v in memory.items() if k.endswith("_bytes") and k != "total_bytes"]
    assert abs(sum(parts) - memory["total_bytes"]) <= len(parts)


def tokens_are_those_of_the_requests(case: Case, answer: Answer) -> None:
    """Tokens/s are requests/s times the mean answer."""
    if answer.feasible:
        mean = int(case.option("--output-tokens") or 0)
        assert answer.tokens_per_s == pytest.approx(answer.requests_per_s * mean, rel=0.03)


def requests_are_conserved(case: Case, answer: Answer) -> None:
    """Little's law: requests/s times the time of a request are the clients."""
    clients = case.option("--concurrency")
    if answer.feasible and clients:
        seconds = mean_ms(answer, int(case.option("--output-tokens") or 0)) / 1000
        assert answer.requests_per_s * seconds == pytest.approx(int(clients), rel=0.03)


def a_rate_is_served(case: Case, answer: Answer) -> None:
    """What is sent is served, neither more nor less."""
    rate = case.option("--rate")
    if answer.feasible and rate:
        assert answer.requests_per_s == pytest.approx(float(rate), rel=0.05)


def kv_is_not_overdrawn(case: Case, answer: Answer) -> None:
    """What is being decoded, half answered in the mean, holds no more KV than there is.

    Somewhat more, as time between tokens tells it: a request that was preempted waits for its next.
    """
    if not answer.feasible:
        return
    outputs = int(case.option("--output-tokens") or 0)
    gap = answer.json["prediction"]["tpot_distribution"]["mean"] / 1000
    decoding = answer.requests_per_s * (outputs - 1) * gap
    held = decoding * (int(case.option("--input-tokens") or 0) + outputs / 2)
    assert held <= 1.1 * answer.kv_tokens * answer.split[-1]


def physics_is_obeyed(case: Case, answer: Answer) -> None:
    """TPOT reads the weights, TTFT computes the prompt, and all of it is within the peak."""
    if not answer.feasible:
        return
    bounds, (tensor, pipeline, data, _, replicas) = bounds_of(case), answer.split
    ranks = tensor * data
    prompt, outputs = (int(case.option(o) or 0) for o in ("--input-tokens", "--output-tokens"))
    # Stages take turns, so that their bandwidth does not add up for one token.
    if outputs > 1:
        read_ms = 1000 * bounds.bytes_per_step / (ranks * bounds.bytes_per_s)
        assert answer.tpot_ms >= read_ms
    computed = SHORTEST * prompt * bounds.flops_per_token
    assert answer.ttft_ms >= 1000 * computed / (ranks * pipeline * bounds.flops_per_s)
    per_s = answer.requests_per_s * (prompt + outputs - 1) * bounds.flops_per_token
    assert per_s <= ranks * pipeline * replicas * bounds.flops_per_s


def the_choice_is_the_best_of_its_table(case: Case, answer: Answer) -> None:
    """No other split that was simulated and meets the targets is better beyond a tie."""
    if not answer.feasible:
        return
    best = worth(case, answer.json["parallelism"] | flat(answer.json["prediction"]))
    for row in simulated(answer.json):
        if row["feasible"]:
            assert worth(case, row) <= best * (1 + ALIKE), row


def nothing_is_claimed_that_was_not_simulated(_: Case, answer: Answer) -> None:
    """Without figures a split is not said to be feasible."""
    for row in answer.json["alternatives"]:
        assert not row["feasible"] or row["ttft_ms"] is not None, row


def the_choice_alone_is_the_same(case: Case, answer: Answer) -> None:
    """Asked for by its own options the chosen split has the same figures."""
    if answer.feasible:
        alone = ask(exactly(case, answer.split, answer.json["limits"]))
        assert alone.feasible, alone.told
        assert flat(alone.json["prediction"]) == flat(answer.json["prediction"])


def a_row_alone_is_the_same(case: Case, answer: Answer) -> None:
    """So has one of the other splits; one that misses a target is refused alone too."""
    rows = simulated(answer.json)
    if not answer.feasible or not rows:
        return
    row = rows[crc32(repr(case).encode()) % len(rows)]
    alone = ask(exactly(case, split_of(row), answer.json["limits"]))
    assert alone.feasible == row["feasible"], (row, alone.told)
    if alone.feasible:
        for name, value in flat(alone.json["prediction"]).items():
            assert value == pytest.approx(row[name], rel=1e-6), row


def the_same_input_gives_the_same_bytes(case: Case, answer: Answer) -> None:
    """Nothing depends on what was asked before."""
    assert ask_anew(case) == answer


def people_are_told_the_same(case: Case, answer: Answer) -> None:
    """The text has the figures of the JSON."""
    if answer.feasible:
        words = " ".join(text(case).split())
        assert duration(answer.ttft_ms) in words
        assert duration(answer.tpot_ms) in words
        assert f"Output tokens per second {number(answer.tokens_per_s)} " in words
        # More than three times as much is told as a factor.
        assert all(int(percent) <= 200 for percent in re.findall(r"\+(\d+)%", words))


def mean_ms(answer: Answer, outputs: int) -> float:
    """Milliseconds of a mean request."""
    prediction = answer.json["prediction"]
    gap = prediction["tpot_distribution"]["mean"]
    return float(prediction["ttft_distribution"]["mean"] + (outputs - 1) * gap)


def flat(prediction: Json) -> dict[str, float]:
    """The figures of a prediction under the names that alternatives have."""
    names = ("ttft_ms", "tpot_ms", "output_tokens_per_s")
    return {name: prediction[name]["value"] for name in names}


def simulated(document: Json) -> list[Json]:
    """The alternatives with figures."""
    return [row for row in document["alternatives"] if row["ttft_ms"] is not None]


def worth(case: Case, row: Json) -> float:
    """What is asked for the most of."""
    if case.option("--optimize") == "latency":
        gaps = int(case.option("--output-tokens") or 0) - 1
        return 1 / float(row["ttft_ms"] + gaps * row["tpot_ms"])
    devices = row["tensor"] * row["pipeline"] * row["data"] * row["replicas"]
    each = devices if case.option("--optimize") == "cost" else 1
    return float(row["output_tokens_per_s"]) / each


CHECKS: tuple[Callable[[Case, Answer], None], ...] = (
    in_bounds,
    memory_adds_up,
    tokens_are_those_of_the_requests,
    requests_are_conserved,
    a_rate_is_served,
    kv_is_not_overdrawn,
    physics_is_obeyed,
    the_choice_is_the_best_of_its_table,
    nothing_is_claimed_that_was_not_simulated,
    the_choice_alone_is_the_same,
    a_row_alone_is_the_same,
)
# These plan the same case again.
ASKED_AGAIN = (the_same_input_gives_the_same_bytes, people_are_told_the_same)
PARTS = 10


def all_hold(case: Case, *, again: bool = True) -> None:
    """Every check of what is answered; what is refused is so in one line."""
    answer = ask(case)
    for check in (*CHECKS, *(ASKED_AGAIN if again else ())) if answer.written else ():
        check(case, answer)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_plan_for_clients(part: int) -> None:
    """All checks hold for plans of all kinds; closed loops are quick, so these are the most.

    Each part has models of its own, so that few are drawn twice.
    """
    case = wide_cases("concurrency", what=st.sampled_from(MODELS[part::PARTS]))
    holds(all_hold, 10, part, case=case, again=st.just(part % 5 == 0))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_every_plan_at_a_rate(part: int) -> None:
    """They hold for open loops too, which take long to settle."""
    holds(all_hold, 3, part, case=wide_cases("rate"))


def test_a_plain_plan() -> None:
    """All checks hold for a well-known model on one GPU."""
    all_hold(Case("llama-8b", "1xH100").given(backend="vllm", concurrency=8, output_tokens=64))


@pytest.mark.slow
def test_a_few_plans() -> None:
    """All checks hold for plans of well-known models on one machine."""
    few = wide_cases(what=st.sampled_from(PLAIN[:4]), where=st.sampled_from(GPUS[:5]))
    holds(all_hold, 2, 0, case=few)
