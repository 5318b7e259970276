"""Every tensor is split, replicated or padded exactly as engines do it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.profiles.public import NAMES, public, record
from tpdeploy.planner.model.sharding import (
    Split,
    Tensor,
    columns_per_rank,
    head_problem,
    legal_widths,
    padded_vocabulary,
    parameter_count,
    rank_bytes,
    rank_elements,
    tensors,
)
from tpdeploy.profiles.models.config.linear_layers import LinearLayers
from tpdeploy.profiles.models.config.parser import shape_from_config
from tpdeploy.profiles.models.library import load_model, model_profiles
from tpdeploy.profiles.models.shape import (
    Attention,
    DenseMlp,
    Experts,
    LatentAttention,
    LayerGroup,
    ModelShape,
    Quantization,
)
from tpdeploy.profiles.record import Dtype

WIDTHS = st.integers(1, 16)
SIZES = st.sampled_from([64, 96, 128, 256])


@st.composite
def attentions(draw: st.DrawFn) -> Attention | LatentAttention:
    """Grouped or latent attention of any proportions."""
    kv_heads, share = draw(st.integers(1, 16)), draw(st.integers(1, 8))
    if draw(st.booleans()):
        return LatentAttention(
            heads=kv_heads * share,
            q_lora_rank=draw(st.none() | SIZES),
            kv_lora_rank=draw(SIZES),
            qk_nope_size=draw(SIZES),
            qk_rope_size=64,
            v_size=draw(SIZES),
        )
    return Attention(
        heads=kv_heads * share,
        kv_heads=kv_heads,
        head_size=draw(SIZES),
        qkv_bias=draw(st.booleans()),
        output_bias=draw(st.booleans()),
        qk_norm=draw(st.sampled_from(["none", "head", "projection"])),
        sinks=draw(st.booleans()),
    )


@st.composite
def shapes(draw: st.DrawFn) -> ModelShape:
    """A model of any proportions, dense or with experts, plain or in FP8 blocks."""
    layers = draw(st.integers(2, 8))
    width = st.integers(1, 64).map(lambda n: 48 * n)
    experts = Experts(
        count=draw(st.integers(2, 16)),
        per_token=2,
        intermediate=draw(width),
        bias=draw(st.booleans()),
        router_bias=draw(st.booleans()),
        shared_intermediate=draw(st.just(0) | width),
        shared_gate=draw(st.booleans()),
        layers=draw(st.integers(1, layers)),
    )
    has_experts = draw(st.booleans())
    sparse = experts.layers if has_experts else 0
    groups = [
        LayerGroup(count=count, mixer="full", mlp=mlp)
        for count, mlp in ((layers - sparse, "dense"), (sparse, "sparse"))
        if count
    ]
    fp8 = Quantization(
        method="fp8",
        weights=Dtype.FP8,
        group_size=128 * 128,
        scale_bits=32,
        input_block=128,
        output_block=128,
    )
    return ModelShape(
        id="drawn",
        architecture="Drawn",
        layers=layers,
        groups=tuple(groups),
        hidden=draw(st.integers(1, 32)) * 64,
        vocab=draw(st.integers(100, 200_000)),
        tied_embeddings=draw(st.booleans()),
        max_context=4096,
        dtype=draw(st.sampled_from([Dtype.BF16, Dtype.FP32])),
        attention=draw(attentions()),
        mlp=DenseMlp(intermediate=draw(width), gated=draw(st.booleans()), bias=draw(st.booleans())),
        experts=experts if has_experts else None,
        norm_bias=draw(st.booleans()),
        head_bias=draw(st.booleans()),
        learned_positions=draw(st.sampled_from([0, 4098])),
        quantization=draw(st.none() | st.just(fp8)),
    )


@st.composite
def legal_splits(draw: st.DrawFn) -> tuple[ModelShape, int]:
    """A model, and a width over which it can be split."""
    shape = draw(shapes())
    return shape, draw(st.sampled_from(legal_widths(shape, 16)))


def weight_bytes(shape: ModelShape, tp: int) -> float:
    return sum(t.count * rank_bytes(t, tp) for t in tensors(shape) if t.stored)


def extra(tensor: Tensor, tp: int) -> int:
    """Values that `tp` ranks hold beyond one copy of the tensor: replicas and padding."""
    match tensor.split:
        case Split.REPLICATED:
            return (tp - 1) * tensor.elements
        case Split.KV:
            return (max(1, tp // tensor.kv_heads) - 1) * tensor.elements
        case Split.VOCAB:
            return (padded_vocabulary(tensor.outputs) - tensor.outputs) * tensor.inputs
        case _:
            return 0


@given(legal_splits())
@pytest.mark.slow
def test_the_ranks_together_hold_the_model_once_and_its_replicas(
    legal: tuple[ModelShape, int],
) -> None:
    """Sum over ranks minus replicas and padding is the parameter count, exactly."""
    shape, tp = legal
    stored = [t for t in tensors(shape) if t.stored]
    held = sum(t.count * (tp * rank_elements(t, tp) - extra(t, tp)) for t in stored)
    assert held == parameter_count(shape)


@given(shapes(), WIDTHS)
def test_a_wider_group_never_makes_a_rank_heavier(shape: ModelShape, tp: int) -> None:
    """Bytes of weights on a rank never grow with the width, tensor by tensor."""
    assert weight_bytes(shape, tp + 1) <= weight_bytes(shape, tp)
    for tensor in tensors(shape):
        assert rank_bytes(tensor, tp + 1) <= rank_bytes(tensor, tp)


@given(shapes())
@pytest.mark.slow
def test_legal_widths_are_those_without_a_problem(shape: ModelShape) -> None:
    """One GPU is always legal, and a width is listed exactly when nothing speaks against it."""
    legal = legal_widths(shape, 16)
    assert legal[0] == 1
    assert legal == tuple(tp for tp in range(1, 17) if head_problem(shape, tp) is None)


@given(legal_splits())
def test_a_legal_width_divides_without_remainder(legal: tuple[ModelShape, int]) -> None:
    """At a legal width no column or row share is rounded up."""
    shape, tp = legal
    for tensor in tensors(shape):
        if tensor.split is Split.COLUMN:
            assert tensor.outputs % tp == 0
        if tensor.split is Split.ROW:
            assert tensor.inputs % tp == 0


@given(st.integers(1, 100_000), WIDTHS)
def test_columns_cover_what_is_split(columns: int, tp: int) -> None:
    """Every column is on some rank, and no rank holds a whole column too many."""
    assert tp * columns_per_rank(columns, tp) >= columns
    assert columns_per_rank(columns, tp) < columns / tp + 1


def test_the_worked_examples_of_columns() -> None:
    """16,384 over 4 and 12,288 over 3 are 4,096 columns per GPU."""
    assert columns_per_rank(16384, 4) == 4096
    assert columns_per_rank(12288, 3) == 4096


@pytest.mark.parametrize(
    ("model", "tp", "words"),
    [
        ("smollm2", 2, "9 attention heads cannot be divided by 2"),
        ("qwen2.5-7b", 8, "28 attention heads cannot be divided by 8"),
        ("phi-4", 4, "10 KV heads can be neither divided by 4 nor replicated to it evenly"),
        ("smollm2", 9, "MLP width of 1,536 cannot be divided by 9"),
        ("llama-3b", 3, "8 KV heads can be neither divided by 3 nor replicated to it evenly"),
        ("phi-4", 5, "vocabulary of 100,352 (padded) cannot be divided by 5"),
        ("qwen3-32b-fp8", 16, "outputs of 'gate' would be 1,600 a GPU, not a multiple of the fp8"),
        ("qwen3-30b-fp8", 16, "outputs of 'expert gate' would be 48 a GPU, not a multiple of the"),
    ],
)
def test_an_illegal_width_is_refused_with_the_numbers(model: str, tp: int, words: str) -> None:
    """What cannot be divided, and by what, is said in plain words."""
    problem = head_problem(load_model(model), tp)
    assert problem is not None
    assert problem.startswith(words)


@pytest.mark.parametrize(
    ("model", "widths"),
    [
        ("smollm2", (1, 3)),
        ("llama-70b", (1, 2, 4, 8, 16)),
        ("gpt-oss-120b", (1, 2, 4, 8, 16)),
        ("minimax-m2.5", (1, 2, 4, 8, 16)),
        ("qwen3-30b-fp8", (1, 2, 4, 8)),
    ],
)
def test_the_legal_widths_of_known_models(model: str, widths: tuple[int, ...]) -> None:
    """SmolLM2's 9 heads and 1,536 columns allow 3; FP8 blocks of experts may be cut to 32."""
    assert legal_widths(load_model(model), 16) == widths


@pytest.mark.parametrize(
    ("model", "packed", "bits"),
    [
        ("llama-70b", 0, 16),
        # Three matrices of 2,880 x 2,880 in each of 32 experts of 24 layers, an 8-bit scale for 32.
        ("gpt-oss-20b", 24 * 32 * 3 * 2880 * 2880, 4 + 8 / 32),
        # Q, output, K, V, gate, up and down of 64 layers; a 32-bit scale for each 128 x 128.
        (
            "qwen3-32b-fp8",
            64 * 5120 * (2 * 8192 + 2 * 1024 + 3 * 25600),
            8 + 32 / (128 * 128),
        ),
    ],
)
def test_one_rank_holds_the_bytes_of_the_checkpoint(model: str, packed: int, bits: float) -> None:
    """At TP 1: packed values with their scales, the rest at two bytes each."""
    shape = load_model(model)
    expected = packed * bits / 8 + (parameter_count(shape) - packed) * 2
    assert weight_bytes(shape, 1) == pytest.approx(expected, rel=1e-12)


def test_kv_heads_are_replicated_beyond_their_number() -> None:
    """At TP 16 every rank holds one of 8 KV heads; at TP 8 too; at TP 4 two."""
    key = next(t for t in tensors(load_model("llama-70b")) if t.name == "k")
    assert [rank_elements(key, tp) // (128 * 8192) for tp in (4, 8, 16)] == [2, 1, 1]


def test_the_latent_of_mla_is_whole_on_every_rank() -> None:
    """DeepSeek's down-projections are replicated, its up-projections split by heads."""
    by_name = {t.name: t for t in tensors(load_model("deepseek-v3"))}
    for name in ("q down", "kv down"):
        assert rank_elements(by_name[name], 8) == by_name[name].elements
    for name in ("q up", "kv up", "output"):
        assert 8 * rank_elements(by_name[name], 8) == by_name[name].elements


def test_the_padded_vocabulary_counts_on_the_rank() -> None:
    """49,152 rows need no padding; 50,257 are stored as 50,304 and split from there."""
    assert padded_vocabulary(49152) == 49152
    assert padded_vocabulary(50257) == 50304
    table = Tensor("embedding", 1, 50257, 8, Split.VOCAB, Dtype.BF16, 16.0)
    assert rank_elements(table, 2) == 25152 * 8


def test_a_tied_head_is_computed_but_not_stored() -> None:
    """Tied embeddings count once, and the head's product is still there to be timed."""
    tied = {t.name: t for t in tensors(load_model("smollm2"))}
    assert tied["head"].matmul
    assert not tied["head"].stored
    assert next(t for t in tensors(load_model("llama-70b")) if t.name == "head").stored


def test_quantized_scope_is_respected() -> None:
    """gpt-oss: experts at 4.25 bits a value, attention in BF16; the router is never packed."""
    bits = {t.name: t.bits for t in tensors(load_model("gpt-oss-20b"))}
    assert math.isclose(bits["expert gate"], 4.25)
    assert bits["q"] == bits["router"] == bits["head"] == 16


@pytest.mark.slow
def test_names_of_linear_layers_are_those_of_the_planner() -> None:
    """Every linear layer that a checkpoint may leave unquantized is a tensor of some model."""
    bundled = [shape_from_config(profile.config, id=profile.id) for profile in model_profiles()]
    shapes = [public(name) for name in NAMES] + bundled
    names = {t.name for shape in shapes for t in tensors(shape) if t.matmul}
    assert set(LinearLayers.names) <= names


def test_shared_blocks_are_stored_once_and_read_in_each_layer() -> None:
    """Zamba2: 2 blocks in 3 layers, whose adapters are each layer's own."""
    found = {tensor.name: tensor for tensor in tensors(public("zamba2")) if tensor.matmul}
    assert (found["q"].count, found["q"].reused) == (2, 1)
    assert (found["adapter up"].count, found["adapter up"].reused) == (3, 0)
    assert found["q"].inputs == 2 * 3584


def test_experts_without_weights_have_a_place_in_the_router_alone() -> None:
    """LongCat-Flash: 512 of 768 experts have weights, and a token takes 8 of those on average."""
    shape = public("longcat_flash")
    assert shape.experts and shape.experts.computed_per_token == 8
    found = {tensor.name: tensor for tensor in tensors(shape)}
    assert found["router"].outputs == 768
    assert found["expert up"].count == 28 * 512
    assert (found["q up"].count, found["gate"].count) == (56, 56)


@pytest.mark.parametrize(
    ("stated", "bits"),
    [
        (None, 16),
        ({"quant_method": "fp8"}, 8),
        ({"quant_method": "fp8", "modules_to_not_convert": ["model.layers.1.ple"]}, 16),
    ],
)
def test_a_table_of_ngrams_is_shared_by_ranks_and_never_multiplied(
    stated: dict[str, object] | None, bits: int
) -> None:
    """Qwen4-Exp's, in FP8 where the checkpoint's linear layers are and no list leaves it out."""
    config = {**record("qwen4_exp")["config"], "quantization_config": stated}
    found = [t for t in tensors(shape_from_config(config, id="x")) if "n-gram emb" in t.name]
    assert [(t.count, t.outputs, t.inputs) for t in found] == [(1, 320_001_536, 160)]
    assert math.isclose(found[0].bits, bits, rel_tol=1e-6)
    assert rank_elements(found[0], 8) == 320_001_536 * 160 / 8
    assert not found[0].matmul


def test_every_name_is_used_once() -> None:
    """Tensors of one model can be told apart by name."""
    for model in ("qwen3-30b", "deepseek-v3", "gpt-oss-20b", "minimax-m2", "opt-125m"):
        names = [t.name for t in tensors(load_model(model))]
        assert len(names) == len(set(names))
