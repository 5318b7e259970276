"""Pipeline stages and whole experts hold the model once, dealt out as engines deal it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.profiles.public import public, record
from tpdeploy.planner.model.kv_cache import request_bytes
from tpdeploy.planner.model.sharding import legal_widths
from tpdeploy.planner.model.stages import (
    split_problem,
    stage_request_bytes,
    stage_weight_bytes,
    stages,
)
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.record import Dtype


def weights(model: str, split: Parallelism) -> list[float]:
    """Bytes on a rank of each stage."""
    shape = load_model(model)
    return [stage_weight_bytes(shape, split, stage) for stage in stages(shape, split.pipeline)]


@pytest.mark.parametrize(
    ("model", "pipeline", "layers"),
    [
        ("llama-8b", 2, [16, 16]),
        ("deepseek-v3", 2, [31, 30]),
        ("deepseek-v3", 4, [15, 15, 16, 15]),
        ("llama-405b", 4, [31, 32, 32, 31]),
    ],
)
def test_layers_are_dealt_as_vllm_deals_them(model: str, pipeline: int, layers: list[int]) -> None:
    """What is left goes one each to the stages before the last."""
    dealt = stages(load_model(model), pipeline)
    assert [stage.layers for stage in dealt] == layers
    assert [stage.first for stage in dealt] == [True] + [False] * (pipeline - 1)
    assert [stage.last for stage in dealt] == [False] * (pipeline - 1) + [True]


@given(pipeline=st.integers(1, 16), tensor=st.sampled_from([1, 2, 4, 8]))
def test_the_stages_together_hold_the_model_once(pipeline: int, tensor: int) -> None:
    """Layers are dealt out completely, and the weights of all stages sum to the model's."""
    shape = load_model("llama-70b")
    assert sum(stage.layers for stage in stages(shape, pipeline)) == shape.layers
    together = sum(weights("llama-70b", Parallelism(tensor=tensor, pipeline=pipeline)))
    (whole,) = weights("llama-70b", Parallelism(tensor=tensor))
    assert together == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("model", ["deepseek-v3", "nemotron-3-nano", "gpt-oss-120b", "gemma-3-27b"])
def test_stages_of_unlike_layers_hold_every_layer_once(model: str) -> None:
    """Weights and one request's KV of all stages sum to the model's, whatever the layers are."""
    shape, split = load_model(model), Parallelism(tensor=1, pipeline=5)
    dealt, table = stages(shape, 5), shape.vocab * shape.hidden * 2
    (whole,) = weights(model, Parallelism(tensor=1))
    twice = table if shape.tied_embeddings else 0
    assert sum(weights(model, split)) == pytest.approx(whole + twice, rel=1e-12)
    held = sum(stage_request_bytes(shape, stage, 5000, 1, Dtype.BF16) for stage in dealt)
    assert held == pytest.approx(request_bytes(shape, 5000, 1, Dtype.BF16), rel=1e-12)


def test_stages_of_narrowed_layers_hold_their_own_widths() -> None:
    """Nemotron-NAS: layers without attention hold no KV, and narrow MLPs are narrow."""
    name = "nvidia--Llama-3_3-Nemotron-Super-49B-v1"
    shape = public(name)
    dealt = stages(shape, 80)
    each = [stage_weight_bytes(shape, Parallelism(tensor=1, pipeline=80), s) for s in dealt]
    assert sum(each) == pytest.approx(2 * record(name)["parameters"], rel=1e-12)
    held = [stage_request_bytes(shape, stage, 1000, 1, Dtype.BF16) for stage in dealt]
    layers = [group for group in shape.groups for _ in range(group.count)]
    assert [size > 0 for size in held] == [layer.mixer == "full" for layer in layers]
    narrow = next(i for i, layer in enumerate(layers) if layer.width == 2816)
    assert each[narrow] == 2 * (3 * 2816 * 8192 + 8192)


def test_the_stage_with_the_dense_layers_has_no_share_of_their_experts() -> None:
    """DeepSeek-V3's three dense layers lead: of 61 stages, three have no experts at all."""
    shape = load_model("deepseek-v3")
    assert shape.experts
    experts = 3 * shape.experts.intermediate * shape.hidden * shape.experts.count
    first, *others = weights("deepseek-v3", Parallelism(tensor=1, pipeline=61))
    assert max(first, *others[:2]) < experts < min(others[2:])


def test_a_stage_holds_the_kv_of_its_own_attention_layers() -> None:
    """Gemma 3 sees all of the context in each sixth layer: a stage of five holds windows alone."""
    shape = load_model("gemma-3-12b")
    dealt = stages(shape, shape.layers)
    held = [stage_request_bytes(shape, stage, 100_000, 1, Dtype.BF16) for stage in dealt]
    assert [held[i] / held[0] for i in (4, 5)] == [1, pytest.approx(100_000 / 1024)]


def test_encoders_are_split_over_ranks_and_whole_on_every_stage() -> None:
    """Their linear layers are shared by the ranks; norms, patches and positions are not."""
    shape = public("qwen3_vl")
    assert shape.encoders
    assert shape.encoders.whole < 0.01 * shape.encoders.split
    text = shape.model_copy(update={"encoders": None})
    for split in (Parallelism(tensor=4), Parallelism(tensor=4, pipeline=2)):
        each = (shape.encoders.split / 4 + shape.encoders.whole) * 2
        for stage in stages(shape, split.pipeline):
            beside = stage_weight_bytes(shape, split, stage) - stage_weight_bytes(
                text, split, stage
            )
            assert beside == pytest.approx(each)


@pytest.mark.parametrize("model", ["gpt-oss-20b", "gpt-oss-120b"])
def test_whole_mxfp4_experts_need_less_padding(model: str) -> None:
    """A slice of 360 columns is padded to 384, a whole expert of 2,880 to 2,944."""
    (split,) = weights(model, Parallelism(tensor=8))
    (whole,) = weights(model, Parallelism(tensor=8, expert=8))
    assert whole < split


def test_tied_embeddings_are_on_the_first_and_the_last_stage() -> None:
    """The last stage needs the table as its head: it is held twice."""
    shape = load_model("llama-1b")
    assert shape.tied_embeddings
    table = shape.vocab * shape.hidden * 2
    (whole,) = weights("llama-1b", Parallelism(tensor=1))
    both = weights("llama-1b", Parallelism(tensor=1, pipeline=2))
    assert sum(both) == pytest.approx(whole + table, rel=1e-12)


def test_the_fullest_stage_of_deepseek_holds_all_its_layers_experts() -> None:
    """The three dense layers lead: the third of four stages holds 16 layers with experts."""
    shape = load_model("deepseek-v3")
    fullest = max(weights("deepseek-v3", Parallelism(tensor=8, pipeline=4)))
    assert shape.experts
    one_layer = shape.experts.count * 3 * shape.experts.intermediate * shape.hidden / 8
    assert fullest > 16 * one_layer
    assert fullest < 18 * one_layer


def test_whole_experts_make_narrow_ones_legal() -> None:
    """768 columns of FP8 blocks cannot be cut in sixteen; a whole expert need not be."""
    shape = load_model("qwen3-30b-a3b-fp8")
    assert "expert" in (split_problem(shape, Parallelism(tensor=16)) or "")
    assert split_problem(shape, Parallelism(tensor=16, expert=16)) is None
    assert 16 not in legal_widths(shape, 16)
    assert 16 in legal_widths(shape, 16, expert_parallel=True)


@pytest.mark.parametrize(
    ("model", "split", "words"),
    [
        ("llama-8b", Parallelism(tensor=1, pipeline=33), "32 layers cannot be dealt to 33"),
        ("llama-8b", Parallelism(tensor=2, expert=2), "has none to place whole"),
        ("mixtral-8x7b", Parallelism(tensor=16, expert=16), "8 experts are fewer than 16"),
        ("llama-8b", Parallelism(tensor=3, pipeline=2), "32 attention heads"),
        ("llama-8b", Parallelism(tensor=2, data=2), "without experts is as many replicas"),
        ("mixtral-8x7b", Parallelism(tensor=2, data=8, expert=16), "8 experts are fewer than 16"),
        ("deepseek-v3", Parallelism(tensor=1, data=128), "of 'expert gate' would be 16"),
    ],
)
def test_splits_no_engine_can_run_are_refused(model: str, split: Parallelism, words: str) -> None:
    """Stages without a layer, experts that are not there, heads and blocks that do not divide."""
    assert words in (split_problem(load_model(model), split) or "")


@given(tensor=st.sampled_from([2, 4, 8]))
def test_each_rank_holds_its_share_of_the_experts(tensor: int) -> None:
    """Whole or in slices, the ranks hold as many bytes of experts; unquantized, exactly."""
    (split,) = weights("mixtral-8x7b", Parallelism(tensor=tensor))
    (whole,) = weights("mixtral-8x7b", Parallelism(tensor=tensor, expert=tensor))
    assert whole == pytest.approx(split, rel=1e-12)


@given(split=st.sampled_from([(1, 8), (2, 4), (4, 2)]), whole=st.booleans())
def test_data_ranks_share_the_experts_and_hold_all_else_each(
    split: tuple[int, int], *, whole: bool
) -> None:
    """A rank holds what it would at its own TP width, but of the experts its part of all ranks'."""
    tensor, data = split
    shape = load_model("mixtral-8x7b")
    assert shape.experts
    experts = shape.layers * shape.experts.count * 3 * shape.experts.intermediate * shape.hidden * 2
    (held,) = weights("mixtral-8x7b", Parallelism.of(tensor, data=data, expert_parallel=whole))
    (alone,) = weights("mixtral-8x7b", Parallelism(tensor=tensor))
    assert held == pytest.approx(alone - experts / tensor + experts / (tensor * data), rel=1e-12)
