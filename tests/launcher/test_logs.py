"""Logs are read as they grow, and their end tells why."""

from pathlib import Path

from tpdeploy.backends.base import last_exception
from tpdeploy.launcher.logs import LogReader, last_words


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
