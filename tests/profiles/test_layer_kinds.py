"""What each layer of a model is made of, as its config lists it or its family rules."""

import pytest

from tpdeploy.errors import InputError
from tpdeploy.profiles.models.config.parser import shape_from_config
from tpdeploy.profiles.models.library import load_model, model_profiles
from tpdeploy.profiles.models.shape import ModelShape

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
        (
            CONFIGS["google/gemma-4-26B-A4B"],
            {"text_config": {"model_type": "gemma4_text"}},
            "hidden_size_per_layer_input = 256: only 0 is known here for gemma4_text",
        ),
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
