"""The worked examples of one layer's split, and what is refused."""

import pytest

from tpdeploy.errors import InputError
from tpdeploy.planner.model.layer_split import explain
from tpdeploy.planner.model.sharding import legal_widths
from tpdeploy.profiles.models.config.parser import shape_from_config
from tpdeploy.profiles.models.library import load_model, model_profiles
from tpdeploy.profiles.models.shape import ModelShape


def llama(hidden: int, heads: int) -> ModelShape:
    config: dict[str, object] = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "num_hidden_layers": 2,
        "intermediate_size": 4 * hidden,
        "vocab_size": 50304,
        "max_position_embeddings": 4096,
        "torch_dtype": "float16",
    }
    return shape_from_config(config, id=f"llama-{hidden}")


def test_hidden_16384_at_tp_4() -> None:
    """4,096 columns per GPU; 8 FP16 tokens: 65,536 bytes of local output, 262,144 all-reduced."""
    split = explain(llama(16384, 128), tp=4, tokens=8)
    assert split.hidden_columns_per_gpu == 4096
    assert split.local_output_bytes == 65_536
    assert split.all_reduce_bytes == 262_144


def test_hidden_12288_at_tp_3() -> None:
    """4,096 columns per GPU; 8 FP16 tokens: an all-reduce of 196,608 bytes."""
    split = explain(llama(12288, 96), tp=3, tokens=8)
    assert split.hidden_columns_per_gpu == 4096
    assert split.all_reduce_bytes == 196_608


def test_each_layer_ends_its_two_blocks_in_an_all_reduce() -> None:
    """Two all-reduces a layer, none when one GPU holds everything."""
    model = load_model("llama-70b")
    assert explain(model, tp=8, tokens=1).all_reduces_per_step == 160
    assert explain(model, tp=1, tokens=1).all_reduces_per_step == 0


def test_kv_heads_are_replicated_beyond_their_number() -> None:
    """At TP 16 a model with 8 KV heads holds one on every GPU, and says so."""
    attention = explain(load_model("llama-70b"), tp=16, tokens=1).blocks[0]
    assert "1 of 8 KV heads (replicated)" in attention.middle


def test_an_illegal_width_names_the_legal_ones() -> None:
    """SmolLM2's 9 heads cannot be divided by 2; 1, 3 and 9 work."""
    with pytest.raises(InputError, match=r"--tp 2: 9 .*legal widths for .*: 1, 3$"):
        explain(load_model("smollm2-135m"), tp=2, tokens=1)


@pytest.mark.parametrize("model", [profile.id for profile in model_profiles()])
def test_every_bundled_model_can_be_explained(model: str) -> None:
    """Each kind of layer has a block, whose columns the GPUs share."""
    shape = load_model(model)
    widest = legal_widths(shape, 8)[-1]
    split = explain(shape, tp=widest, tokens=1)
    parts = (shape.linear, shape.windowed, shape.attention, shape.experts)
    has_mlp = shape.mlp is not None and (shape.experts is None or shape.mlp.layers is not None)
    assert len(split.blocks) == sum(part is not None for part in parts) + has_mlp
    for block in split.blocks:
        assert block.columns_per_gpu * widest >= block.column_outputs


def test_a_hybrid_model_says_how_many_layers_are_of_a_kind() -> None:
    """Qwen3.5: 45 delta nets, 15 attention layers, experts everywhere; 120 all-reduces a step."""
    split = explain(load_model("qwen3.5-397b"), tp=8, tokens=1)
    assert [block.name for block in split.blocks] == [
        "delta net (45 of 60 layers)",
        "attention (15 of 60 layers)",
        "experts",
    ]
    assert split.all_reduces_per_step == 120


def test_the_shared_expert_is_drawn_beside_the_others() -> None:
    """It is split as they are; a model without one has none."""
    deepseek, mixtral = (
        explain(load_model(name), tp=8, tokens=1).blocks[-1].middle
        for name in ("deepseek-v3", "mixtral-8x7b")
    )
    assert deepseek == "8 of 256 experts per token, each split; shared: 256 of 2,048 columns"
    assert mixtral == "2 of 8 experts per token, each split"


def test_a_layer_of_one_block_ends_in_one_all_reduce() -> None:
    """Nemotron-H: 118 layers, each a mixer or an MLP."""
    assert explain(load_model("nemotron-h-56b"), tp=8, tokens=1).all_reduces_per_step == 118


def test_blocks_with_the_same_input_share_an_all_reduce() -> None:
    """Command R adds what attention and MLP give before it is summed over the ranks."""
    assert explain(load_model("command-r"), tp=8, tokens=1).all_reduces_per_step == 40
