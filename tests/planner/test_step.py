"""Step time: more work is never quicker, nothing is under the roofline, links count."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planner.inputs import VLLM
from tpdeploy.learning.corrections import Factors, corrected
from tpdeploy.planner.engine_rules import OwnKernels
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.performance.assembly import step_model
from tpdeploy.planner.performance.operators import imbalance, touched
from tpdeploy.planner.performance.step import Step
from tpdeploy.planner.performance.step_model import StepModel
from tpdeploy.planner.serving.prediction import EAGER_ERROR
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.models.shape import Attention
from tpdeploy.profiles.record import Dtype

OWN = VLLM.own_kernels
NAMES = ["llama-70b", "qwen3-30b-a3b", "deepseek-v3", "gpt-oss-120b", "gemma-3-27b"]


def model_of(
    name: str, gpus: str = "8xH100", tp: int = 8, pp: int = 1, expert: int = 1, link: str = ""
) -> StepModel:
    cluster = parse_gpus(gpus, link or None)
    split = Parallelism(tensor=tp, pipeline=pp, expert=expert)
    return step_model(load_model(name), cluster, split, Dtype.BF16, own=OWN)


MODELS = {name: model_of(name) for name in NAMES}


@settings(max_examples=40)
@given(
    name=st.sampled_from(NAMES),
    sequences=st.integers(1, 512),
    context=st.floats(1, 32768),
    prompt=st.integers(0, 8192),
)
def test_more_work_is_never_quicker(name: str, sequences: int, context: float, prompt: int) -> None:
    """One more sequence, more context, one more prompt token: each costs at least as much."""
    model = MODELS[name]
    base = Step(sequences, context, prompt, prompt / 2, verified=1)
    seconds = model.time(base).total
    assert model.time(Step(sequences + 1, context, prompt, prompt / 2)).total >= seconds
    assert model.time(Step(sequences, 2 * context, prompt, prompt / 2)).total >= seconds
    assert model.time(Step(sequences, context, prompt + 1, (prompt + 1) / 2)).total >= seconds
    assert model.time(Step(sequences, context, prompt, prompt / 2, verified=2)).total >= seconds


@pytest.mark.parametrize(
    ("model", "gpus", "reported_ms"), [("llama-8b", "1xH100", 8.4), ("qwen2.5-7b", "1xA100", 22.5)]
)
def test_eager_steps_are_between_what_was_reported(
    model: str, gpus: str, reported_ms: float
) -> None:
    """Decode steps of one sequence without CUDA graphs, within the range that is stated."""
    shape, cluster = load_model(model), parse_gpus(gpus)
    eager = step_model(shape, cluster, Parallelism(tensor=1), Dtype.BF16, eager=True)
    seconds = eager.time(Step(decode_sequences=1, decode_context=512)).total
    assert 1 / (1 + EAGER_ERROR) < seconds * 1e3 / reported_ms < 1 + EAGER_ERROR


def test_long_kernels_hide_their_launches() -> None:
    """A step that keeps a GPU busy for long is as quick without CUDA graphs on one GPU."""
    shape, cluster, split = load_model("llama-8b"), parse_gpus("1xH100"), Parallelism(tensor=1)
    step = Step(prefill_tokens=8192, prefill_context=4096, prefills_done=1)
    eager, usual = (
        step_model(shape, cluster, split, Dtype.BF16, eager=on, own=OWN).time(step)
        for on in (True, False)
    )
    assert eager == usual


def test_an_all_reduce_costs_more_without_graphs() -> None:
    """vLLM's own all-reduce was measured both ways; small messages lose the most."""
    shape, cluster, split = load_model("llama-70b"), parse_gpus("8xH100"), Parallelism(tensor=8)
    step = Step(decode_sequences=8, decode_context=512)
    eager, usual = (
        step_model(shape, cluster, split, Dtype.BF16, eager=on, own=OWN).time(step).communication
        for on in (True, False)
    )
    assert eager > 1.5 * usual


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_a_decode_step_is_not_under_the_roofline(tp: int) -> None:
    """70B in BF16: every rank reads its 141 GB / tp of weights at 3.35 TB/s at most."""
    seconds = model_of("llama-70b", tp=tp).time(Step(decode_sequences=1, decode_context=1024)).total
    assert seconds >= 138e9 / tp / 3.35e12


def test_a_prefill_is_not_under_the_roofline() -> None:
    """8,192 tokens of 70B on eight H100: 2 x 70e9 x 8,192 FLOPs at 8 x 989 TFLOP/s at most."""
    step = Step(prefill_tokens=8192, prefill_context=4096, prefills_done=1)
    assert model_of("llama-70b").time(step).total >= 2 * 69e9 * 8192 / (8 * 989e12)


def test_a_faster_link_is_never_slower() -> None:
    """The same GPUs on NVSwitch and on PCIe differ in communication alone."""
    step = Step(decode_sequences=32, decode_context=2048, prefill_tokens=1024, prefill_context=512)
    nvswitch, pcie = model_of("llama-70b").time(step), model_of("llama-70b", link="pcie").time(step)
    assert nvswitch.communication < pcie.communication
    assert (nvswitch.linear, nvswitch.attention) == (pcie.linear, pcie.attention)


def test_one_device_communicates_nothing() -> None:
    """No all-reduce, no hand-over."""
    assert model_of("llama-3.1-8b", tp=1).time(Step(decode_sequences=8)).communication == 0


def test_the_logits_are_gathered() -> None:
    """A step that samples hands on its share of the vocabulary's logits; one that does not, not."""
    model = model_of("llama-70b")
    reduces = Step(prefill_tokens=64, prefill_context=32)
    samples = Step(prefill_tokens=64, prefill_context=32, prefills_done=1)
    assert model.time(samples).communication > model.time(reduces).communication


def test_norms_over_all_heads_are_summed_over_the_ranks() -> None:
    """MiniMax-M2 norms Q and K over all heads: a third message in each of its 62 layers."""
    shape, cluster = load_model("minimax-m2.5"), parse_gpus("4xH200")
    assert isinstance(shape.attention, Attention)
    apart = shape.attention.model_copy(update={"qk_norm": "head"})
    other = shape.model_copy(update={"attention": apart})
    step, split = Step(decode_sequences=8, decode_context=1024), Parallelism(tensor=4)
    spanning, alone = (
        step_model(each, cluster, split, Dtype.BF16).time(step).communication
        for each in (shape, other)
    )
    assert spanning > 1.3 * alone


def test_stages_hand_over_the_residual_stream() -> None:
    """Two stages of TP 4 pay for one message more than a lone TP 4."""
    step = Step(decode_sequences=32, decode_context=1024)
    lone, staged = model_of("llama-70b", tp=4), model_of("llama-70b", tp=4, pp=2)
    assert staged.time(step).communication > lone.time(step).communication
    assert staged.time(step).linear == lone.time(step).linear


def test_each_stage_pays_for_being_given_its_part() -> None:
    """The engine's time per step comes once a stage; that per layer and token does not."""
    step = Step(decode_sequences=32, decode_context=1024, prefill_tokens=64)
    lone, staged = model_of("llama-70b", tp=2), model_of("llama-70b", tp=2, pp=4)
    once = lone.serving.step_s + lone.serving.prompt_step_s + lone.serving.group_step_s
    more = staged.time(step).overhead - lone.time(step).overhead
    assert more == pytest.approx(3 * once)


@pytest.mark.parametrize("name", [*NAMES, "qwen3.5-397b-a17b"])
def test_seconds_are_the_sum_of_their_causes(name: str) -> None:
    """Also where the counts of the step were met before, in another step."""
    model = model_of(name)
    for sequences, prompt, done in product((0, 1, 64), (0, 1, 777, 8192), (0, 1)):
        step = Step(sequences, 1500.0, prompt, prompt / 2, prefills_done=done)
        if step.tokens:
            assert model.seconds(step) == pytest.approx(model.time(step).total, rel=1e-12)


def test_the_host_writes_tables_for_each_token_of_context() -> None:
    """A time that no width divides: so long for each token of context of the decoding sequences."""
    step = Step(decode_sequences=32, decode_context=1000.0)
    for tp in (1, 8):
        model = model_of("llama-70b", tp=tp)
        slow = replace(model, serving=model.serving.model_copy(update={"context_s": 2e-8}))
        assert slow.seconds(step) - model.seconds(step) == pytest.approx(32 * 1000 * 2e-8)
        assert slow.time(step).total == pytest.approx(slow.seconds(step))


def test_ranks_wait_for_each_other() -> None:
    """The same for a small message and for a large one, and nothing on one device."""
    apart, alone = model_of("llama-70b"), model_of("llama-3.1-8b", tp=1)
    for tokens in (1, 4096):
        step = Step(prefill_tokens=tokens, prefill_context=1)
        at_once, waiting, single = (
            replace(model, serving=model.serving.model_copy(update={"arrival_s": late})).time(step)
            for model, late in ((apart, 0.0), (apart, 1e-5), (alone, 1e-5))
        )
        collectives = sum(exchange.count for exchange in apart.exchanges)
        waited = waiting.communication - at_once.communication
        assert waited == pytest.approx(collectives * 1e-5)
        assert single.communication == 0


def test_a_factor_on_communication_is_one_on_all_of_it() -> None:
    """What a machine was seen to take twice as long for, waiting included."""
    cluster = parse_gpus("8xH100")
    slower = corrected(cluster.efficiency, Factors(communication=2.0))
    step, split = Step(decode_sequences=32, decode_context=1024), Parallelism(tensor=8)
    before, after = (
        step_model(load_model("llama-70b"), each, split, Dtype.BF16).time(step).communication
        for each in (cluster, cluster.model_copy(update={"efficiency": slower}))
    )
    assert after == pytest.approx(2 * before)


def test_whole_experts_take_as_much_memory_and_move_fewer_activations() -> None:
    """A rank holds as many bytes either way; a token's values go to the rank of its expert only."""
    split, whole = model_of("qwen3-30b-a3b").experts, model_of("qwen3-30b-a3b", expert=8).experts
    assert split and whole
    assert whole.weight_bytes == pytest.approx(split.weight_bytes, rel=0.01)
    assert whole.flops_per_token == pytest.approx(split.flops_per_token, rel=0.01)
    assert whole.moved_per_token < split.moved_per_token


def test_narrower_experts_hand_on_as_many_hidden_values() -> None:
    """Four ranks share the products, and none of the inputs and outputs."""
    wide, narrow = (model_of("qwen3-30b-a3b", tp=tp).experts for tp in (1, 4))
    assert wide and narrow
    hidden, width, choices = 2048, 768, 8
    assert narrow.flops_per_token == pytest.approx(wide.flops_per_token / 4)
    assert wide.moved_per_token == choices * (4 * hidden + 6 * width) * 2
    assert narrow.moved_per_token == choices * (4 * hidden + 6 * width / 4) * 2


def test_windows_bound_the_context_read() -> None:
    """Five of six layers of Gemma 3 see 1,024 tokens: 32K of context costs far below 32 times."""
    model = MODELS["gemma-3-27b"]
    near, far = (model.time(Step(64, context)).attention for context in (1024.0, 32768.0))
    assert far < 10 * near


def test_touched_experts() -> None:
    """One token touches its share; many touch all."""
    assert touched(0.0625, 1) == pytest.approx(0.0625)
    assert touched(0.0625, 1000) == pytest.approx(1)


def test_imbalance_vanishes_with_many_choices_and_is_bounded() -> None:
    """Few choices may nearly all fall on one of eight ranks; a million are even."""
    assert 4 < imbalance(1, 8) <= 8
    assert imbalance(0.1, 8) == 8
    assert 1 < imbalance(1e6, 8) < 1.01
    assert imbalance(100, 1) == 1


def data_parallel(name: str, data: int, tp: int = 1, own: OwnKernels = OWN) -> StepModel:
    cluster = parse_gpus("8xH200")
    split = Parallelism.of(tp, data=data, expert_parallel=True)
    return step_model(load_model(name), cluster, split, Dtype.BF16, own=own)


@settings(max_examples=20)
@given(
    data=st.sampled_from([2, 4, 8]), sequences=st.integers(1, 256), elsewhere=st.integers(0, 4096)
)
def test_tokens_of_other_data_ranks_cost_experts_and_exchanges_alone(
    data: int, sequences: int, elsewhere: int
) -> None:
    """Attention and the engine's own work are those of this rank; what is shared never shrinks."""
    model = data_parallel("qwen3-30b-a3b", data)
    alone = model.time(Step(sequences, 1000.0))
    beside = model.time(Step(sequences, 1000.0, elsewhere=elsewhere))
    assert (beside.attention, beside.overhead) == (alone.attention, alone.overhead)
    assert beside.linear >= alone.linear
    assert beside.communication >= alone.communication


def test_data_ranks_gather_all_tokens_and_scatter_the_sums() -> None:
    """vLLM's usual way: one all-gather and one reduce-scatter per layer with experts."""
    model = data_parallel("deepseek-v3", 8)
    shape = load_model("deepseek-v3")
    assert shape.experts
    exchanged = model.expert_exchanges
    assert [e.collective.operation for e in exchanged] == ["all-gather", "reduce-scatter"]
    assert {e.count for e in exchanged} == {shape.experts.layers}
    assert {e.token_bytes for e in exchanged} == {2 * shape.hidden}
    assert sum(e.count for e in model.exchanges if e.collective.group > 1) == 0


def test_an_all_reduce_less_for_each_layer_with_experts() -> None:
    """Tensor ranks of a data rank reduce after attention, and gather what the experts gave."""
    shape, model = load_model("deepseek-v3"), data_parallel("deepseek-v3", 4, tp=2)
    assert shape.experts
    counts = [e.count for e in model.exchanges]
    assert counts[0] == 2 * shape.layers - shape.experts.layers
    assert counts[-1] == shape.experts.layers
    assert {e.collective.group for e in model.exchanges} == {2}
    assert {e.collective.group for e in model.expert_exchanges} == {8}


@pytest.mark.parametrize(
    ("gpus", "data", "operations"),
    [
        ("4x4xGB200", 16, ["expert-dispatch", "expert-combine"]),
        ("2x4xGB200", 8, ["all-gather", "reduce-scatter"]),
    ],
)
def test_an_engine_with_kernels_for_experts_uses_them_in_groups_wider_than_its_choices(
    gpus: str, data: int, operations: list[str]
) -> None:
    """TensorRT-LLM's on NVL72: of eight ranks nearly each gets every token of eight experts."""
    own = OwnKernels(experts=("tensorrt-llm",))
    split = Parallelism.of(1, data=data, expert_parallel=True)
    model = step_model(load_model("deepseek-v3"), parse_gpus(gpus), split, Dtype.BF16, own=own)
    assert [e.collective.operation for e in model.expert_exchanges] == operations


def test_data_parallel_attention_wins_once_kv_is_read_more_than_weights() -> None:
    """MLA's latent is read whole by every tensor rank, and by one data rank only."""
    wide = step_model(
        load_model("deepseek-v3"),
        parse_gpus("8xH200"),
        Parallelism.of(8, expert_parallel=True),
        Dtype.BF16,
        own=OWN,
    )
    data = data_parallel("deepseek-v3", 8)
    assert data.seconds(Step(1, 2000.0, elsewhere=7)) > wide.seconds(Step(8, 2000.0))
    many = Step(128, 2000.0, elsewhere=7 * 128)
    assert data.seconds(many) < wide.seconds(Step(1024, 2000.0))


def test_a_layer_with_a_latent_takes_what_the_record_adds() -> None:
    """Each of DeepSeek-V3's 61, in every step; none of a model with other attention."""
    step = Step(decode_sequences=4, decode_context=1000)
    for name, layers in (("deepseek-v3", 61), ("qwen3-235b-a22b", 0)):
        cluster = parse_gpus("8xH200")
        known = cluster.efficiency
        assert known.latent is not None
        split, shape = Parallelism(tensor=8), load_model(name)
        plain = cluster.changed(efficiency=known.changed(latent=None))
        both = [step_model(shape, each, split, Dtype.BF16) for each in (cluster, plain)]
        longer = both[0].seconds(step) - both[1].seconds(step)
        assert longer == pytest.approx(layers * known.latent.layer_s)
        assert both[0].time(step).total == pytest.approx(both[0].seconds(step))


def test_heads_read_alone_beside_prompts_where_the_kernel_is_flash_attention_2() -> None:
    """On A100 each head of Q of Llama, of which four share a read; with sinks or windows none."""

    def longer(name: str, gpus: str, prompt: int) -> float:
        """Seconds of attention that 100 decoding sequences add to a step."""
        model = step_model(load_model(name), parse_gpus(gpus), Parallelism(tensor=1), Dtype.BF16)
        decoding, idle = (Step(n, 2000, prompt, prompt / 2) for n in (100, 0))
        return model.time(decoding).attention - model.time(idle).attention

    for name, gpus in (
        ("gpt-oss-20b", "1xA100"),
        ("gemma-3-27b", "1xA100"),
        ("llama-8b", "1xH100"),
    ):
        assert longer(name, gpus, 512) == pytest.approx(longer(name, gpus, 0))
    assert 3 < longer("llama-8b", "1xA100", 512) / longer("llama-8b", "1xA100", 0) < 4
