"""Whether the weights of a model are on this machine, where engines look for them."""

import os
from pathlib import Path

from tpdeploy.errors import InputError
from tpdeploy.files import kind_of
from tpdeploy.profiles.models.hub import hub_home
from tpdeploy.records import read_json

INDEX = "model.safetensors.index.json"
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")


def hub_cache() -> Path:
    """The folder in which the hub's own client keeps what it has downloaded.

    HF_HUB_CACHE moves it away from the rest.
    """
    stated = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(stated).expanduser() if stated else hub_home() / "hub"


def folder_in_cache(model: str) -> Path:
    """Where the hub's client keeps the files of the hub model `model`."""
    return hub_cache() / f"models--{model.replace('/', '--')}"


def cached_weights(model: str) -> Path | None:
    """The folder with the downloaded weights of the hub model `model`; None while any is missing.

    It is the revision called main, which engines load unless they are told otherwise.
    """
    cached = folder_in_cache(model)
    try:
        revision = (cached / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    folder = cached / "snapshots" / revision
    return folder if revision and not weights_problem(folder) else None


def weights_problem(folder: Path) -> str:
    """What of the weights is missing in `folder`; empty if nothing is."""
    if kind_of(folder) != "folder":
        return "there is no such folder"
    if kind_of(folder / INDEX):
        missing = [name for name in _listed(folder / INDEX) if not kind_of(folder / name)]
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"{missing[0]}{more} of {INDEX} missing" if missing else ""
    found = any(path for pattern in WEIGHTS for path in folder.glob(pattern))
    return "" if found else f"no weights in it ({', '.join(WEIGHTS)})"


def downloaded_bytes(model: str) -> int:
    """Bytes of the hub model `model` that have been downloaded, parts of files too."""
    blobs = folder_in_cache(model) / "blobs"
    return sum(path.stat().st_size for path in blobs.glob("*") if path.is_file())


def _listed(index: Path) -> list[str]:
    """The files that an index names, each once."""
    content = read_json(index)
    files = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(files, dict):
        raise InputError(f"{index} has no weight_map; download it again")
    return sorted({str(file) for file in files.values()})
