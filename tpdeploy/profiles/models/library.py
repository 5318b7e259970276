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
from tpdeploy.profiles.naming import key_of
from tpdeploy.records import Loader, read_json, read_record

FOLDER = DATA / "models"
STORED = "quantization_config"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
HUB_ADDRESS = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)(?:[/?#].*)?", re.ASCII
)
# What the names of chat checkpoints say besides, and people leave out.
USUAL = re.compile(r"(?:^|[-_])(?:meta|instruct|chat|it)(?=[-_]|$)", re.IGNORECASE)
GGUF = re.compile(r"[-_.]?gguf", re.IGNORECASE)
CONFIG = "config.json"
OTHERS = "others: a folder, or a hub id with its owner, as openai-community/gpt2"


def load_model(name: str) -> ModelShape:
    """The shape of the model called `name`: a folder, a bundled id or alias, or a hub id.

    A bundled model is found by its address on the hub too, without its owner, and with other or no
    dashes.

    Raises:
        InputError: no such folder, model or config.json, a GGUF file, or a hub out of reach.
    """
    if GGUF.search(name) and not kind_of(home_of(name) / CONFIG):
        raise InputError(_no_gguf(name))
    if _is_folder(name):
        folder = home_of(name)
        return _from_folder(folder.parent if folder.name == CONFIG else folder)
    address = HUB_ADDRESS.fullmatch(name.strip())
    wanted = address[1] if address else name.strip()
    bundled = bundled_model(wanted)
    if bundled is not None:
        return _bundled(*bundled)
    if not HUB_ID.fullmatch(wanted):
        near = nearest(wanted, _aliases(), listed_by="tpdeploy models")
        raise InputError(f"unknown model {shown(name)!r}; {near}; {OTHERS}")
    config = hub_config(wanted)
    if STORED not in config:
        config = _with_modelopt(config, hub_quantization(wanted))
    return shape_from_config(config, id=wanted)


def bundled_model(name: str) -> tuple[str, Path] | None:
    """The id and the file of the bundled model called `name`, or None.

    Its own spelling goes first, then any; of an owner that is not bundled the model is none.
    """
    exact = _names().get(name.lower())
    return exact or _spellings().get(key_of(name))


def _no_gguf(name: str) -> str:
    """Why a GGUF file is refused, and which bundled model it was probably made from."""
    stem = GGUF.sub("", Path(name).name)
    made_from = bundled_model(re.sub(r"[-_.](?:I?Q\d\w*|[BF]P?16|F32)$", "", stem, flags=re.I))
    other = (
        f"{made_from[0]}, or an AWQ or FP8 checkpoint of it"
        if made_from
        else ("the checkpoint it was made from, or an AWQ or FP8 one")
    )
    return f"{shown(name)}: GGUF is not a format that is planned here; plan {other}"


@cache
def model_profiles() -> tuple[ModelProfile, ...]:
    """Every bundled model."""
    return tuple(read_record(path, ModelProfile) for path in sorted(FOLDER.glob("*.yaml")))


def bundled_ids() -> tuple[str, ...]:
    """The ids of every bundled checkpoint, those of the same config as another too."""
    return tuple(sorted({id for id, _ in _names().values()}))


def model_names(*, ids: bool) -> tuple[str, ...]:
    """The aliases of the bundled models, or their `ids`."""
    return bundled_ids() if ids else tuple(sorted(_aliases()))


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


@cache
def _spellings() -> Mapping[str, tuple[str, Path]]:
    """Each bundled name as `key_of` has it, whole and without its owner, and without "Instruct".

    A name that two models could be called is none, unless it is the whole name of one.
    """
    found: dict[str, tuple[str, Path]] = {}
    for shorten in (_whole, _without_owner, _without_usual):
        called: dict[str, set[tuple[str, Path]]] = {}
        for name, model in _names().items():
            called.setdefault(key_of(shorten(name)), set()).add(model)
        for key, models in called.items():
            if len({path for _, path in models}) == 1:
                found.setdefault(key, min(models))
    return found


def _whole(name: str) -> str:
    return name


def _without_owner(name: str) -> str:
    return name.rpartition("/")[2]


def _without_usual(name: str) -> str:
    return USUAL.sub("", _without_owner(name)).strip("-_")


def _aliases() -> list[str]:
    return [name for name in _names() if "/" not in name]


def _from_folder(folder: Path) -> ModelShape:
    config = _read_object(folder / CONFIG)
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
