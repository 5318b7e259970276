"""config.json is parsed strictly: what is missing or impossible is named, never guessed."""

import pytest

from tpdeploy.errors import InputError
from tpdeploy.profiles.config_json import shape_from_config
from tpdeploy.profiles.model import Attention, LatentAttention
from tpdeploy.profiles.models import load_model
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


def refusal(**changes: object) -> str:
    with pytest.raises(InputError) as caught:
        shape_from_config({**LLAMA, **changes}, id="x")
    return str(caught.value)


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


@pytest.mark.parametrize("value", ["32", -1, 2.5, True])
def test_a_wrong_type_is_refused_with_key_and_value(value: object) -> None:
    """Text, negative, fractional and boolean layer counts are not guessed at."""
    message = refusal(num_hidden_layers=value)
    assert "num_hidden_layers" in message
    assert repr(value) in message


def test_an_unknown_architecture_is_refused_with_the_nearest() -> None:
    """A model_type nobody knows is not treated as something alike."""
    assert "model_type 'llamma', which is not known here; did you mean llama" in refusal(
        model_type="llamma"
    )


def test_an_unknown_quantization_is_refused() -> None:
    """A storage format that is not known is not taken for another."""
    assert "quantization method 'foo'" in refusal(quantization_config={"quant_method": "foo"})


def test_blockwise_fp8_has_scales_and_a_block() -> None:
    """DeepSeek's FP8 stores one 32-bit scale per 128 x 128 block."""
    quantization = load_model("deepseek-r1").quantization
    assert quantization is not None
    assert (quantization.weights, quantization.group_size) == (Dtype.FP8, 128 * 128)
    assert quantization.scale_bits == 32


def test_mxfp4_is_for_experts_alone() -> None:
    """gpt-oss stores its experts in MXFP4 and the rest in BF16."""
    quantization = load_model("gpt-oss-20b").quantization
    assert quantization is not None
    assert quantization.scope == "experts"


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
