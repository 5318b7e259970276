"""What the hub's own client has downloaded, and where it keeps it."""

import os
from pathlib import Path


def hub_home() -> Path:
    """The folder of the hub's own client, with its cache and the token of a login.

    HF_HOME and XDG_CACHE_HOME move it, as huggingface_hub's constants.py says.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("HF_HOME") or f"{caches}/huggingface").expanduser()


def hub_cache() -> Path:
    """The folder in which the hub's own client keeps what it has downloaded.

    HF_HUB_CACHE moves it away from the rest.
    """
    stated = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(stated).expanduser() if stated else hub_home() / "hub"


def folder_in_cache(model: str) -> Path:
    """Where the hub's client keeps the files of the hub model `model`."""
    return hub_cache() / f"models--{model.replace('/', '--')}"


def snapshot(model: str) -> Path | None:
    """The folder with the files of the hub model `model` that have been downloaded, if any.

    It is the revision called main, which engines load unless they are told otherwise.
    """
    cached = folder_in_cache(model)
    try:
        revision = (cached / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return cached / "snapshots" / revision if revision else None


def downloaded_bytes(model: str) -> int:
    """Bytes of the hub model `model` that have been downloaded, parts of files too."""
    blobs = folder_in_cache(model) / "blobs"
    return sum(path.stat().st_size for path in blobs.glob("*") if path.is_file())
