"""Files are written whole or not at all."""

import os
from pathlib import Path

import pytest

from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.files import data_home, read_text, write_whole


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


def test_utf_8_is_read_with_or_without_its_mark(tmp_path: Path) -> None:
    """Windows writes one; it is no part of the text."""
    path = tmp_path / "text"
    path.write_bytes("é".encode("utf-8-sig"))
    assert read_text(path) == "é"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_other_encodings_are_named(tmp_path: Path, encoding: str) -> None:
    """The message says what the file should be."""
    path = tmp_path / "text"
    path.write_bytes("é".encode(encoding))
    with pytest.raises(InputError, match="UTF-8"):
        read_text(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """What is no file is refused at once."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        read_text(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        write_whole(tmp_path / "pipe", "text")


def test_a_file_beyond_all_sizes_is_not_read(tmp_path: Path) -> None:
    """The limit is named."""
    path = tmp_path / "text"
    path.write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(InputError, match="larger than 1 MiB"):
        read_text(path, 2**20)


def test_names_that_no_file_has(tmp_path: Path) -> None:
    """Too long, or with a NUL."""
    for name in ("a" * 300, "a\x00"):
        with pytest.raises(InputError, match=r"too long|null"):
            read_text(tmp_path / name)
