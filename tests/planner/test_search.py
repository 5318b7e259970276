"""The plan: what fits is chosen for the load, what does not is refused with its reason."""

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planner.inputs import VLLM, ask
from tpdeploy.errors import InfeasibleError, InputError
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.evaluation import Prepared, prepare, simulate
from tpdeploy.planner.search.layouts import splits
from tpdeploy.planner.search.search import Outcome, plan, search
from tpdeploy.planner.search.steady_state import steady_state
from tpdeploy.planner.workload import Speculation, Target, Workload


def answer(inputs: PlanInputs) -> DeploymentPlan:
    return plan(inputs, search(inputs))


def reason_at(outcome: Outcome, tensor: int) -> str:
    return next(
        r.reason
        for r in outcome.refused
        if r.parallelism.tensor == tensor and r.parallelism.pipeline == 1
    )


def test_70b_in_bf16_needs_more_than_one_h100() -> None:
    """At TP 1 the weights alone exceed the card; the plan uses a wider group."""
    inputs = ask("llama-70b", "8xH100")
    assert "the weights alone take 131" in reason_at(search(inputs), 1)
    assert answer(inputs).parallelism.tensor > 1


def test_70b_in_fp8_barely_fits_one_h100() -> None:
    """FP8 weights of 70B leave room on one H100-80GB for little KV: it fits, with few tokens."""
    inputs = ask("llama-70b", "1xH100", quantization="fp8", max_model_len=2048)
    memory = answer(inputs).memory_per_gpu
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


def test_drafts_beyond_a_step_are_bad_input() -> None:
    """Five drafts and a token of the model do not go through a step of four."""
    load = Workload(concurrency=1, speculation=Speculation(tokens=5, acceptance=0.7))
    inputs = replace(ask("llama-8b", "1xH100", workload=load), max_num_batched_tokens=4)
    with pytest.raises(InputError, match="a step verifies 6 tokens of a sequence"):
        search(inputs)


def test_an_asked_step_is_kept() -> None:
    """64 tokens in a step leave at most 64 sequences."""
    inputs = replace(ask("llama-8b", "1xH100"), max_num_batched_tokens=64)
    limits = answer(inputs).limits
    assert (limits.max_num_batched_tokens, limits.max_num_seqs) == (64, 64)


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
    """Eight ranks over the host spend more in all-reduces than they save: a narrower width wins."""
    chosen = answer(ask("llama-1b", "8xRTX-4090"))
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


def test_devices_that_are_left_over_are_named() -> None:
    """Two groups of three leave two of eight; a replica that spans machines leaves none."""
    chosen = answer(ask("smollm2-135m", "8xH100", tensor=3))
    assert "2 of 8 GPUs stay idle: numbers 6, 7." in chosen.reasons
    one = answer(ask("llama-8b", "2x4xH100", tensor=4, replicas=1))
    assert "4 of 8 GPUs stay idle: numbers 0, 1, 2, 3 of machine 1." in one.reasons
    assert not any("idle" in reason for reason in answer(ask("llama-405b", "2x8xH100")).reasons)


def test_the_requests_a_kv_cache_holds_are_of_the_loads_length() -> None:
    """Windows do not shorten requests that fit them: fewer than tokens over length says."""
    inputs = ask("gemma-3-27b", "1xH100")
    chosen = search(inputs).ranked[0]
    by_tokens = chosen.memory.kv_cache_tokens // inputs.workload.context_tokens
    assert 0 < chosen.kv_requests < by_tokens
    fit = next(r for r in answer(inputs).reasons if "GiB of weights" in r)
    assert f"{chosen.kv_requests:,} requests of 1,280 tokens" in fit


def test_405b_in_bf16_becomes_two_stages_on_two_nodes() -> None:
    """No node holds it: each holds half the layers, with tensor parallelism inside."""
    chosen = answer(ask("llama-405b", "2x8xH100"))
    assert (chosen.parallelism.tensor, chosen.parallelism.pipeline) == (8, 2)
    assert {node for node, _ in chosen.placement[0].ranks} == {0, 1}
    assert any("no split without them fits" in reason for reason in chosen.reasons)


def test_stages_do_less_than_as_many_replicas() -> None:
    """They wait for each other; the KV cache, which limits neither here, is larger."""
    replicas = answer(ask("llama-8b", "2xH100", tensor=1, pipeline=1))
    stages = answer(ask("llama-8b", "2xH100", tensor=1, pipeline=2))
    assert stages.parallelism.replicas == 1
    told, most = (p.prediction.output_tokens_per_s.value for p in (stages, replicas))
    assert 0.6 * most < told < 0.9 * most
    assert stages.memory_per_gpu.kv_cache_tokens > 2 * replicas.memory_per_gpu.kv_cache_tokens


def test_stages_are_only_looked_at_where_a_width_lacks_memory() -> None:
    """On PCIe TP 4 and 8 hold 70B and the load: stages of them cannot win; TP 1 needs them."""
    outcome = search(ask("llama-70b", "8xH100", interconnect="pcie"))
    assert {p.tensor for p in everything(outcome) if p.pipeline > 1} == {1}


@pytest.mark.parametrize("clients", [32, 1024])
def test_no_stages_inside_an_nvlink_domain_where_a_width_fits(clients: int) -> None:
    """On NVSwitch a wider group is the better use of the devices, whatever the KV cache holds."""
    load = Workload(concurrency=clients)
    outcome = search(ask("llama-70b", "8xH100", workload=load))
    assert {p.pipeline for p in everything(outcome)} == {1}
    assert answer(ask("llama-405b", "2x8xH100")).parallelism.pipeline == 2
    asked = answer(ask("llama-70b", "8xH100", workload=load, tensor=2, pipeline=4))
    assert asked.parallelism.pipeline == 4


def everything(outcome: Outcome) -> list[Parallelism]:
    """Every split that was looked at."""
    return [
        *(c.parallelism for c in outcome.ranked),
        *(e.prepared.parallelism for e in outcome.estimated),
        *(r.parallelism for r in outcome.refused),
    ]


def test_whole_experts_are_for_models_that_have_experts() -> None:
    """Expert parallelism is looked at for Mixtral, never for a dense model, and can be fixed."""
    mixtral = search(ask("mixtral-8x7b", "4xH100"))
    assert any(c.parallelism.expert > 1 for c in mixtral.ranked)
    dense = search(ask("llama-8b", "4xH100"))
    assert all(c.parallelism.expert == 1 for c in dense.ranked)
    only = search(ask("mixtral-8x7b", "4xH100", expert_parallel=True))
    assert all(c.parallelism.expert == c.parallelism.tensor for c in only.ranked)
    never = search(ask("mixtral-8x7b", "4xH100", expert_parallel=False))
    assert all(c.parallelism.expert == 1 for c in never.ranked)


def test_an_engine_without_stages_or_whole_experts_is_not_planned_with_them() -> None:
    """What the adapter says it cannot do is not looked at, and refused when asked for."""
    alone = replace(VLLM, name="plain", pipeline=False, several_machines=False)
    plain = replace(alone, expert_parallel=False)
    outcome = search(ask("mixtral-8x7b", "2x8xH100", engine=plain))
    splits = [c.parallelism for c in outcome.ranked] + [r.parallelism for r in outcome.refused]
    assert all(p.pipeline == p.expert == 1 for p in splits)
    with pytest.raises(InputError, match="plain runs no pipeline stages here"):
        search(ask("llama-8b", "2xH100", engine=plain, tensor=1, pipeline=2))


def test_a_depth_that_does_not_fit_the_devices_is_bad_input() -> None:
    """Three stages of four on eight devices: two is the most."""
    with pytest.raises(InputError, match=r"--tp 4 --pp 3: .*--pp up to 2 with --tp 4"):
        search(ask("llama-8b", "8xH100", tensor=4, pipeline=3))


def test_for_cost_fewer_replicas_may_be_the_answer() -> None:
    """Four requests at a time need one GPU for an 8B model; the others stay idle, and are named."""
    load = Workload(concurrency=4)
    cheap = answer(ask("llama-8b", "8xH100", workload=load, optimize="cost", gpu_price_per_hour=2))
    assert cheap.parallelism.devices < 8
    assert any("stay idle" in reason for reason in cheap.reasons)
    fast = answer(ask("llama-8b", "8xH100", workload=load, gpu_price_per_hour=2))
    assert cheap.cost
    assert fast.cost
    value = cheap.cost.per_million_output_tokens.value
    assert value < fast.cost.per_million_output_tokens.value


def test_for_latency_the_quickest_answer_wins() -> None:
    """One request at a time on NVSwitch: the widest group answers first."""
    chosen = answer(
        ask("llama-70b", "8xH100", workload=Workload(concurrency=1), optimize="latency")
    )
    assert chosen.parallelism.tensor == 8
    quickest = end_to_end(chosen.prediction.ttft_ms.value, chosen.prediction.tpot_ms.value)
    for other in chosen.alternatives:
        if other.ttft_ms and other.tpot_ms:
            assert end_to_end(other.ttft_ms, other.tpot_ms) >= quickest


def test_what_was_not_simulated_says_how_far_behind_it_is() -> None:
    """Each split that fits and was not simulated names its estimate and the distance."""
    chosen = answer(ask("llama-70b", "8xH100", interconnect="pcie"))
    skipped = [a for a in chosen.alternatives if a.feasible is None]
    assert skipped
    assert all(a.tpot_ms is None for a in skipped)
    assert all("tokens/s (-" in a.reason and "not simulated" in a.reason for a in skipped)


@pytest.mark.parametrize("model", ["llama-8b", "llama-70b", "mixtral-8x7b"])
@pytest.mark.parametrize("clients", [1, 16, 128])
def test_the_steady_state_ranks_as_the_simulation_does(model: str, clients: int) -> None:
    """Where the simulation sees a split far ahead, its closed form does too."""
    inputs = ask(model, "8xH100", workload=Workload(concurrency=clients))
    found = []
    for split in splits(inputs):
        prepared = prepare(inputs, split)
        if isinstance(prepared, Prepared) and split.pipeline == 1:
            simulated = simulate(inputs, prepared).tokens_per_s
            found.append((simulated, steady_state(inputs, prepared).tokens_per_s))
    for one, other in combinations(sorted(found), 2):
        assert other[0] < 1.5 * one[0] or other[1] > one[1]


def end_to_end(ttft_ms: float, tpot_ms: float) -> float:
    return ttft_ms + 255 * tpot_ms


@pytest.mark.slow
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
