"""Whether the weights of a model are on this machine, where engines look for them."""

from pathlib import Path

from tpdeploy.errors import InputError
from tpdeploy.files import kind_of
from tpdeploy.profiles.models.hub_cache import snapshot
from tpdeploy.records import read_json

INDEX = "model.safetensors.index.json"
WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")


def cached_weights(model: str) -> Path | None:
    """The folder with the downloaded weights of the hub model `model`; None if any is missing."""
    folder = snapshot(model)
    return folder if folder and not weights_problem(folder) else None


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


def _listed(index: Path) -> list[str]:
    """The files that an index names, each once."""
    content = read_json(index)
    files = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(files, dict):
        raise InputError(f"{index} has no weight_map; download it again")
    return sorted({str(file) for file in files.values()})
