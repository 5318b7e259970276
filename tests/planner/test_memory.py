"""Memory per rank is what real engines logged, and decides what fits as published runs found."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.planner.inputs import VLLM, ask
from tpdeploy.planner.engine_rules import EngineRules, KvAllocation
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.memory.footprint import (
    GIB,
    MemoryNeeds,
    StepSize,
    activation_bytes,
    captured_sizes,
    graph_bytes,
    memory_needs,
    room_for_kv,
)
from tpdeploy.planner.memory.sizing import DoesNotFit, Sized, size, usable_bytes
from tpdeploy.planner.model.precision import served_shape
from tpdeploy.planner.model.stages import stage_weight_bytes, stages
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.models.shape import Quantization
from tpdeploy.profiles.record import Dtype

H100 = parse_gpus("8xH100")
# vLLM 0.19 on H100-SXM-80GB, 8,192 tokens, 1,024 sequences per step: what each first rank logged,
# in GiB (llm-d-incubation/llm-d-planner@3fdf824d, accuracy/accuracy_report.md and its logs).
LOGGED_STEP = StepSize(batched_tokens=8192, sequences=1024)
LOGGED = [
    # model, quantization, TP, PP, weights, peak activations, memory outside PyTorch
    ("llama-3.1-8b", None, 1, 1, 14.99, 1.89, 0.25),
    ("llama-3.1-8b", None, 2, 1, 7.51, 1.89, 2.07),
    ("llama-3.1-8b", None, 4, 1, 3.77, 1.89, 2.13),
    ("llama-3.1-8b", None, 1, 2, 7.51, 1.10, 0.07),
    ("llama-3.1-8b", None, 1, 4, 4.26, 1.05, 0.07),
    ("llama-3.1-8b", "fp8", 1, 1, 8.49, 1.89, 0.25),
    ("qwen2.5-7b", None, 1, 1, 14.25, 2.21, 0.24),
    ("qwen2.5-7b", None, 2, 1, 7.12, 2.21, 2.06),
    ("qwen2.5-7b", None, 4, 1, 3.55, 2.21, 2.13),
    ("qwen3-14b", None, 1, 1, 27.52, 2.23, 0.25),
]
LOGGED_ACTIVATIONS = [
    ("phi-4", 1, 1.52),
    ("deepseek-v2-lite", 1, 1.93),
    ("qwen3-30b-a3b", 1, 2.68),
    ("llama-4-scout", 4, 3.19),
    ("mixtral-8x7b", 2, 1.21),
    ("gpt-oss-20b", 2, 2.87),
]


def needs(
    model: str, tp: int, pp: int = 1, quantization: str | None = None, step: StepSize = LOGGED_STEP
) -> MemoryNeeds:
    """What the first rank needs."""
    shape = served_shape(load_model(model), H100.accelerator, None, quantization)
    split = Parallelism(tensor=tp, pipeline=pp)
    return memory_needs(
        shape, split, stages(shape, pp)[0], step, H100.accelerator, overheads=VLLM.overheads
    )


def sized(
    model: str,
    gpus: str,
    *,
    tp: int,
    pp: int = 1,
    expert_parallel: bool = False,
    quantization: str | None = None,
    tokens: int = 2048,
    rules: EngineRules | None = None,
) -> Sized:
    """One replica under a load of single requests of `tokens`."""
    cluster = parse_gpus(gpus)
    shape = served_shape(load_model(model), cluster.accelerator, None, quantization)
    inputs = PlanInputs(
        shape,
        cluster,
        Workload(input_tokens=tokens - 256, output_tokens=256, concurrency=1),
        rules or VLLM,
        Dtype.BF16,
        quantization=quantization,
    )
    expert = tp if expert_parallel else 1
    return size(inputs, Parallelism(tensor=tp, pipeline=pp, expert=expert))


@pytest.mark.parametrize(
    ("model", "quantization", "tp", "pp", "weights", "activations", "outside"), LOGGED
)
def test_each_part_is_what_vllm_logged(
    model: str,
    quantization: str | None,
    tp: int,
    pp: int,
    weights: float,
    activations: float,
    outside: float,
) -> None:
    """Weights within 1 %, activations and what is outside PyTorch within 0.2 GiB."""
    rank = needs(model, tp, pp, quantization)
    assert rank.weights / GIB == pytest.approx(weights, rel=0.01)
    assert rank.activations / GIB == pytest.approx(activations, abs=0.2)
    assert (rank.libraries + rank.communicators) / GIB == pytest.approx(outside, abs=0.2)


@pytest.mark.parametrize(("model", "tp", "activations"), LOGGED_ACTIVATIONS)
def test_activations_of_experts_are_what_vllm_logged(
    model: str, tp: int, activations: float
) -> None:
    """Within 0.4 GiB of what six further architectures logged, experts and MLA among them."""
    assert needs(model, tp).activations / GIB == pytest.approx(activations, abs=0.4)


def test_the_kv_cache_holds_the_tokens_vllm_logged() -> None:
    """Llama 3.1 8B on one H100 at 0.95, graphs not counted: 476,016 tokens, within 1 %."""
    rank = needs("llama-3.1-8b", 1)
    room = 79.19 * GIB * 0.95 - rank.counted + rank.graphs
    assert room / (2 * 32 * 8 * 128 * 2) == pytest.approx(476_016, rel=0.01)


@pytest.mark.parametrize(("layers", "logged"), [(32, 0.91), (24, 0.82)])
def test_graphs_take_what_vllm_logged(layers: int, logged: float) -> None:
    """Pools of Llama 3.1 8B (0.91 GiB) and, as estimated, Qwen1.5-MoE (0.82 GiB)."""
    assert graph_bytes(layers, 1024, VLLM.overheads) / GIB == pytest.approx(logged, abs=0.15)


@pytest.mark.parametrize(("sequences", "graphs"), [(512, 51), (256, 35), (16, 5), (1024, 51)])
def test_graphs_are_captured_for_the_sizes_vllm_names(sequences: int, graphs: int) -> None:
    """51 for batches up to 512 and 35 up to 256, as its log says; 1, 2, 4, 8, 16 up to 16."""
    assert captured_sizes(sequences) == graphs


def test_405b_in_fp8_has_the_weights_per_rank_that_vllm_logged() -> None:
    """57.752 GiB on each of eight ranks (vllm-project/vllm issue 6746): the published checkpoint
    keeps attention in BF16, and two whole layers, which are not counted here."""
    attention = ("q", "k", "v", "output")
    stored = Quantization(method="fbgemm_fp8", weights=Dtype.FP8, excluded=attention)
    shape = load_model("llama-405b").model_copy(update={"quantization": stored})
    (whole,) = stages(shape, 1)
    weights = stage_weight_bytes(shape, Parallelism(tensor=8), whole)
    assert weights / GIB == pytest.approx(57.752, rel=0.03)


def test_mxfp4_experts_are_held_in_whole_tiles() -> None:
    """gpt-oss-120b takes 65.97 GiB on one H100 (vllm-project/vllm issue 23278), not 60.8."""
    assert needs("gpt-oss-120b", 1).weights / GIB == pytest.approx(65.97, rel=0.01)


def test_70b_in_fp8_barely_fits_one_h100() -> None:
    """It fits, with KV for a few requests: vLLM logged 22,096 tokens at 0.98 of the card
    (vllm-project/vllm pull request 12569), and less is left at 0.92."""
    rules = replace(VLLM, memory_fraction=0.98)
    generous = sized("llama-70b", "1xH100", tp=1, quantization="fp8", rules=rules)
    assert generous.memory.kv_cache_tokens == pytest.approx(22_096, rel=0.25)
    usual = sized("llama-70b", "1xH100", tp=1, quantization="fp8")
    assert 2048 < usual.memory.kv_cache_tokens < 12_000


def test_a_context_that_the_cache_limits_is_planned_with_something_to_spare() -> None:
    """vLLM itself fitted 20,272 tokens of Qwen3-8B on an A10 (kaito-project/kaito pull request
    2156); a plan for more would not start. A context that is stated is kept."""
    rules = replace(VLLM, memory_fraction=0.9)
    found = sized("qwen3-8b", "1xA10", tp=1, rules=rules)
    assert 15_000 < found.limits.max_model_len < 20_272 < found.memory.kv_cache_tokens
    spare = found.memory.kv_cache_tokens - found.limits.max_model_len
    assert spare * 147_456 == pytest.approx(GIB / 2, rel=0.01)


def test_windows_take_room_while_a_prompt_is_read() -> None:
    """18 of gpt-oss-120b's layers keep what leaves their windows for two steps of 8,192 tokens.

    As many others keep every token, so that the context is shorter by as many tokens.
    """
    rules = replace(VLLM, async_scheduling=True)
    whole = replace(rules, kv_allocation=KvAllocation(whole_requests=True))
    usual, without = (sized("gpt-oss-120b", "1xH100", tp=1, rules=r) for r in (rules, whole))
    assert usual.memory.kv_cache_bytes == without.memory.kv_cache_bytes
    shorter = without.limits.max_model_len - usual.limits.max_model_len
    assert shorter == pytest.approx(2 * 8192, abs=2)


def test_70b_in_fp16_has_almost_no_kv_on_two_a100() -> None:
    """Weights take more than four fifths, and less than a fifteenth is left for KV."""
    memory = sized("llama-70b", "2xA100-80GB", tp=2).memory
    assert memory.kv_cache_bytes < memory.total_bytes / 15
    assert memory.weights_bytes > 0.8 * memory.total_bytes


def test_deepseek_v3_fits_eight_h200_and_not_eight_h100() -> None:
    """671 GB of FP8 weights: 84 GB on each of eight GPUs."""
    assert sized("deepseek-v3", "8xH200", tp=8).memory.kv_cache_tokens > 100_000
    with pytest.raises(DoesNotFit, match="weights alone"):
        sized("deepseek-v3", "8xH100", tp=8)


def test_405b_fits_one_node_in_fp8_and_needs_two_in_bf16() -> None:
    """Eight H100 hold it in FP8; in BF16 it takes two nodes as two pipeline stages."""
    assert sized("llama-405b", "8xH100", tp=8, quantization="fp8").kv_requests > 10
    with pytest.raises(DoesNotFit, match="weights alone"):
        sized("llama-405b", "8xH100", tp=8)
    assert sized("llama-405b", "2x8xH100", tp=8, pp=2).kv_requests > 10


def test_whole_experts_weigh_as_much_as_split_ones() -> None:
    """256 experts over 8 ranks: 32 whole ones or 256 eighths, to within a thousandth."""
    split = sized("deepseek-v3", "8xH200", tp=8).memory.weights_bytes
    whole = sized("deepseek-v3", "8xH200", tp=8, expert_parallel=True).memory.weights_bytes
    assert whole == pytest.approx(split, rel=1e-3)


def test_the_fused_all_reduce_is_counted_where_vllm_has_it() -> None:
    """Two RTX 4090 logged 0.25 GiB outside PyTorch in all (vllm-project/vllm issue 13061)."""
    assert sized("llama-8b", "2xH100", tp=2).memory.communicator_bytes > 1.5 * GIB
    assert sized("llama-8b", "2xRTX-4090", tp=2).memory.communicator_bytes == 0


ROOM = MemoryNeeds(
    weights=40 * GIB,
    activations=2 * GIB,
    graphs=1 * GIB,
    communicators=1 * GIB,
    libraries=0.5 * GIB,
    context=0.5 * GIB,
)


def test_a_fraction_of_the_total_is_not_one_of_what_is_free() -> None:
    """80 GiB at 0.9: vLLM's 72 GiB hold 44.5 and leave 27.5 for KV; TensorRT-LLM takes 0.9 of the
    35 GiB that are free."""
    assert room_for_kv(ROOM, 80 * GIB, 0.9, "total") / GIB == pytest.approx(27.5)
    assert room_for_kv(ROOM, 80 * GIB, 0.9, "free after weights") / GIB == pytest.approx(31.5)


@given(fraction=st.floats(0.05, 1), total=st.integers(30, 300))
def test_kv_never_takes_what_is_not_free(fraction: float, total: int) -> None:
    """Neither rule plans more KV than the card has left, nor hides that it has none."""
    free = total * GIB - ROOM.total
    for rule in ("total", "free after weights"):
        room = room_for_kv(ROOM, total * GIB, fraction, rule)
        assert room <= max(free, 0) or room == free
        assert (room > 0) <= (free > 0)


def test_the_engines_rule_reaches_the_plan() -> None:
    """The same fraction leaves an 8B model more KV where it is of free memory."""
    of_total = sized("llama-8b", "1xH100", tp=1, rules=replace(VLLM, memory_fraction=0.9))
    rules = replace(VLLM, memory_fraction=0.9, fraction_of="free after weights")
    of_free = sized("llama-8b", "1xH100", tp=1, rules=rules)
    assert of_free.memory.kv_cache_bytes > of_total.memory.kv_cache_bytes
    for memory in (of_total.memory, of_free.memory):
        parts = memory.model_dump(exclude={"total_bytes", "kv_cache_tokens"}).values()
        assert sum(parts) == pytest.approx(memory.total_bytes, abs=16)


def test_without_graphs_their_memory_is_kv_cache() -> None:
    """As much as vLLM would capture graphs in; a larger share of the memory adds up to it."""
    asked = ask("llama-8b", "1xL40S")
    usual = size(asked, Parallelism(tensor=1))
    eager = size(replace(asked, enforce_eager=True), Parallelism(tensor=1))
    gained = eager.memory.kv_cache_bytes - usual.memory.kv_cache_bytes
    assert gained == pytest.approx(usual.memory.graph_bytes, abs=2)
    roomy = size(replace(asked, memory_fraction=0.95), Parallelism(tensor=1))
    more = roomy.memory.kv_cache_bytes - usual.memory.kv_cache_bytes
    assert more == pytest.approx(0.03 * usable_bytes(asked), abs=2)


def test_fewer_sequences_leave_more_kv_cache() -> None:
    """Their logits and their graphs take memory; the limit is kept as stated."""
    asked = ask("llama-8b", "1xL40S")
    kept = [size(replace(asked, max_num_seqs=n), Parallelism(tensor=1)) for n in (256, 64, 16)]
    assert [sized.limits.max_num_seqs for sized in kept] == [256, 64, 16]
    cache = [sized.memory.kv_cache_bytes for sized in kept]
    assert cache == sorted(set(cache))


def test_each_data_rank_has_a_kv_cache_of_its_own() -> None:
    """MLA's latent is whole on every tensor rank: eight data ranks hold far more requests."""
    inputs = ask("deepseek-v3", "8xH200", workload=Workload(concurrency=256))
    wide = size(inputs, Parallelism.of(8, expert_parallel=True))
    data = size(inputs, Parallelism.of(1, data=8, expert_parallel=True))
    each = data.memory.kv_cache_bytes / wide.memory.kv_cache_bytes
    assert data.memory.kv_cache_tokens == pytest.approx(8 * each * wide.memory.kv_cache_tokens)
    assert data.held == pytest.approx(8 * each * wide.held)


def test_experts_hold_the_tokens_of_all_data_ranks() -> None:
    """Their buffers are for eight times the tokens of a step; everything else is as at TP 1."""
    shape = load_model("qwen3-30b-a3b")
    step, (stage,) = StepSize(batched_tokens=1024, sequences=256), stages(shape, 1)
    one, eight = (
        activation_bytes(shape, Parallelism.of(1, data=data, expert_parallel=True), stage, step, 0)
        for data in (1, 8)
    )
    assert shape.experts
    per_token = shape.experts.per_token * (3 * shape.experts.intermediate + shape.hidden)
    assert eight - one == 2 * 1024 * (7 * per_token + 8 * 2 * shape.hidden)


def test_the_limits_of_a_step_are_those_of_a_data_rank() -> None:
    """1,024 clients are 512 of each of two data ranks, and so are the sequences of a step."""
    inputs = ask("qwen3-30b-a3b", "2xH200", workload=Workload(concurrency=1024))
    sized = size(inputs, Parallelism.of(1, data=2, expert_parallel=True))
    assert sized.limits.max_num_seqs == 512
