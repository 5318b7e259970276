"""KV cache and state of every kind of layer, on one rank."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.profiles.public import public
from tpdeploy.planner.model.kv_cache import (
    in_flight_parts,
    kv_bytes,
    request_bytes,
    sequence_bytes,
    token_bytes,
)
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.record import Dtype

MODELS = (
    "llama-70b",
    "gpt-oss-120b",
    "gemma-4-26b",
    "mimo-v2-flash",
    "qwen3.5-397b",
    "nemotron-3-nano",
    "deepseek-v3",
    "deepseek-v3.2",
    "glm-5.2",
    "minimax-m3",
    "deepseek-v4-flash",
)


@pytest.mark.parametrize(
    ("model", "tp", "dtype", "expected"),
    [
        ("llama-70b", 1, Dtype.BF16, 80 * 2 * 8 * 128 * 2),
        ("llama-70b", 16, Dtype.FP8, 80 * 2 * 1 * 128),
        ("deepseek-v3", 8, Dtype.BF16, 61 * 576 * 2),
        # Sparse attention: 512 FP8 values, 4 FP32 scales and 64 BF16 values; and an indexer's key
        # of 128 FP8 values with a scale.
        ("deepseek-v3.2", 8, Dtype.FP8, 61 * (656 + 132)),
        ("deepseek-v3.2", 8, Dtype.BF16, 61 * (576 * 2 + 132)),
        # 21 of GLM-5.2's 78 layers have an indexer of their own.
        ("glm-5.2", 8, Dtype.BF16, 78 * 576 * 2 + 21 * 132),
        # 15 of 60 layers attend; 2 KV heads on 4 ranks: one each, twice.
        ("qwen3.5-397b", 4, Dtype.BF16, 15 * 2 * 256 * 2),
        # 5 layers with 2 KV heads of 512, 25 windowed ones with 8 of 256.
        ("gemma-4-26b", 1, Dtype.BF16, (5 * 2 * 2 * 512 + 25 * 2 * 8 * 256) * 2),
        # A token in 43 windows, an entry of 4 tokens in 21 layers and of 128 in 20; in FP8 of
        # 448 + 2 x 64 + 8 bytes; an indexer's key of 4 tokens 132.
        ("deepseek-v4-flash", 8, Dtype.FP8, (43 + 21 / 4 + 20 / 128) * 584 + 21 * 132 / 4),
        # Keys of 192 and values of 128.
        ("mimo-v2-flash", 4, Dtype.BF16, (9 * 1 + 39 * 2) * (192 + 128) * 2),
    ],
)
def test_one_more_token_costs(model: str, tp: int, dtype: Dtype, expected: float) -> None:
    """Every layer that attends, with its own heads; what MLA and indexers keep is replicated."""
    assert token_bytes(load_model(model), tp, dtype) == expected


@pytest.mark.parametrize(
    ("model", "tp", "expected"),
    [
        ("llama-70b", 1, 0),
        # 64 heads of 128 x 128 in FP32, and 3 tokens of 12,288 channels in BF16, in 45 layers.
        ("qwen3.5-397b", 1, 45 * (64 * 128 * 128 * 4 + 3 * 12_288 * 2)),
        ("qwen3.5-397b", 8, 45 * (64 * 128 * 128 * 4 + 3 * 12_288 * 2) / 8),
        # 64 heads of 64 x 128 in FP32, and 3 tokens of 6,144 channels, in 23 layers.
        ("nemotron-3-nano", 1, 23 * (64 * 64 * 128 * 4 + 3 * 6_144 * 2)),
    ],
)
def test_a_sequence_has_a_state_in_every_linear_layer(model: str, tp: int, expected: float) -> None:
    """It is split by heads, and does not grow with the context."""
    shape = load_model(model)
    assert sequence_bytes(shape, tp) == expected
    assert request_bytes(shape, 0, tp, Dtype.BF16) == expected


@pytest.mark.parametrize(("tokens", "logged_gib"), [(30_000, 6.66), (13_528, 5.44)])
def test_windows_of_compressed_attention_are_whole_blocks(tokens: int, logged_gib: float) -> None:
    """What vLLM asks for one request (vllm-project/vllm issue 44376), two steps of 8,192 in flight.

    A block holds the entries of 256 tokens, 0.96 MiB. A request has 3 blocks of each of two groups
    of windows, 3 of sparse and 17 of dense layers' compressors; tokens in flight take one for
    every 64, 64, 4 and 8. The log has 5 % more: layers that predict several tokens are not counted.
    """
    shape = load_model("deepseek-v4-flash")
    assert sequence_bytes(shape, 2) == pytest.approx(26 * 1_002_240 - 43 * 128 * 584)
    in_flight = sum(in_flight_parts(shape, min(16_384, tokens), 2, Dtype.FP8).values())
    needed = request_bytes(shape, tokens, 2, Dtype.FP8) + in_flight
    assert needed / 2**30 == pytest.approx(logged_gib, rel=0.06)


@pytest.mark.parametrize(
    ("name", "tp", "expected"),
    [
        # 8,192 values, each with 16 of state and 3 tokens of convolution, in 28 of 32 layers.
        ("jamba", 2, 28 * (8192 * 16 + 3 * 8192) * 2 / 2),
        # 128 heads of 8 x 256, and 3 tokens of 1,024 channels beside B's and C's 256 each, in all.
        ("falcon_h1", 1, 32 * (128 * 8 * 256 + 3 * (1024 + 2 * 256)) * 2),
        # 2 blocks of 4 tokens, each of 8 heads padded from 256 + 2 x 512 values to 2,048.
        ("inkling", 2, 42 * 2 * 4 * 8 * 2048 * 2 / 2),
        # 2 tokens of 2,048 values in 10 of 16 layers.
        ("LFM2.5-VL-1.6B", 1, 10 * 2 * 2048 * 2),
    ],
)
def test_the_state_is_in_the_models_type_where_none_is_named(
    name: str, tp: int, expected: float
) -> None:
    """Mamba's, Mamba-2's beside attention, and a short convolution's."""
    assert sequence_bytes(public(name), tp) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # The latent of 576 values in 24 of 93 layers.
        ("kimi_k3", 24 * 576 * 2),
        # That of 576 in 34 layers, and in 10 an indexer's key of 128 FP8 values with a scale.
        ("hy_v4", 34 * 576 * 2 + 10 * 132),
        # That of 512 without a rotary part in 11 of 45 layers, and a key for each 16 tokens.
        ("glm5_next", 11 * (512 * 2 + 132 / 16)),
        # That of 160 and a key in 48, that of 576 in 7 of 42.
        ("axk2", 48 * (160 * 2 + 132)),
        ("bailing_hybrid", 7 * 576 * 2),
        # K and V of 8 heads of 128 in 42 layers while no window is full.
        ("inkling", 42 * 2 * 8 * 128 * 2),
        # K and V of 2 heads of 256 in 12 of 48 layers, and 128 values of a key for each 4 tokens.
        ("qwen4_exp", 12 * (2 * 2 * 256 + 128 / 4) * 2),
        # K and V of one head of 256 in 61 layers.
        ("step3_vl", 61 * 2 * 256 * 2),
        # K and V of 8 heads of 128 in 64 of 162 layers.
        ("nemotron-ultra-253b", 64 * 2 * 8 * 128 * 2),
    ],
)
def test_a_token_costs_kv_in_the_layers_that_look_at_context(name: str, expected: float) -> None:
    """The latent or the few KV heads are whole on every rank up to the count of KV heads."""
    shape = public(name)
    assert token_bytes(shape, 1, Dtype.BF16) == expected
    if name not in {"nemotron-ultra-253b", "qwen4_exp", "inkling"}:
        assert token_bytes(shape, 4, Dtype.BF16) == expected


def test_layers_that_borrow_keys_and_values_store_none() -> None:
    """Gemma 3n: 20 of 35 layers have a KV cache, 16 of them within a window of 512 tokens."""
    shape = public("gemma3n_text")
    one = 2 * 2 * 256 * 2  # K and V of 2 heads of 256 in 16 bits
    assert token_bytes(shape, 1, Dtype.BF16) == 20 * one
    assert kv_bytes(shape, 2000, 1, Dtype.BF16) == (4 * 2000 + 16 * 512) * one


def test_attention_beside_mamba_has_its_kv_in_every_layer() -> None:
    """Falcon-H1: 8 KV heads of 128 in each of 32 layers, and Mamba-2 in each too."""
    shape = public("falcon_h1")
    assert token_bytes(shape, 1, Dtype.BF16) == 32 * 2 * 8 * 128 * 2
    assert [group.mixer for group in shape.groups] == ["both"]


def test_a_full_window_holds_no_more() -> None:
    """Gemma 4: 25 layers keep 1,024 tokens, 5 all of them."""
    shape = load_model("gemma-4-26b")
    grown = kv_bytes(shape, 10_000, 1, Dtype.BF16) - kv_bytes(shape, 9_000, 1, Dtype.BF16)
    assert grown == 1_000 * 5 * 2 * 2 * 512 * 2


@given(st.sampled_from(MODELS), st.integers(1, 200_000), st.sampled_from([1, 2, 4, 8]))
def test_a_request_holds_its_kv_and_its_state(model: str, tokens: int, tp: int) -> None:
    """More tokens never cost less, a wider group never more, and no token more than the first."""
    shape = load_model(model)
    held = request_bytes(shape, tokens, tp, Dtype.BF16)
    assert held <= request_bytes(shape, tokens + 1, tp, Dtype.BF16)
    assert held >= request_bytes(shape, tokens, 2 * tp, Dtype.BF16)
    assert held <= tokens * token_bytes(shape, tp, Dtype.BF16) + sequence_bytes(shape, tp)
