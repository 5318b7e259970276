"""Public config.json files, each with the parameters that transformers' module for it has."""

import json
from pathlib import Path
from typing import Any

from tpdeploy.profiles.models.config.parser import shape_from_config
from tpdeploy.profiles.models.shape import ModelShape

FOLDER = Path(__file__).parent / "configs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def record(name: str) -> dict[str, Any]:
    """A config.json, where it is from, and what was counted."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def public(name: str) -> ModelShape:
    """The shape of one of them."""
    return shape_from_config(record(name)["config"], id=name)
