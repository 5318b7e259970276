"""Weights that seem to have been downloaded from the hub."""

from pathlib import Path


def seem_downloaded(hf_home: Path, model: str) -> Path:
    """The folder that an engine would load: a revision of `model` with one file of weights."""
    cached = hf_home / "hub" / f"models--{model.replace('/', '--')}"
    folder = cached / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    (folder / "model.safetensors").write_bytes(b"x")
    return folder
