"""What each layer of a model is made of, as its config lists it or its family rules."""

import pytest

from tests.profiles.public import record
from tpdeploy.errors import InputError
from tpdeploy.profiles.models.config.parser import shape_from_config
from tpdeploy.profiles.models.library import load_model, model_profiles
from tpdeploy.profiles.models.shape import ModelShape

GEMMA_3N, GEMMA_4, LAGUNA = (
    record(name)["config"] for name in ("gemma3n_text", "gemma4_with_encoders", "laguna")
)
STEP = {
    "model_type": "step3p5",
    "num_hidden_layers": 45,
    "hidden_size": 4096,
    "num_attention_heads": 64,
    "intermediate_size": 11264,
    "vocab_size": 128896,
    "max_position_embeddings": 65536,
    "moe_num_experts": 288,
    "moe_top_k": 8,
}
CONFIGS = {profile.id: profile.config for profile in model_profiles()}
NEMOTRON = CONFIGS["nvidia/Nemotron-H-56B-Base-8K"]
GLM = CONFIGS["zai-org/GLM-5.2"]
QWEN_NEXT = CONFIGS["Qwen/Qwen3-Next-80B-A3B-Instruct"]


def layers_of(shape: ModelShape) -> dict[str, int]:
    """Layers of each kind, those there are."""
    found = {
        "attention": shape.attention_layers,
        "windowed": shape.windowed.sliding_layers if shape.windowed else 0,
        "linear": shape.linear.layers if shape.linear else 0,
        "mlp": shape.mlp_layers,
        "experts": shape.experts.layers if shape.experts else 0,
        "indexer": shape.indexer.layers if shape.indexer else 0,
    }
    return {kind: layers for kind, layers in found.items() if layers}


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        ("llama-70b", {"attention": 80, "mlp": 80}),
        ("deepseek-v3.2", {"attention": 61, "mlp": 3, "experts": 58, "indexer": 61}),
        ("glm-5.2", {"attention": 78, "mlp": 3, "experts": 75, "indexer": 21}),
        ("qwen3.5-397b", {"attention": 15, "linear": 45, "experts": 60}),
        ("qwen3.5-27b", {"attention": 16, "linear": 48, "mlp": 64}),
        ("nemotron-h-56b", {"attention": 10, "linear": 54, "mlp": 54}),
        ("nemotron-3-nano", {"attention": 6, "linear": 23, "experts": 23}),
        ("gemma-4-26b", {"attention": 5, "windowed": 25, "mlp": 30, "experts": 30}),
        ("gemma-4-31b", {"attention": 10, "windowed": 50, "mlp": 60}),
        ("mimo-v2-flash", {"attention": 9, "windowed": 39, "mlp": 1, "experts": 47}),
        ("minimax-m3", {"attention": 60, "mlp": 3, "experts": 57, "indexer": 57}),
        ("ernie-4.5-21b", {"attention": 28, "mlp": 1, "experts": 27}),
    ],
)
def test_the_layers_of_known_models(model: str, layers: dict[str, int]) -> None:
    """Mixers and MLPs of hybrid, sparse and plain models."""
    assert layers_of(load_model(model)) == layers


def test_full_attention_stands_in_every_fourth_layer_unless_said_otherwise() -> None:
    """Qwen3-Next: full_attention_interval, and 4 where it is left out."""
    other = shape_from_config({**QWEN_NEXT, "full_attention_interval": 6}, id="x")
    assert layers_of(other)["attention"] == 8
    left_out = {k: v for k, v in QWEN_NEXT.items() if k != "full_attention_interval"}
    assert layers_of(shape_from_config(left_out, id="x"))["attention"] == 12


def test_step_numbers_the_layers_with_experts_and_lists_drafts_behind_the_last() -> None:
    """All but the first three have experts unless it says so; 48 kinds are of 45 layers and 3."""
    kinds = (["full_attention"] + ["sliding_attention"] * 3) * 12
    drafts = {"layer_types": kinds, "num_nextn_predict_layers": 3, "sliding_window": 512}
    shape = shape_from_config({**STEP, **drafts}, id="x")
    assert layers_of(shape) == {"attention": 12, "windowed": 33, "mlp": 3, "experts": 42}
    few = shape_from_config({**STEP, "moe_layers_enum": "1, 4"}, id="x")
    assert layers_of(few) == {"attention": 45, "mlp": 43, "experts": 2}


@pytest.mark.parametrize(
    ("config", "changes", "words"),
    [
        (NEMOTRON, {"hybrid_override_pattern": "M-X*"}, "hybrid_override_pattern = 'M-X*': need"),
        (NEMOTRON, {"hybrid_override_pattern": "M-*"}, "need one for each of the 118 layers"),
        (NEMOTRON, {"hybrid_override_pattern": None}, "layers_block_type = None: need one of"),
        (NEMOTRON, {"ssm_state_size": "big"}, "ssm_state_size = 'big': need a whole number"),
        (NEMOTRON, {"mamba_num_heads": None}, "config.json lacks mamba_num_heads"),
        (NEMOTRON, {"mamba_ssm_cache_dtype": "int4"}, "mamba_ssm_cache_dtype = 'int4': known"),
        (GLM, {"layer_types": ["round"] * 78}, "known here: full_attention"),
        (GLM, {"mlp_layer_types": ["dense"]}, "need one for each of the 78 layers"),
        (GLM, {"index_topk": None}, "config.json lacks index_topk"),
        (QWEN_NEXT, {"attn_output_gate": False}, "only true is known here for qwen3_next"),
        (GEMMA_3N, {"num_kv_shared_layers": 35}, "shared_layers = 35: need less than the 35"),
        (GEMMA_3N, {"intermediate_size": [8192]}, "need one for each of the 35 layers"),
        (GEMMA_3N, {"intermediate_size": [0] * 35}, "need numbers of at least 1"),
        (LAGUNA, {"num_attention_heads_per_layer": [48] * 3}, "need heads for each of the 40"),
        (LAGUNA, {"num_attention_heads_per_layer": [48] * 39 + [64]}, "need the same for all"),
        (
            GEMMA_4,
            {"audio_config": {"model_type": "gemma4_audio", "subsampling_conv_channels": [1]}},
            "subsampling_conv_channels = [1]: need two numbers",
        ),
        (LAGUNA, {"attention_bias": True}, "only false is known here for laguna"),
        (STEP, {"moe_layers_enum": "3,four"}, "'3,four': need whole numbers"),
        (
            CONFIGS["baidu/ERNIE-4.5-21B-A3B-PT"],
            {"moe_k": None},
            "config.json lacks moe_k",
        ),
    ],
)
def test_what_is_missing_or_unknown_is_named_as_the_config_names_it(
    config: dict[str, object], changes: dict[str, object], words: str
) -> None:
    """The family's own key, and what would work."""
    with pytest.raises(InputError) as caught:
        shape_from_config({**config, **changes}, id="x")
    assert words in str(caught.value)
