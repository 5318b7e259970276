"""config.json is parsed strictly: what is missing or impossible is named, never guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.profiles.public import record
from tpdeploy.errors import InputError
from tpdeploy.profiles.models.config.families.known import FAMILIES
from tpdeploy.profiles.models.config.families.unplanned import UNPLANNED
from tpdeploy.profiles.models.config.parser import shape_from_config
from tpdeploy.profiles.models.library import load_model, model_profiles
from tpdeploy.profiles.models.shape import Attention, LatentAttention, ModelProfile, ModelShape
from tpdeploy.profiles.record import Dtype

LLAMA: dict[str, object] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 256,
    "max_position_embeddings": 512,
}


def llama(**changes: object) -> ModelShape:
    """A small Llama with some keys changed."""
    return shape_from_config({**LLAMA, **changes}, id="x")


def grouped(shape: ModelShape) -> Attention:
    """The shape's attention, which is not latent."""
    assert isinstance(shape.attention, Attention)
    return shape.attention


def refusal(**changes: object) -> str:
    """The one line that refuses a small Llama with some keys changed."""
    with pytest.raises(InputError) as caught:
        llama(**changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_transformers_defaults_fill_what_a_llama_config_leaves_out() -> None:
    """KV heads default to heads, head size to hidden / heads, the head is not tied."""
    shape = shape_from_config(LLAMA, id="x")
    assert shape.attention == Attention(heads=4, kv_heads=4, head_size=16)
    assert not shape.tied_embeddings


@pytest.mark.parametrize("key", [k for k in LLAMA if k != "model_type"])
def test_a_missing_key_is_named(key: str) -> None:
    """Every key the shape needs is asked for by name."""
    config = {k: v for k, v in LLAMA.items() if k != key}
    with pytest.raises(InputError, match=f"config.json lacks .*{key}"):
        shape_from_config(config, id="x")


@pytest.mark.parametrize(
    ("key", "value", "most"), [("num_hidden_layers", 2**31, 10_000), ("vocab_size", 10**30, 2**40)]
)
def test_a_number_no_model_comes_near_is_refused(key: str, value: int, most: int) -> None:
    """A count of layers that would fill the memory is a mistake, told at once."""
    assert f"{key} = {value}: need a whole number of at most {most}" in refusal(**{key: value})


def test_null_counts_as_left_out() -> None:
    """Configs write null for what they do not set."""
    assert llama(head_dim=None, num_key_value_heads=None, torch_dtype=None) == llama()


@pytest.mark.parametrize("value", ["32", -1, 0, 2.5, True, [32]])
def test_a_wrong_type_is_refused_with_key_and_value(value: object) -> None:
    """Text, negative, fractional and boolean layer counts are not guessed at."""
    message = refusal(num_hidden_layers=value)
    assert "num_hidden_layers" in message
    assert repr(value) in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_attention_heads": 5}, "hidden_size = 64: need a multiple of the 5 heads"),
        ({"num_key_value_heads": 3}, "num_key_value_heads = 3: need a divisor of the 4 heads"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings = 'no': need true or false"),
        ({"attention_bias": 1}, "attention_bias = 1: need true or false"),
        ({"torch_dtype": "bf16"}, "torch_dtype = 'bf16': did you mean"),
        ({"torch_dtype": 16}, "torch_dtype = 16: need text"),
        ({"architectures": "Llama"}, "architectures = 'Llama': need a list of text"),
        ({"model_type": None}, "config.json lacks model_type"),
        ({"quantization_config": "fp8"}, "quantization_config = 'fp8': need an object"),
    ],
)
def test_an_impossible_value_is_refused_with_what_would_work(
    changes: dict[str, object], words: str
) -> None:
    """The key, its value and the need are in one line."""
    assert words in refusal(**changes)


def test_an_unknown_architecture_is_refused_with_the_nearest() -> None:
    """A model_type nobody knows is not treated as something alike."""
    assert "model_type 'llamma', which is not known here; did you mean llama" in refusal(
        model_type="llamma"
    )


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("bert", "an encoder, which no engine here serves to write text"),
        ("t5", "an encoder-decoder; only decoders are planned here"),
        ("mpt", "which vLLM served until 0.28, and no engine here does now"),
        ("rwkv", "which no engine here serves"),
        ("phi-msft", "use the checkpoint's newer config.json"),
    ],
)
def test_what_no_engine_serves_is_refused_with_the_reason(kind: str, why: str) -> None:
    """In one line, without the nearest names."""
    said = refusal(model_type=kind)
    assert f"model_type {kind!r}" in said
    assert why in said
    assert "did you mean" not in said


def test_an_encoder_decoder_of_any_name_is_refused_as_one() -> None:
    """By what its config says of itself."""
    assert "an encoder-decoder" in refusal(model_type="new", is_encoder_decoder=True)


def test_what_is_planned_is_not_among_what_no_engine_serves() -> None:
    """The two lists have nothing in common."""
    assert not UNPLANNED.keys() & FAMILIES.keys()


def test_attention_and_mlp_biases_are_switched_by_their_keys() -> None:
    """Llama's biases are off unless attention_bias or mlp_bias says so."""
    attention = grouped(llama(attention_bias=True))
    assert (attention.qkv_bias, attention.output_bias) == (True, True)
    mlp = llama(mlp_bias=True).mlp
    assert mlp is not None
    assert mlp.bias


def test_a_structure_that_is_not_known_is_not_guessed() -> None:
    """DeepSeek with attention biases, OPT with norms behind, MiniCPM with experts: refused."""
    message = refusal(model_type="deepseek_v3", attention_bias=True)
    assert "attention_bias = True: only false is known here for deepseek_v3" in message
    assert "only true is known" in refusal(model_type="opt", do_layer_norm_before=False)
    assert "num_experts = 8: only 0 is known" in refusal(model_type="minicpm", num_experts=8)


def test_gpt_2_has_an_mlp_of_four_hidden_sizes_unless_it_states_one() -> None:
    """Its `n_inner` is null in most configs."""
    gpt2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, "vocab_size": 256}
    for stated, width in ((None, 256), (96, 96)):
        shape = shape_from_config({"model_type": "gpt2", **gpt2, "n_inner": stated}, id="x")
        assert shape.mlp
        assert shape.mlp.intermediate == width
        assert shape.learned_positions == 512


def test_latent_attention_is_read_from_deepseek() -> None:
    """MLA's ranks come from the config."""
    attention = load_model("deepseek-v3").attention
    assert isinstance(attention, LatentAttention)
    assert (attention.q_lora_rank, attention.kv_lora_rank) == (1536, 512)


def test_gemma_3_uses_its_window_in_five_of_six_layers() -> None:
    """48 layers with every sixth global: 40 sliding ones."""
    attention = load_model("gemma-3-12b").attention
    assert isinstance(attention, Attention)
    assert (attention.sliding_window, attention.sliding_layers) == (1024, 40)


def test_the_text_model_of_a_multimodal_config_is_read() -> None:
    """Gemma 3's text_config omits what its class defaults to; the wrapper names the rest."""
    text = {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "model_type": "gemma3_text",
        "sliding_window": 1024,
    }
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "torch_dtype": "float16",
        "text_config": text,
    }
    shape = shape_from_config(config, id="google/gemma-3-4b-it")
    assert shape.architecture == "Gemma3ForConditionalGeneration"
    assert (shape.dtype, shape.vocab, shape.max_context) == (Dtype.FP16, 262208, 131072)
    assert shape.tied_embeddings
    attention = grouped(shape)
    assert (attention.heads, attention.kv_heads, attention.head_size) == (8, 4, 256)
    assert (attention.sliding_window, attention.sliding_layers) == (1024, 29)


def test_kimi_counts_its_layers_from_one() -> None:
    """The published configs list them in a part of their own; transformers' in layer_types."""
    stated = {**record("kimi_linear")["config"], "num_hidden_layers": 4}
    listed = ("layer_types", "mlp_layer_types", "linear_head_dim", "linear_num_heads")
    for key in (*listed, "linear_conv_kernel_dim"):
        del stated[key]
    own = {"num_heads": 8, "head_dim": 64, "short_conv_kernel_size": 4}
    layers = {"kda_layers": [1, 2, 3], "full_attn_layers": [4]}
    config = {**stated, "first_k_dense_replace": 1, "linear_attn_config": {**own, **layers}}
    shape = shape_from_config(config, id="x")
    assert [(g.count, g.mixer, g.mlp) for g in shape.groups] == [
        (1, "linear", "dense"),
        (2, "linear", "sparse"),
        (1, "full", "sparse"),
    ]
    assert shape.linear
    assert (shape.linear.values, shape.linear.convolution) == (512, 4)


def test_a_search_may_leave_out_parts_of_layers_and_narrow_others() -> None:
    """Nemotron-NAS: every layer says what it has; what differs in a way not known is refused."""

    def block(group: int | None, factor: float | None) -> dict[str, object]:
        attention = {"n_heads_in_group": group, "no_op": group is None}
        return {"attention": attention, "ffn": {"ffn_mult": factor, "no_op": factor is None}}

    blocks = [block(2, 3.0), block(None, 3.0), block(2, 1.5), block(2, None)]
    stated = {"hidden_size": 512, "num_hidden_layers": 4, "block_configs": blocks}
    shape = llama(model_type="nemotron-nas", **stated)
    assert [(g.mixer, g.mlp, g.width) for g in shape.groups] == [
        ("full", "dense", 1024),
        ("none", "dense", 1024),
        ("full", "dense", 512),
        ("full", "none", None),
    ]
    assert (grouped(shape).kv_heads, shape.attention_layers) == (2, 3)
    assert [(mlp.intermediate, layers) for mlp, layers in shape.mlps] == [(1024, 2), (512, 1)]
    for wrong, words in (
        ([*blocks[:3], block(4, 1.0)], "need one n_heads_in_group for all layers"),
        (blocks[:3], "need one for each of the 4 layers"),
        ([*blocks[:3], block(2, -1)], "need a number above 0"),
        ([*blocks[:3], {}], "need its attention and its ffn"),
    ):
        changes = {**stated, "block_configs": wrong}
        assert words in refusal(model_type="nemotron-nas", **changes)


def test_a_nested_part_is_read_as_if_it_stood_at_the_top() -> None:
    """DBRX keeps its KV heads and its experts in parts of their own."""
    dbrx: dict[str, object] = {
        "model_type": "dbrx",
        **{"d_model": 64, "n_layers": 2, "n_heads": 4, "vocab_size": 256, "max_seq_len": 512},
        "attn_config": {"kv_n_heads": 2},
        "ffn_config": {"ffn_hidden_size": 128, "moe_num_experts": 8, "moe_top_k": 4},
    }
    shape = shape_from_config(dbrx, id="x")
    assert shape.experts
    assert (grouped(shape).kv_heads, shape.experts.count, shape.experts.per_token) == (2, 8, 4)
    with pytest.raises(InputError, match="attn_config = 5: need an object"):
        shape_from_config({**dbrx, "attn_config": 5}, id="x")


def test_a_text_config_relies_on_the_defaults_of_its_class() -> None:
    """LLaVA 1.5 states nothing of its Llama but the vocabulary and the context."""
    text = {"model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096}
    shape = shape_from_config({"model_type": "llava", "text_config": text}, id="x")
    assert (shape.layers, shape.hidden, shape.vocab) == (32, 4096, 32064)
    assert shape.mlp
    assert shape.mlp.intermediate == 11008


@pytest.mark.parametrize("outer", [True, False])
def test_what_the_wrapper_says_of_the_tie_holds(outer: bool) -> None:
    """The head is the multimodal model's own; `text_config` is asked where it says nothing."""
    text = {**LLAMA, "tie_word_embeddings": not outer}
    config = {"model_type": "llava", "text_config": text, "tie_word_embeddings": outer}
    assert shape_from_config(config, id="x").tied_embeddings is outer
    del config["tie_word_embeddings"]
    assert shape_from_config(config, id="x").tied_embeddings is not outer


@pytest.mark.parametrize(
    ("changes", "window"),
    [
        ({"model_type": "mistral"}, (4096, 2)),
        ({"model_type": "mistral", "sliding_window": None}, (None, 0)),
        ({"model_type": "llama", "sliding_window": 4096}, (None, 0)),
        ({"model_type": "qwen2", "sliding_window": 64, "use_sliding_window": False}, (None, 0)),
        (
            {
                "model_type": "qwen2",
                "sliding_window": 64,
                "use_sliding_window": True,
                "max_window_layers": 1,
            },
            (64, 1),
        ),
        (
            {
                "model_type": "gemma2",
                "sliding_window": 64,
                "layer_types": ["sliding_attention", "sliding_attention"],
            },
            (64, 2),
        ),
    ],
)
def test_sliding_windows_are_those_of_the_architecture(
    changes: dict[str, object], window: tuple[int | None, int]
) -> None:
    """A window counts only where the architecture uses it; layer_types, if given, decides."""
    attention = grouped(llama(num_key_value_heads=4, **changes))
    assert (attention.sliding_window, attention.sliding_layers) == window


def test_layers_with_experts_are_counted() -> None:
    """DeepSeek's first layers and Llama 4 Maverick's even ones are dense."""
    for model, layers in (("deepseek-v3", 58), ("llama-4-maverick", 24), ("glm-4.5-air", 45)):
        experts = load_model(model).experts
        assert experts is not None
        assert experts.layers == layers


QWEN_MOE: dict[str, object] = {
    **LLAMA,
    "model_type": "qwen3_moe",
    "num_key_value_heads": 4,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_experts_per_tok": 9}, "num_experts_per_tok = 9: there are 8 experts"),
        ({"decoder_sparse_step": 3}, "decoder_sparse_step = 3: leaves no layer with experts"),
        ({"decoder_sparse_step": 0}, "decoder_sparse_step = 0: need a whole number"),
        ({"mlp_only_layers": ["0"]}, "mlp_only_layers = ['0']: need a list of whole numbers"),
    ],
)
def test_impossible_experts_are_refused(changes: dict[str, object], words: str) -> None:
    """More experts per token than there are, or none at all, is an error of the config."""
    assert words in refusal(**{**QWEN_MOE, **changes})


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("hunyuan_v1_moe", {"moe_topk": [8] * 31 + [4]}, "need the same number of at least 1"),
        ("bailing_hybrid", {"short_conv_kernel_size": None}, "lacks short_conv_kernel_size"),
        ("bailing_hybrid", {"no_kda_lora": False}, "only true is known here for bailing_hybrid"),
    ],
)
def test_kin_of_a_known_model_that_differ_are_refused(
    name: str, changes: dict[str, object], words: str
) -> None:
    """Layers that choose other numbers of experts, and Ling 2.5, which has Lightning attention."""
    with pytest.raises(InputError, match=words):
        shape_from_config({**record(name)["config"], **changes}, id="x")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ple_embed_dim": 2561}, "ple_embed_dim = 2561: need a multiple of the 16 hashes"),
        ({"heads_per_ngram": 1000}, "heads_per_ngram = 1000: need at most 1024 tables in all"),
        ({"ngram_vocab_size_base": 2**40}, "need a whole number of at most 2147483648"),
        ({"indexer_kv_heads": 2}, "indexer_kv_heads = 2: only 1 is known here"),
    ],
)
def test_impossible_tables_of_ngrams_are_refused(changes: dict[str, object], words: str) -> None:
    """Before a prime is looked for."""
    config = record("qwen4_exp")["config"]
    with pytest.raises(InputError, match=words):
        shape_from_config({**config, "text_config": {**config["text_config"], **changes}}, id="x")


def test_experts_in_some_layers_leave_a_dense_mlp_in_the_others() -> None:
    """mlp_only_layers names dense layers; the rest have experts."""
    shape = shape_from_config({**QWEN_MOE, "mlp_only_layers": [0]}, id="x")
    assert shape.experts is not None
    assert (shape.experts.layers, shape.mlp is not None) == (1, True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@given(st.sampled_from(model_profiles()), st.data())
@pytest.mark.slow
def test_any_value_of_any_key_gives_a_shape_or_one_clear_line(
    profile: ModelProfile, data: st.DataObject
) -> None:
    """Whatever JSON stands in a config, the answer is a shape or an InputError."""
    key = data.draw(st.sampled_from(sorted(profile.config)))
    config = {**profile.config, key: data.draw(JSON)}
    try:
        shape = shape_from_config(config, id="drawn")
    except InputError as error:
        assert str(error).startswith("drawn: config.json")
    else:
        assert shape.layers > 0


def test_groups_of_heads_divide_them() -> None:
    """More groups than heads leave an output projection without inputs."""
    config = next(p.config for p in model_profiles() if p.config["model_type"] == "deepseek_v4")
    with pytest.raises(InputError, match="o_groups = 1099511627775: need a divisor of the"):
        shape_from_config({**config, "o_groups": 1099511627775}, id="x")
