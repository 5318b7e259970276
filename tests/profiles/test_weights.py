"""Weights are found where engines look for them, and only if they are whole."""

import json
from pathlib import Path

import pytest

from tpdeploy.profiles.models.hub_cache import downloaded_bytes, hub_cache
from tpdeploy.profiles.models.weights import (
    INDEX,
    cached_weights,
    weights_problem,
)

MODEL = "someone/model"


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A download of MODEL that has a config alone."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    model = tmp_path / "hub" / "models--someone--model"
    folder = model / "snapshots" / "abc"
    for needed in (folder, model / "refs", model / "blobs"):
        needed.mkdir(parents=True)
    (model / "refs" / "main").write_text("abc")
    (model / "blobs" / "1").write_bytes(b"12345")
    (folder / "config.json").write_text("{}")
    return folder


def test_a_config_alone_is_no_download(snapshot: Path) -> None:
    """tpdeploy itself or another tool may have fetched it."""
    assert cached_weights(MODEL) is None
    assert downloaded_bytes(MODEL) == 5


def test_one_file_of_weights_is_enough(snapshot: Path) -> None:
    """Where there is no index."""
    (snapshot / "model.safetensors").write_bytes(b"x")
    assert cached_weights(MODEL) == snapshot


def test_a_download_that_was_interrupted_is_none(snapshot: Path) -> None:
    """Each file of the index has to be there."""
    names = {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-2.safetensors"}
    (snapshot / INDEX).write_text(json.dumps({"weight_map": names}))
    (snapshot / "model-1.safetensors").write_bytes(b"x")
    assert cached_weights(MODEL) is None
    assert weights_problem(snapshot) == f"model-2.safetensors of {INDEX} missing"
    (snapshot / "model-2.safetensors").write_bytes(b"x")
    assert cached_weights(MODEL) == snapshot


def test_a_model_that_was_never_asked_for_is_not_there(snapshot: Path) -> None:
    """No file of it is looked for."""
    assert cached_weights("someone/else") is None
    assert downloaded_bytes("someone/else") == 0


def test_a_folder_that_is_gone_is_told() -> None:
    """A plan may be older than its model's folder."""
    assert weights_problem(Path("/nowhere")) == "there is no such folder"


def test_the_cache_is_where_the_hubs_client_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its variables move it, the more specific one first."""
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("HUGGINGFACE_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", "/data/hf")
    assert hub_cache() == Path("/data/hf/hub")
    monkeypatch.setenv("HF_HUB_CACHE", "/data/models")
    assert hub_cache() == Path("/data/models")
