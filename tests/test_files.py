"""Files are written whole or not at all."""

import os
from pathlib import Path

import pytest

from tpdeploy.errors import TpdeployError
from tpdeploy.files import data_home, write_whole


def test_a_full_disk_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk fills up while writing, the old content stays and nothing else is left."""
    path = tmp_path / "plan.yaml"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TpdeployError, match=r"cannot write .*plan\.yaml: No space left on device"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    """A file in the way of the folder is reported, not raised as an OSError."""
    (tmp_path / "file").write_text("")
    with pytest.raises(TpdeployError, match="cannot write"):
        write_whole(tmp_path / "file" / "plan.yaml", "new")


def test_the_data_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TPDEPLOY_HOME wins over the user's data folder."""
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path))
    assert data_home() == tmp_path
