"""The model as it is served, from its checkpoint and the precision that is stated."""

import pytest

from tpdeploy.errors import InputError
from tpdeploy.planner.model.precision import (
    MIXING_LINEARS,
    SHARED_LINEARS,
    kv_cache_dtype,
    stored_shape,
)
from tpdeploy.planner.model.stages import stage_weight_bytes, stages
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.profiles.devices.catalog import find_accelerator
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.models.shape import ModelShape
from tpdeploy.profiles.record import Dtype

H100 = find_accelerator("H100")


def stored(model: str, precision: str) -> ModelShape:
    return stored_shape(load_model(model), H100, precision)


def weights_gb(shape: ModelShape) -> float:
    (whole,) = stages(shape, 1)
    return stage_weight_bytes(shape, Parallelism(tensor=1), whole) / 1e9


@pytest.mark.parametrize(
    ("model", "precision", "expected_gb"),
    [
        ("meta-llama/Llama-3.1-70B", "", 141),
        ("meta-llama/Llama-3.1-70B", "bf16", 141),
        ("meta-llama/Llama-3.1-70B", "fp8", 73),  # embedding and head stay in BF16
        ("meta-llama/Llama-3.1-70B", "nvfp4", 43),
        ("meta-llama/Llama-3.1-70B", "int4", 40),
        ("deepseek-ai/DeepSeek-R1", "fp8", 671),
        ("deepseek-ai/DeepSeek-R1", "fp4", 397),
        ("deepseek-ai/DeepSeek-R1", "bf16", 1342),
    ],
)
def test_weights_take_what_their_precision_says(
    model: str, precision: str, expected_gb: float
) -> None:
    """Parameters times the bits of the format, scales and native tensors included."""
    assert weights_gb(stored(model, precision)) == pytest.approx(expected_gb, rel=0.03)


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        ("openai/gpt-oss-120b", "fp4"),
        ("deepseek-ai/DeepSeek-R1", "fp8"),
        ("moonshotai/Kimi-K2.5", "int4"),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", "FP8"),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", ""),
    ],
)
def test_a_checkpoint_in_that_precision_is_taken_as_it_is(model: str, precision: str) -> None:
    """Its own method, groups and exclusions."""
    assert stored(model, precision).quantization == load_model(model).quantization


def test_four_bits_leave_latent_attention_as_it_is() -> None:
    """Published NVFP4 conversions of MLA models quantize MLPs and experts only."""
    quantization = stored("deepseek-ai/DeepSeek-V3", "fp4").quantization
    assert quantization is not None
    assert quantization.weights is Dtype.FP4
    assert quantization.excluded == MIXING_LINEARS


def test_fp16_is_served_in_fp16() -> None:
    """Activations too; bf16 keeps the checkpoint's own 16 bits."""
    assert stored("meta-llama/Llama-3.1-8B", "fp16").dtype is Dtype.FP16
    assert stored("meta-llama/Llama-3.1-8B", "bf16").dtype is Dtype.BF16


def test_an_unknown_precision_is_refused() -> None:
    """With the nearest known."""
    with pytest.raises(InputError, match=r"precision 'fp9': did you mean"):
        stored("meta-llama/Llama-3.1-8B", "fp9")


def test_4_bits_of_a_hybrid_model_leave_its_shared_expert_too() -> None:
    """As NVIDIA's NVFP4 checkpoint of Qwen3.5 does."""
    quantization = stored("qwen3.5-397b", "fp4").quantization
    published = load_model("qwen3.5-397b-nvfp4").quantization
    assert quantization is not None
    assert published is not None
    assert set(quantization.excluded) == {*MIXING_LINEARS, *SHARED_LINEARS}
    assert set(published.excluded) <= set(quantization.excluded)


def test_the_kv_cache_is_stored_as_the_checkpoint_asks() -> None:
    """ModelOpt's ask for FP8; others for nothing, and get the model's dtype."""
    assert kv_cache_dtype("auto", load_model("qwen3.5-397b-nvfp4")) is Dtype.FP8
    assert kv_cache_dtype("auto", load_model("deepseek-v3")) is Dtype.BF16
    assert kv_cache_dtype("fp8", load_model("deepseek-v3")) is Dtype.FP8
