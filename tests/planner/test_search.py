"""The plan: what fits is chosen for the load, what does not is refused with its reason."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpdeploy.errors import InfeasibleError, InputError
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.precision import served_shape
from tpdeploy.planner.question import EngineRules, Question
from tpdeploy.planner.search import Outcome, plan, search
from tpdeploy.planner.workload import Target, Workload
from tpdeploy.profiles.gpus_spec import parse_gpus
from tpdeploy.profiles.models import load_model
from tpdeploy.profiles.record import Dtype

LOAD = Workload(concurrency=32)


def ask(
    model: str,
    gpus: str,
    *,
    workload: Workload = LOAD,
    quantization: str | None = None,
    interconnect: str | None = None,
    max_model_len: int | None = None,
    tensor: int | None = None,
    replicas: int | None = None,
) -> Question:
    cluster = parse_gpus(gpus, interconnect)
    refused: Mapping[int, str] = {}
    return Question(
        shape=served_shape(load_model(model), cluster.accelerator, None, quantization),
        cluster=cluster,
        workload=workload,
        engine=EngineRules("vllm", 0.92, refused),
        kv_cache_dtype=Dtype.BF16,
        quantization=quantization,
        max_model_len=max_model_len,
        tensor=tensor,
        replicas=replicas,
    )


def answer(question: Question) -> DeploymentPlan:
    return plan(question, search(question))


def reason_at(outcome: Outcome, tensor: int) -> str:
    return next(
        r.reason
        for r in outcome.refused
        if r.parallelism.tensor == tensor and r.parallelism.pipeline == 1
    )


def test_70b_in_bf16_needs_more_than_one_h100() -> None:
    """At TP 1 the weights alone exceed the card; the plan uses a wider group."""
    question = ask("llama-70b", "8xH100")
    assert "the weights alone take 131" in reason_at(search(question), 1)
    assert answer(question).parallelism.tensor > 1


def test_70b_in_fp8_barely_fits_one_h100() -> None:
    """FP8 weights of 70B leave room on one H100-80GB for little KV: it fits, with few tokens."""
    question = ask("llama-70b", "1xH100", quantization="fp8", max_model_len=2048)
    memory = answer(question).memory_per_gpu
    assert 62e9 < memory.weights_bytes < 75e9
    assert memory.kv_cache_bytes < 8e9


def test_illegal_widths_are_listed_with_their_reason() -> None:
    """64 heads do not divide by 3: TP 3 is rejected for that, not for memory."""
    assert "64" in reason_at(search(ask("llama-70b", "8xH100")), 3)


def test_a_width_asked_for_that_is_illegal_is_bad_input() -> None:
    """`--tp 2` on 9 heads names the legal widths."""
    with pytest.raises(InputError, match=r"--tp 2: .*9.*legal widths for .*: 1, 3"):
        search(ask("smollm2-135m", "4xH100", tensor=2))


def test_more_replicas_than_devices_is_bad_input() -> None:
    """Five replicas of two on eight devices cannot be placed; the most that can be is named."""
    with pytest.raises(InputError, match=r"--replicas up to 4 with --tp 2"):
        search(ask("llama-8b", "8xH100", tensor=2, replicas=5))


def test_context_above_the_models_is_bad_input() -> None:
    """A request longer than the model's context is refused before anything is computed."""
    load = Workload(input_tokens=200_000, concurrency=1)
    with pytest.raises(InputError, match=r"the context of .* is 131072"):
        search(ask("llama-70b", "8xH100", workload=load))


def test_nothing_that_fits_says_what_would_help() -> None:
    """405B in BF16 on two L40S is infeasible, with the shortage in GiB."""
    with pytest.raises(InfeasibleError, match=r"does not run on 2xL40S: at TP 2 .* GiB"):
        answer(ask("llama-405b", "2xL40S"))


def test_a_target_nothing_meets_names_the_closest() -> None:
    """An impossible TPOT is infeasible; the closest split and its value are named."""
    load = Workload(concurrency=8, tpot=Target(ms=0.01))
    with pytest.raises(InfeasibleError, match=r"closest is TP \d.*TPOT p50 .* misses the target"):
        answer(ask("llama-8b", "2xH100", workload=load))


def test_a_small_model_is_not_spread_over_eight_cards_on_pcie() -> None:
    """On PCIe eight ranks spend more in all-reduces than they save: a narrower width wins."""
    chosen = answer(ask("llama-1b", "8xL40S"))
    widest = next(a for a in chosen.alternatives if a.tensor == 8)
    assert chosen.parallelism.tensor < 8
    assert widest.tpot_ms is not None
    assert widest.tpot_ms > 2 * chosen.prediction.tpot_ms.value


def test_a_slower_interconnect_never_raises_throughput() -> None:
    """The same cards on PCIe serve TP 8 no faster than on NVSwitch."""
    fast = answer(ask("llama-70b", "8xH100", tensor=8))
    slow = answer(ask("llama-70b", "8xH100", tensor=8, interconnect="pcie"))
    assert slow.prediction.tpot_ms.value > fast.prediction.tpot_ms.value


def test_every_split_is_accounted_for() -> None:
    """The choice and its alternatives are all widths from 1 to 8, each with a reason."""
    chosen = answer(ask("llama-70b", "8xH100"))
    widths = {chosen.parallelism.tensor, *(a.tensor for a in chosen.alternatives)}
    assert widths == set(range(1, 9))
    assert all(a.reason for a in chosen.alternatives)


@settings(max_examples=30, deadline=None)
@given(
    model=st.sampled_from(["llama-8b", "llama-70b", "qwen3-32b", "mixtral-8x7b", "gpt-oss-20b"]),
    gpus=st.sampled_from(["8xH100", "8xA100", "8xL40S", "8xH200"]),
    concurrency=st.integers(1, 200),
)
def test_an_accepted_plan_fits_and_wider_never_needs_more(
    model: str, gpus: str, concurrency: int
) -> None:
    """Memory parts sum to the card, and weights per GPU never grow with TP."""
    load = Workload(input_tokens=512, output_tokens=64, concurrency=concurrency)
    outcome = search(ask(model, gpus, workload=load))
    plain = [c for c in outcome.ranked if c.parallelism.pipeline == c.parallelism.expert == 1]
    by_width = sorted(plain, key=lambda c: c.tensor)
    for candidate in outcome.ranked:
        memory = candidate.memory
        parts = memory.model_dump(exclude={"total_bytes", "kv_cache_tokens"}).values()
        assert sum(parts) == pytest.approx(memory.total_bytes, abs=16)
    weights = [c.memory.weights_bytes for c in by_width]
    assert weights == sorted(weights, reverse=True)
