"""Public config.json files have the parameters that transformers' modules have.

Each file in `configs/` is one config.json, without keys that have no part in the shape: where it
is from, and the parameters of transformers' module for it, built on the meta device. Of a
multimodal model whose encoders are not counted, `text_model` is the part without them.
"""

import json
from pathlib import Path

import pytest

from tpdeploy.planner.model.sharding import parameter_count
from tpdeploy.profiles.models.config.parser import shape_from_config

FILES = sorted((Path(__file__).parent / "configs").glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_public_config_has_exactly_the_parameters_of_its_module(file: Path) -> None:
    """Counted from config.json alone."""
    record = json.loads(file.read_text(encoding="utf-8"))
    shape = shape_from_config(record["config"], id=file.stem)
    assert parameter_count(shape) == record.get("text_model", record["parameters"])


def test_the_configs_say_where_they_are_from() -> None:
    """Each names its source and what counted its parameters."""
    assert len(FILES) >= 30
    for file in FILES:
        record = json.loads(file.read_text(encoding="utf-8"))
        assert record["source"]
        assert record["counted_with"]
