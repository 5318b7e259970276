"""Checkpoints take the bytes that their publishers state, scales included."""

import pytest

from tpdeploy.planner.model.tensors import tensors
from tpdeploy.planner.model.weight_formats import linear_format, stored_bits
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.models.shape import ModelShape, StoredFormat
from tpdeploy.profiles.record import Dtype


def checkpoint_bytes(shape: ModelShape) -> float:
    """Bytes of all tensors, each once."""
    return sum(t.count * t.elements * t.bits / 8 for t in tensors(shape) if t.stored)


@pytest.mark.parametrize(
    ("model", "total"),
    [
        ("gpt-oss-20b", 13_761_264_768),
        ("gpt-oss-120b", 65_248_815_744),
        ("llama-3.1-70b-awq", 39_767_785_472),
        ("llama-70b", 141_107_412_992),
        ("qwen3-8b", 16_381_470_720),
    ],
)
def test_the_total_size_of_published_checkpoints_is_met_to_the_byte(model: str, total: int) -> None:
    """`total_size` of each model.safetensors.index.json: MXFP4, AWQ with zero points, BF16."""
    assert checkpoint_bytes(load_model(model)) == total


@pytest.mark.parametrize(
    ("stored", "outputs", "inputs", "scales"),
    [
        # DeepSeek's 576 latent rows take 5 rows of 128 x 128 blocks, the last one half full.
        (
            StoredFormat(
                weights=Dtype.FP8,
                group_size=128 * 128,
                scale_bits=32,
                output_block=128,
                input_block=128,
            ),
            576,
            7168,
            5 * 56 * 32,
        ),
        (StoredFormat(weights=Dtype.FP8, output_scale_bits=32), 100, 64, 100 * 32),
        (StoredFormat(weights=Dtype.FP8, tensor_scale_bits=64), 100, 64, 64),
        (
            StoredFormat(weights=Dtype.FP4, group_size=16, scale_bits=8, tensor_scale_bits=64),
            100,
            64,
            100 * 4 * 8 + 64,
        ),
        (
            StoredFormat(weights=Dtype.INT4, group_size=128, scale_bits=20, input_scale_bits=32),
            100,
            256,
            100 * 2 * 20 + 256 * 32,
        ),
        (StoredFormat(weights=Dtype.INT8), 3, 5, 0),
    ],
)
def test_scales_are_counted_by_blocks_groups_outputs_and_tensors(
    stored: StoredFormat, outputs: int, inputs: int, scales: int
) -> None:
    """Values at their width, and every scale once."""
    expected = outputs * inputs * stored.weights.bits + scales
    assert stored_bits(stored, outputs, inputs) * outputs * inputs == pytest.approx(expected)


def test_a_layer_that_is_kept_in_part_makes_two_tensors() -> None:
    """Nemotron 3 Nano in NVFP4 keeps Mamba's projections of 6 of 23 layers in BF16."""
    found = {t.name: (t.count, t.dtype) for t in tensors(load_model("nemotron-3-nano-nvfp4"))}
    assert found["linear v"] == (17, Dtype.FP4)
    assert found["linear v (bf16)"] == (6, Dtype.BF16)
    assert found["q"] == (6, Dtype.BF16)


def test_mixed_precision_gives_each_linear_layer_its_own_format() -> None:
    """Nemotron 3.5: Mamba in FP8, experts and head in NVFP4, attention in BF16."""
    found = {t.name: t.dtype for t in tensors(load_model("nemotron-3.5-lightning-nvfp4"))}
    assert found["linear output"] is Dtype.FP8
    assert found["expert up"] is found["shared expert up"] is found["head"] is Dtype.FP4
    assert found["q"] is found["router"] is Dtype.BF16


def test_attention_stays_in_bf16_where_the_checkpoint_says_so() -> None:
    """NVFP4 of DeepSeek-R1 is for MLPs and experts; V3.1's has the output projection too."""
    for model, output in (("deepseek-r1-nvfp4", Dtype.BF16), ("deepseek-v3.1-nvfp4", Dtype.FP4)):
        found = {t.name: t.dtype for t in tensors(load_model(model))}
        assert found["expert gate"] is found["gate"] is Dtype.FP4
        assert found["q up"] is found["kv up"] is Dtype.BF16
        assert found["output"] is output


def test_nothing_is_packed_without_a_quantization() -> None:
    """The model's own dtype, and no format by default for the head."""
    assert linear_format(None, "q") is None
    assert linear_format(load_model("qwen3-32b-fp8").quantization, "head", by_default=False) is None
