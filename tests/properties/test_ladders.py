"""What holds between two plans of which one is asked for more, or is given more."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.properties.drawn import GPUS, OBJECTIVES, RATES, cases, holds
from tests.properties.plans import Answer, Case, ask, only
from tpdeploy.planner.search.ranking import TIE

# What a simulation's draws may move.
NOISE = 0.02
# Two choices of which each may be so much below the best for being simpler.
ALIKE = max(TIE, 0.05) + NOISE

# The same device with more memory; other devices with more of it are quicker too.
LARGER = (
    ("8xA100-40GB", "8xA100-80GB"),
    ("1xA100-40GB", "1xA100-80GB"),
    ("2xA100-40GB", "2xA100-80GB"),
    ("4xH100", "4xH200"),
    ("8xH100", "8xH200"),
    ("8xV100-SXM2-16GB", "8xV100-SXM2-32GB"),
    ("8xMI300X", "8xMI325X"),
)
# GPUs that are sold with a bridge and without.
BRIDGED = ("2xH100-PCIE-80GB", "2xA100-PCIe-80GB", "2xH100-NVL", "4xRTX-A6000", "2xRTX-3090")
FEWER = (
    ("1xH100", "2xH100"),
    ("2xH100", "4xH100"),
    ("4xH100", "8xH100"),
    ("8xH100", "2x8xH100"),
    ("4xL40S", "8xL40S"),
    ("8xH200", "3x8xH200"),
    ("1xA100-80GB", "3xA100-80GB"),
)
TARGETS = (100, 200, 400, 800, 1600, 5000)
GAPS = (10, 15, 25, 40, 80)

factors = st.sampled_from((2, 1.3, 4))


def on_one(case: Case, tensor: int) -> Case:
    """The case with one replica of a width, so that only the load differs."""
    return case.given(tp=tensor, pp=1, dp=1, replicas=1)


def more_arrivals_never_help(case: Case, tensor: int, rate: float, factor: float) -> None:
    """At a higher rate one replica's latencies are no lower, and it serves no less."""
    asked = on_one(case, tensor)
    few, many = ask(asked.given(rate=rate)), ask(asked.given(rate=rate * factor))
    if not many.feasible:
        return
    assert few.feasible, few.told
    assert many.ttft_ms >= few.ttft_ms * (1 - NOISE)
    assert many.tpot_ms >= few.tpot_ms * (1 - NOISE)
    assert many.requests_per_s >= few.requests_per_s * (1 - NOISE)


def more_clients_lose_no_throughput(case: Case, tensor: int, factor: int) -> None:
    """More clients of one replica get no fewer tokens/s."""
    asked = on_one(case, tensor)
    few = ask(asked)
    many = ask(asked.given(concurrency=int(case.option("--concurrency") or 1) * factor))
    if few.feasible:
        assert many.feasible, many.told
        assert many.tokens_per_s >= few.tokens_per_s * (1 - NOISE)


def more_clients_lose_no_throughput_of_the_best(case: Case, factor: int) -> None:
    """Neither do they where the split may differ, but for splits that are about as good."""
    few = ask(case)
    many = ask(case.given(concurrency=int(case.option("--concurrency") or 1) * factor))
    if few.feasible:
        assert many.feasible, many.told
        assert many.tokens_per_s >= few.tokens_per_s * (1 - ALIKE)


def more_memory_holds_no_fewer_tokens(case: Case, gpus: tuple[str, str]) -> None:
    """The same split on GPUs with more memory has at least the KV cache, and is feasible."""
    less = ask(case.on(gpus[0]))
    if not less.feasible:
        return
    assert ask(case.on(gpus[1])).feasible
    more = ask(only(case, less.split).on(gpus[1]))
    assert more.feasible, more.told
    assert more.kv_tokens >= less.kv_tokens


def a_quicker_fabric_is_never_slower(case: Case, gpus: str) -> None:
    """With NVLink a split over all GPUs is no slower than over PCIe."""
    fixed = case.on(gpus).given(tp=int(gpus[0]), pp=1, replicas=1)
    pcie, nvlink = (ask(fixed.given(interconnect=kind)) for kind in ("pcie", "nvlink"))
    if not pcie.feasible:
        return
    assert nvlink.feasible, nvlink.told
    assert nvlink.tpot_ms <= pcie.tpot_ms * (1 + NOISE)
    assert nvlink.tokens_per_s >= pcie.tokens_per_s * (1 - NOISE)


def more_gpus_lose_no_throughput(case: Case, gpus: tuple[str, str]) -> None:
    """Whoever has more of them may leave some idle."""
    fewer = ask(case.on(gpus[0]))
    if fewer.feasible:
        more = ask(case.on(gpus[1]))
        assert more.feasible, more.told
        assert more.tokens_per_s >= fewer.tokens_per_s * (1 - ALIKE)


def a_looser_target_is_no_worse(case: Case, name: str, tight: int, loose: int) -> None:
    """What meets a target meets a looser one, with at least its tokens/s."""
    strict = ask(case.given(**{name: tight}))
    if strict.feasible:
        eased = ask(case.given(**{name: max(tight, loose)}))
        assert eased.feasible, eased.told
        assert eased.tokens_per_s >= strict.tokens_per_s * (1 - ALIKE)


def fp8_needs_no_more_memory(case: Case, kind: str) -> None:
    """Weights or a KV cache in FP8 take at most what they take as they are stored."""
    plain = ask(case)
    if not plain.feasible:
        return
    small = ask(only(case, plain.split).given(**{kind: "fp8"}))
    if small.code == 2:  # checkpoints that are quantized already, or devices without FP8
        return
    assert small.feasible, small.told
    weights = [a.json["memory_per_gpu"]["weights_bytes"] for a in (plain, small)]
    assert weights[1] <= weights[0]
    assert small.kv_tokens >= plain.kv_tokens


closed, arriving = cases(load="concurrency"), cases(load="rate")
widths = st.sampled_from((1, 2, 4, 8))
LADDERS: tuple[tuple[Callable[..., None], dict[str, st.SearchStrategy[Any]]], ...] = (
    (
        more_arrivals_never_help,
        {"case": arriving, "tensor": widths, "rate": st.sampled_from(RATES), "factor": factors},
    ),
    (
        more_clients_lose_no_throughput,
        {"case": closed, "tensor": widths, "factor": st.sampled_from((2, 3, 10))},
    ),
    (
        more_clients_lose_no_throughput_of_the_best,
        {"case": closed, "factor": st.sampled_from((2, 3, 10))},
    ),
    (more_memory_holds_no_fewer_tokens, {"case": closed, "gpus": st.sampled_from(LARGER)}),
    (a_quicker_fabric_is_never_slower, {"case": closed, "gpus": st.sampled_from(BRIDGED)}),
    (more_gpus_lose_no_throughput, {"case": closed, "gpus": st.sampled_from(FEWER)}),
    (
        a_looser_target_is_no_worse,
        {
            "case": closed,
            "name": st.just("ttft"),
            "tight": st.sampled_from(TARGETS),
            "loose": st.sampled_from(TARGETS),
        },
    ),
    (
        a_looser_target_is_no_worse,
        {
            "case": cases(),
            "name": st.just("tpot"),
            "tight": st.sampled_from(GAPS),
            "loose": st.sampled_from(GAPS),
        },
    ),
    (
        fp8_needs_no_more_memory,
        {"case": closed, "kind": st.sampled_from(("quantization", "kv_cache_dtype"))},
    ),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "drawn"), LADDERS, ids=lambda part: getattr(part, "__name__", "")
)
def test_two_plans(check: Callable[..., None], drawn: dict[str, st.SearchStrategy[Any]]) -> None:
    """Each check holds between plans of all kinds."""
    holds(check, 8, 0, **drawn)


PLAIN = Case("llama-8b", "1xH100").given(backend="vllm", output_tokens=64)


@pytest.mark.slow
def test_two_plain_plans() -> None:
    """The quicker checks hold for a well-known model."""
    crowd = PLAIN.given(concurrency=8)
    more_arrivals_never_help(PLAIN, 1, 1, 2)
    more_clients_lose_no_throughput(crowd, 1, 2)
    more_memory_holds_no_fewer_tokens(crowd, ("1xH100", "1xH200"))
    more_gpus_lose_no_throughput(crowd, ("1xH100", "2xH100"))
    a_looser_target_is_no_worse(crowd, "tpot", 15, 40)
    fp8_needs_no_more_memory(crowd, "quantization")


DEVICES = ("H100", "H200", "A100-80GB", "L40S", "B200", "RTX-4090", "A40")
MACHINE = 8


def stated(case: Case, answer: Answer) -> Case:
    """The case with the cluster that an open count was answered with."""
    cluster = answer.json["cluster"]
    nodes, count, gpu = cluster["nodes"], cluster["count"], case.gpus
    return case.on(f"{nodes}x{count // nodes}x{gpu}" if nodes > 1 else f"{count}x{gpu}")


def fewer(case: Case, devices: int) -> Case | None:
    """The case with the most GPUs, in whole machines, that are fewer than these."""
    if devices <= MACHINE:
        return case.on(f"{devices - 1}x{case.gpus}") if devices > 1 else None
    machines = (devices - 1) // MACHINE
    return case.on(f"{machines}x{MACHINE}x{case.gpus}")


def the_open_count_is_the_fewest(case: Case) -> None:
    """Stated, the count is feasible; one fewer is not, or only by what whoever counts must not do.

    Where there is none, 64 are too few.
    """
    answer = ask(case)
    if answer.code == 2:
        return
    if not answer.feasible:
        assert not ask(case.on(f"{MACHINE}x{MACHINE}x{case.gpus}")).feasible
        return
    same = ask(stated(case, answer))
    assert same.feasible, same.told
    less = fewer(case, answer.devices)
    assert less is None or not feasible_for_who_counts(case, ask(less)), f"{less} is feasible"


def feasible_for_who_counts(case: Case, answer: Answer) -> bool:
    """Whether there is a plan that moves no limit of an engine, and that nobody queues for long.

    Whoever states the GPUs may have either.
    """
    if not answer.feasible or any("Fits only with" in r for r in answer.json["reasons"]):
        return False
    told = answer.json["prediction"]
    decoding = (int(case.option("--output-tokens") or 0) - 1) * told["tpot_distribution"]["mean"]
    return bool(told["ttft_distribution"]["mean"] <= decoding)


@st.composite
def open_counts(draw: st.DrawFn) -> Case:
    """A load and a device, with a target where there is no rate, as whoever asks must."""
    case = draw(cases(where=st.sampled_from(DEVICES)))
    if case.option("--concurrency"):
        return case.given(tpot=draw(st.sampled_from(GAPS)))
    return case.given(ttft=draw(st.sampled_from((None, *TARGETS))))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_the_fewest_gpus(part: int) -> None:
    """An open count is answered with the fewest GPUs, and with none only where there are none."""
    holds(the_open_count_is_the_fewest, 6, part, case=open_counts())


@pytest.mark.slow
def test_gpus_and_objectives_are_those_of_the_command_line() -> None:
    """Every device that is drawn is known: else these checks would check nothing."""
    known = Case("llama-8b", "1xH100").given(backend="vllm")
    named = [*GPUS, *(f"1x{d}" for d in DEVICES), *BRIDGED]
    for gpus in [*named, *(g for pair in (*LARGER, *FEWER) for g in pair)]:
        assert ask(known.on(gpus)).code != 2, gpus
    for objective in OBJECTIVES:
        assert ask(known.given(optimize=objective)).feasible
