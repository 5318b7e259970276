"""Finding a model: a local folder, a bundled profile by id or alias, or the hub."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from tpdeploy.errors import InputError, nearest, shown
from tpdeploy.files import home_of, kind_of
from tpdeploy.profiles import DATA
from tpdeploy.profiles.models.config.parser import shape_from_config
from tpdeploy.profiles.models.hub import hub_config, hub_quantization
from tpdeploy.profiles.models.shape import ModelProfile, ModelShape
from tpdeploy.records import Loader, read_json, read_record

FOLDER = DATA / "models"
STORED = "quantization_config"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def load_model(name: str) -> ModelShape:
    """The shape of the model called `name`: a folder, a bundled id or alias, or a hub id.

    Raises:
        InputError: no such folder, model or config.json, or a hub that is out of reach.
    """
    if _is_folder(name):
        return _from_folder(home_of(name))
    bundled = _names().get(name.lower())
    if bundled is not None:
        return _bundled(*bundled)
    if not HUB_ID.fullmatch(name):
        raise InputError(f"unknown model {shown(name)!r}; {nearest(name, _aliases())}")
    config = hub_config(name)
    if STORED not in config:
        config = _with_modelopt(config, hub_quantization(name))
    return shape_from_config(config, id=name)


@cache
def model_profiles() -> tuple[ModelProfile, ...]:
    """Every bundled model."""
    return tuple(read_record(path, ModelProfile) for path in sorted(FOLDER.glob("*.yaml")))


def bundled_ids() -> tuple[str, ...]:
    """The ids of every bundled checkpoint, those of the same config as another too."""
    return tuple(sorted({id for id, _ in _names().values()}))


def _is_folder(name: str) -> bool:
    return name.startswith((".", "/", "~")) or (name != "" and kind_of(Path(name)) == "folder")


@cache
def _bundled(id: str, file: Path) -> ModelShape:
    return shape_from_config(read_record(file, ModelProfile).config, id=id)


@cache
def _names() -> Mapping[str, tuple[str, Path]]:
    """Each bundled id and alias, in lower case: the checkpoint meant, and the file it is in."""
    names: dict[str, tuple[str, Path]] = {}
    for path in FOLDER.glob("*.yaml"):
        head = path.read_text(encoding="utf-8").partition("\nsource:")[0]
        content = yaml.load(head, Loader)  # noqa: S506 - a SafeLoader in both cases
        for name in (content["id"], *content["aliases"]):
            names[name.lower()] = content["id"], path
        for name in content.get("same_config", ()):
            names[name.lower()] = name, path
    return names


def _aliases() -> list[str]:
    return [name for name in _names() if "/" not in name]


def _from_folder(folder: Path) -> ModelShape:
    config = _read_object(folder / "config.json")
    beside = folder / "hf_quant_config.json"
    if STORED not in config and kind_of(beside):
        config = _with_modelopt(config, _read_object(beside))
    path = folder.resolve()
    return shape_from_config(config, id=path.name, path=str(path))


def _with_modelopt(
    config: dict[str, object], beside: Mapping[str, object] | None
) -> dict[str, object]:
    """`config` with what older ModelOpt checkpoints say in hf_quant_config.json beside it."""
    stored = beside.get("quantization") if beside else None
    if not isinstance(stored, dict):
        return config
    return {**config, STORED: {"quant_method": "modelopt", **stored}}


def _read_object(file: Path) -> dict[str, object]:
    content = read_json(file)
    if not isinstance(content, dict):
        raise InputError(f"{file}: expected an object, got {shown(content)}")
    return content
