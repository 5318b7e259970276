"""How a checkpoint stores its weights is read from its config, or refused."""

import pytest

from tpdeploy.errors import InputError
from tpdeploy.profiles.models.config.linear_layers import MIXING, LinearLayers
from tpdeploy.profiles.models.config.parser import shape_from_config
from tpdeploy.profiles.models.library import load_model, model_profiles
from tpdeploy.profiles.models.shape import Quantization
from tpdeploy.profiles.record import Dtype

CONFIGS = {profile.id: profile.config for profile in model_profiles()}
LLAMA, DEEPSEEK = CONFIGS["meta-llama/Llama-3.1-8B"], CONFIGS["deepseek-ai/DeepSeek-V3"]
ATTENTION = tuple(MIXING)


def stored(config: dict[str, object], **quantization: object) -> Quantization:
    """What is read when `config` has this quantization_config."""
    shape = shape_from_config({**config, "quantization_config": quantization}, id="x")
    assert shape.quantization is not None
    return shape.quantization


def weights(**format: object) -> dict[str, object]:
    """The config_groups of compressed-tensors with one format of weights."""
    return {"group_0": {"targets": ["Linear"], "weights": format}}


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        ({"quant_method": "fp8"}, (Dtype.FP8, None, 0, None, None)),
        (
            {"quant_method": "fp8", "weight_block_size": [128, 128]},
            (Dtype.FP8, 128 * 128, 32, 128, 128),
        ),
        (
            {"quant_method": "awq", "bits": 4, "group_size": 128},
            (Dtype.INT4, 128, 20, 128, None),
        ),
        (
            {"quant_method": "awq", "w_bit": 4, "q_group_size": 64},
            (Dtype.INT4, 64, 20, 64, None),
        ),
        (
            {"quant_method": "gptq", "bits": 8, "group_size": -1},
            (Dtype.INT8, None, 0, None, None),
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "FP8"},
            (Dtype.FP8, None, 0, None, None),
        ),
        ({"quant_algo": "NVFP4", "group_size": 16}, (Dtype.FP4, 16, 8, 16, None)),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": weights(type="int", num_bits=4, group_size=32, strategy="group"),
            },
            (Dtype.INT4, 32, 16, 32, None),
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": weights(type="float", num_bits=8, strategy="channel"),
            },
            (Dtype.FP8, None, 0, None, None),
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": weights(
                    type="float", num_bits=8, strategy="block", block_structure=[128, 64]
                ),
            },
            (Dtype.FP8, 128 * 64, 32, 64, 128),
        ),
    ],
)
def test_known_formats_are_read(
    quantization: dict[str, object], expected: tuple[object, ...]
) -> None:
    """Format of the values, values a scale, bits of a scale, and blocks of inputs and outputs."""
    read = stored(LLAMA, **quantization)
    found = (read.weights, read.group_size, read.scale_bits, read.input_block, read.output_block)
    assert found == expected


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ({"quant_method": "foo"}, "quantization method 'foo'"),
        ({"quant_method": 4}, "quant_method = 4: need text"),
        ({}, "config.json's quantization_config lacks quant_method"),
        ({"quant_method": "awq", "bits": 3}, "bits = 3: known here: 4, 8"),
        ({"quant_method": "awq", "group_size": "128"}, "group_size = '128': need a whole"),
        ({"quant_method": "fp8", "weight_block_size": [128]}, "block [128]: need two sizes"),
        ({"quant_method": "fp8", "weight_block_size": 128}, "need a list of whole numbers"),
        (
            {"quant_method": "modelopt", "quant_algo": "W4A8"},
            "quant_algo = 'W4A8': known here: FP8, NVFP4",
        ),
        ({"quant_method": "compressed-tensors"}, "names no format for the weights"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": weights(type="int", num_bits=3),
            },
            "int3, which is not known here",
        ),
        ({"quant_method": "fp8", "ignore": ["re:("]}, "has 're:('"),
    ],
)
def test_unknown_formats_are_refused(quantization: dict[str, object], words: str) -> None:
    """A format that is not known is named and never taken for another."""
    with pytest.raises(InputError) as caught:
        stored(LLAMA, **quantization)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("patterns", "excluded", "partly"),
    [
        ({"ignore": ["lm_head"]}, (), ()),
        ({"modules_to_not_convert": ["gate", "model.embed_tokens"]}, (), ()),
        ({"ignore": ["re:.*self_attn.*"]}, ATTENTION, ()),
        ({"exclude_modules": [f"model.layers.{i}.self_attn*" for i in range(61)]}, ATTENTION, ()),
        (
            {"ignore": ["language_model.model.layers.30.self_attn.q_a_proj"]},
            (),
            (("q down", 1),),
        ),
        ({"ignore": ["model.layers.61*"]}, (), ()),
        ({"ignore": [f"model.layers.{i}.mlp.down_proj" for i in range(3)]}, ("down",), ()),
    ],
)
def test_layers_left_out_are_found(
    patterns: dict[str, object], excluded: tuple[str, ...], partly: tuple[tuple[str, int], ...]
) -> None:
    """Lists of paths, globs and regular expressions, looked up in every layer they can mean."""
    read = stored(DEEPSEEK, quant_method="fp8", **patterns)
    assert set(read.excluded) == set(excluded)
    assert read.partly_excluded == partly


def test_mxfp4_is_for_experts_alone() -> None:
    """gpt-oss stores its experts in MXFP4 and the rest in BF16."""
    quantization = load_model("gpt-oss-20b").quantization
    assert quantization is not None
    assert set(LinearLayers.names) - set(quantization.excluded) == {
        "expert gate",
        "expert up",
        "expert down",
    }


@pytest.mark.parametrize(
    ("layers", "words"), [({}, "names no quantized_layers"), ({"a": None}, "gives a = None")]
)
def test_mixed_precision_of_no_layer_is_refused(layers: object, words: str) -> None:
    """It names the layers it quantizes, and how."""
    stored = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}
    with pytest.raises(InputError, match=words):
        shape_from_config(
            {**LLAMA, "quantization_config": {**stored, "quantized_layers": layers}}, id="x"
        )
