"""Public config.json files have the parameters that transformers' modules have.

Each file in `configs/` is one config.json, without keys that have no part in the shape: where it
is from, and the parameters of transformers' module for it, built on the meta device. Of a
multimodal model whose encoders are not known, `text_model` is the part that is counted.
"""

from pathlib import Path

import pytest

from tests.profiles.public import NAMES, public, record
from tests.scripts import script
from tpdeploy.planner.model.sharding import parameter_count
from tpdeploy.profiles.models.config.parser import shape_from_config

DOCUMENT = Path(__file__).parents[2] / "docs" / "architectures.md"


@pytest.mark.parametrize("name", NAMES)
def test_a_public_config_has_exactly_the_parameters_of_its_module(name: str) -> None:
    """Counted from config.json alone."""
    shape, counted = public(name), record(name)
    assert parameter_count(shape) == counted.get("text_model", counted["parameters"])
    assert bool(shape.uncounted) == ("text_model" in counted)


def test_kimis_checkpoints_name_the_keys_of_their_encoder_otherwise() -> None:
    """With `vt_` before a key and `init_` before the positions; the count is the same."""
    counted = record("kimi_k25")
    vision = {
        "vt_hidden_size": 1152,
        "vt_intermediate_size": 4304,
        "vt_num_hidden_layers": 27,
        "vt_num_attention_heads": 16,
        "init_pos_emb_height": 64,
        "init_pos_emb_width": 64,
        "patch_size": 14,
    }
    shape = shape_from_config({**counted["config"], "vision_config": vision}, id="kimi")
    assert parameter_count(shape) == counted["parameters"]
    narrow = {**vision, "vt_num_hidden_layers": 26}
    fewer = shape_from_config({**counted["config"], "vision_config": narrow}, id="kimi")
    assert shape.encoders and fewer.encoders
    assert fewer.encoders.parameters < shape.encoders.parameters


def test_the_configs_say_where_they_are_from() -> None:
    """Each names its source and what counted its parameters."""
    assert len(NAMES) >= 30
    for name in NAMES:
        assert record(name)["source"]
        assert record(name)["counted_with"]


def test_the_document_lists_every_known_architecture() -> None:
    """`python scripts/list_architectures.py` would change nothing."""
    assert DOCUMENT.read_text(encoding="utf-8") == script("list_architectures").page()
