"""Finding a model: a local folder, a bundled profile by id or alias, or the hub."""

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from tpdeploy.errors import InputError, nearest
from tpdeploy.profiles.config_json import shape_from_config
from tpdeploy.profiles.model import ModelProfile, ModelShape
from tpdeploy.records import Loader, read_record

FOLDER = Path(__file__).parent / "data" / "models"
HUB = "https://huggingface.co"
HUB_CONNECT_TIMEOUT_S = 2.0


def load_model(name: str) -> ModelShape:
    """The shape of the model called `name`.

    Raises:
        InputError: no such folder, model or config.json, or a hub that is out of reach.
    """
    if _is_path(name):
        return _from_folder(Path(name).expanduser())
    bundled = _names().get(name.lower())
    if bundled is not None:
        profile = read_record(bundled, ModelProfile)
        return shape_from_config(profile.config, id=profile.id)
    if name.count("/") != 1:
        raise InputError(f"unknown model {name!r}; {nearest(name, _aliases())}")
    return shape_from_config(_from_hub(name), id=name)


def model_profiles() -> tuple[ModelProfile, ...]:
    """Every bundled model."""
    return tuple(read_record(path, ModelProfile) for path in sorted(FOLDER.glob("*.yaml")))


def _is_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or Path(name).is_dir()


@cache
def _names() -> Mapping[str, Path]:
    """Each bundled id and alias, in lower case, and the file of its profile."""
    names: dict[str, Path] = {}
    for path in FOLDER.glob("*.yaml"):
        head = path.read_text(encoding="utf-8").partition("\nconfig:")[0]
        content = yaml.load(head, Loader)  # noqa: S506 - a SafeLoader in both cases
        for name in (content["id"], *content["aliases"]):
            names[name.lower()] = path
    return names


def _aliases() -> list[str]:
    return [name for name in _names() if "/" not in name]


def _from_folder(folder: Path) -> ModelShape:
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not valid JSON: {error}; is it truncated?") from error
    if not isinstance(config, dict):
        raise InputError(f"{file}: expected an object, got {config!r:.60}")
    path = folder.resolve()
    return shape_from_config(config, id=path.name, path=str(path))


def _from_hub(name: str) -> Mapping[str, object]:
    """The config.json of a hub model; HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured."""
    import httpx  # noqa: PLC0415 - 80 ms that only this path needs

    instead = "give a local folder with its config.json, or a bundled model"
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        raise InputError(f"{name} is not bundled and HF_HUB_OFFLINE=1: {instead}")
    endpoint = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    token = os.environ.get("HF_TOKEN")
    try:
        answer = httpx.get(
            f"{endpoint}/{name}/resolve/main/config.json",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(10.0, connect=HUB_CONNECT_TIMEOUT_S),
            follow_redirects=True,
        )
        answer.raise_for_status()
        config = answer.json()
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        raise InputError(f"{name}: {_refusal(status, endpoint)}; {instead}") from error
    except (httpx.HTTPError, ValueError) as error:
        raise InputError(
            f"{name} is not bundled and {endpoint} is out of reach "
            f"({type(error).__name__}): {instead}"
        ) from error
    if not isinstance(config, dict):
        raise InputError(f"{name}: its config.json is not an object; {instead}")
    return config


def _refusal(status: int, endpoint: str) -> str:
    if status in {401, 403}:
        return f"{endpoint} wants a token with access to it (set HF_TOKEN)"
    if status == 404:
        return f"{endpoint} has no such model with a config.json"
    return f"{endpoint} answered {status}"
