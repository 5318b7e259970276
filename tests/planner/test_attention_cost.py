"""What mixing tokens costs, for each kind of layer."""

import pytest

from tpdeploy.planner.model.attention.cost import ContextLayers
from tpdeploy.planner.model.kv_cache import token_bytes
from tpdeploy.planner.performance.attention import (
    context_layers,
    index_layers,
    state_layers,
)
from tpdeploy.profiles.models.library import load_model, model_profiles
from tpdeploy.profiles.models.shape import CompressedAttention
from tpdeploy.profiles.record import Dtype

ALIASES = [profile.id for profile in model_profiles()]


def layers_of(model: str, tp: int = 1) -> dict[str, ContextLayers]:
    """The context layers of `model` by their kind."""
    return {kind.kind: kind for kind in context_layers(load_model(model), tp, Dtype.BF16)}


def test_a_pair_of_full_attention_is_a_score_and_a_weighted_value() -> None:
    """Llama-70B at TP 8: 8 heads of 128, two FLOPs for each product and sum, both ways."""
    full = layers_of("llama-70b", tp=8)["full"]
    assert (full.layers, full.pair_flops) == (80, 2 * 8 * (128 + 128))
    assert full.decode_pair_flops == full.pair_flops
    assert full.attended(100_000) == 100_000


def test_windows_bound_what_a_query_attends_to() -> None:
    """gpt-oss: every other layer sees 128 tokens."""
    kinds = layers_of("gpt-oss-120b")
    assert (kinds["windowed"].layers, kinds["full"].layers) == (18, 18)
    assert kinds["windowed"].attended(1_000) == 128
    assert kinds["windowed"].attended(50) == 50


def test_mla_decodes_on_the_latent() -> None:
    """DeepSeek-V3: 192 + 128 a head in a prefill; 576 + 512 on the latent in a decode step."""
    latent = layers_of("deepseek-v3", tp=8)["latent"]
    assert latent.pair_flops == 2 * 16 * (192 + 128)
    assert latent.decode_pair_flops == 2 * 16 * (576 + 512)
    assert latent.token_bytes == 576 * 2


def test_sparse_attention_looks_at_what_the_indexer_picked() -> None:
    """DeepSeek-V3.2: at most 2,048 tokens, in a prefill too; the indexer sees all, on each rank."""
    sparse = layers_of("deepseek-v3.2", tp=8)["sparse"]
    assert (sparse.layers, sparse.most_tokens) == (61, 2048)
    assert sparse.pair_flops == sparse.decode_pair_flops == 2 * 16 * (576 + 512)
    index = index_layers(load_model("deepseek-v3.2"))
    assert index is not None
    assert (index.layers, index.pair_flops) == (61, 2 * 64 * 129)
    assert index_layers(load_model("llama-70b")) is None


def test_compressed_entries_stand_for_several_tokens() -> None:
    """DeepSeek-V4-Flash: windows of 128, 512 of the entries of 4 tokens, all those of 128."""
    kinds = layers_of("deepseek-v4-flash", tp=8)
    assert [kinds[kind].layers for kind in ("windowed", "sparse", "compressed")] == [43, 21, 20]
    assert [kind.attended(1_024) for kind in kinds.values()] == [128, 256, 8]
    assert [kind.attended(1 << 20) for kind in kinds.values()] == [128, 512, 8192]
    assert kinds["compressed"].pair_flops == 2 * 8 * (512 + 512)
    index = index_layers(load_model("deepseek-v4-flash"))
    assert index is not None
    assert index.pair_flops == 2 * 64 * 129 / 4


def test_layers_with_other_heads_are_told_apart() -> None:
    """Gemma 4 has 16 heads of 512 in full layers and of 256 in windowed ones."""
    kinds = layers_of("gemma-4-26b")
    assert kinds["full"].pair_flops == 2 * 16 * (512 + 512)
    assert kinds["windowed"].pair_flops == 2 * 16 * (256 + 256)


def test_linear_attention_reads_and_writes_its_state() -> None:
    """Qwen3.5: 7 FLOPs a value of the state a token, beside the convolution."""
    state = state_layers(load_model("qwen3.5-397b"), tp=8)
    assert state is not None
    assert state.layers == 45
    assert state.decode_flops == 7 * 8 * 128 * 128 + 2 * 4 * 12_288 / 8
    assert state.state_bytes == (64 * 128 * 128 * 4 + 3 * 12_288 * 2) / 8
    assert state_layers(load_model("llama-70b"), tp=8) is None


@pytest.mark.parametrize("model", ALIASES)
def test_every_layer_is_of_one_kind_and_its_bytes_are_the_cache(model: str) -> None:
    """Context and state layers make up the model's mixers; their bytes are a token's KV."""
    shape = load_model(model)
    kinds = context_layers(shape, 2, Dtype.BF16)
    state, index = state_layers(shape, 2), index_layers(shape)
    mixers = sum(kind.layers for kind in kinds) + (state.layers if state else 0)
    one_block_layers = shape.mlp_layers + (shape.experts.layers if shape.experts else 0)
    has_blocks = shape.norms_per_layer == 1 and shape.linear is not None
    if isinstance(shape.attention, CompressedAttention):  # listed for its window and its entries
        mixers -= shape.attention.sparse_layers + shape.attention.dense_layers
    assert mixers == shape.layers - (one_block_layers if has_blocks else 0)
    stored = sum(kind.layers * kind.token_bytes / kind.tokens_per_entry for kind in kinds)
    if index:
        stored += index.layers * index.token_bytes
    assert stored == pytest.approx(token_bytes(shape, 2, Dtype.BF16))
