"""Logs are read as they grow, and their end tells why."""

import stat
import tracemalloc
from pathlib import Path

import pytest

from tpdeploy.backends.base import last_exception
from tpdeploy.launcher.logs import (
    LogReader,
    keep_previous,
    last_lines,
    last_words,
    rotate,
    rotated,
)

GIB = 2**30


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    """A log of 1 GiB, most of it a hole on the disk, whose last line is an error."""
    path = tmp_path / "huge.log"
    with path.open("wb") as file:
        file.truncate(GIB)
        file.seek(GIB)
        file.write(b"\none\nValueError: too much\n")
    return path


def test_only_new_and_whole_lines_are_read(tmp_path: Path) -> None:
    """A line that is still being written waits for its end."""
    path = tmp_path / "log"
    reader = LogReader(path)
    assert reader.lines() == []
    path.write_text("one\ntw")
    assert reader.lines() == ["one"]
    path.write_text("one\ntwo\nthree\n")
    assert reader.lines() == ["two", "three"]
    assert reader.lines() == []


def test_the_last_words_are_the_error_not_what_follows_it(tmp_path: Path) -> None:
    """Engines write on after their error; without one, the last line has to do."""
    path = tmp_path / "log"
    path.write_text("Traceback\n  File x\nmod.BadError: no memory\nshutting down\n\n")
    assert last_words(path, last_exception) == "mod.BadError: no memory"
    path.write_text("one\ntwo\n\n")
    assert last_words(path, last_exception) == "two"


def test_an_empty_or_missing_log_says_so(tmp_path: Path) -> None:
    """Rather than nothing."""
    assert last_words(tmp_path / "log", last_exception) == "no log"
    (tmp_path / "log").touch()
    assert last_words(tmp_path / "log", last_exception) == "nothing was written"


def test_long_words_are_cut(tmp_path: Path) -> None:
    """An error is one line that can be read."""
    (tmp_path / "log").write_text("ValueError: " + "x" * 5000)
    assert len(last_words(tmp_path / "log", last_exception)) < 350


def test_the_end_of_a_huge_log_takes_no_memory(huge: Path) -> None:
    """A supervisor that reads a gigabyte is the first that the system would end."""
    tracemalloc.start()
    assert last_words(huge, last_exception) == "ValueError: too much"
    assert LogReader(huge).lines()[-2:] == ["one", "ValueError: too much"]
    assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    tracemalloc.stop()


def test_last_lines_are_whole(tmp_path: Path) -> None:
    """The one that the limit cuts is left out, unless there is no other."""
    path = tmp_path / "log"
    path.write_text("one\ntwo\nthree\n")
    assert last_lines(path, 10) == ["three"]
    assert last_lines(path, 100) == ["one", "two", "three"]
    path.write_text("x" * 100)
    assert last_lines(path, 10) == ["x" * 10]
    assert last_lines(tmp_path / "none") == []


def test_a_log_goes_on_after_it_was_rotated(tmp_path: Path) -> None:
    """Its writer has it open; nothing of what is read as it grows is lost or told twice."""
    path = tmp_path / "a.log"
    reader = LogReader(path)
    with path.open("ab", buffering=0) as writer:
        writer.write(b"one\n")
        assert not rotate(path, most_bytes=10)
        writer.write(b"two\nand ")
        assert reader.lines() == ["one", "two"]
        writer.write(b"more\n")
        assert rotate(path, most_bytes=16)
        writer.write(b"three\n")
    assert path.read_text() == "three\n"
    assert reader.lines() == ["and more", "three"]
    (older,) = rotated(path)
    assert older.read_text() == "one\ntwo\nand more\n"
    assert stat.S_IMODE(older.stat().st_mode) == 0o600


def test_as_many_as_are_wanted_are_kept(tmp_path: Path) -> None:
    """The newest is number 1."""
    path = tmp_path / "a.log"
    for text in ("one", "two", "six", "ten", "odd"):
        path.write_text(f"too much\n{text}\n")
        assert rotate(path, most_bytes=5, keep=3)
    assert [each.name for each in rotated(path)] == ["a.log.1", "a.log.2", "a.log.3"]
    assert [each.read_text() for each in rotated(path)] == ["odd\n", "ten\n", "six\n"]
    assert not (tmp_path / "a.log.4").exists()


def test_a_huge_log_leaves_no_more_than_its_end(huge: Path) -> None:
    """It may have grown quickly; the disk may be nearly full."""
    assert rotate(huge, most_bytes=2**20)
    assert huge.stat().st_size == 0
    (older,) = rotated(huge)
    assert older.stat().st_size <= 2**20
    assert older.read_bytes().endswith(b"too much\n")


def test_rotation_raises_nothing_and_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: the copy is given up, and the log is what makes room."""

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    path = tmp_path / "a.log"
    path.write_text("x" * 100)
    assert rotate(path, most_bytes=10)
    assert [(each.name, each.stat().st_size) for each in tmp_path.iterdir()] == [("a.log", 0)]
    assert not rotate(tmp_path / "none", most_bytes=10)


def test_the_logs_of_one_run_before_are_kept(tmp_path: Path) -> None:
    """Why it crashed is often asked after the next launch; the run before that is gone."""
    keep_previous(tmp_path)
    for run in ("first", "second"):
        (tmp_path / "front.log").write_text(run)
        (tmp_path / f"{run}.log.1").write_text(run)
        keep_previous(tmp_path)
        keep_previous(tmp_path)  # a launch that wrote nothing does not count
    assert [path.name for path in tmp_path.iterdir()] == ["previous"]
    kept = {path.name: path.read_text() for path in (tmp_path / "previous").iterdir()}
    assert kept == {"front.log": "second", "second.log.1": "second"}
