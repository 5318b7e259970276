"""Logs of several members are one story, whatever their size and forms of time."""

import os
import time
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cli.commands import answered, refused
from tpdeploy.launcher.logs import rotate
from tpdeploy.launcher.timeline import Growing, Log, clean, everything, last, no_check, time_of

NOW = datetime(2026, 11, 26, 4, 5, 6, tzinfo=UTC).timestamp()
CHECK = 'INFO:     127.0.0.1:51234 - "GET /health HTTP/1.1" 200 OK'


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")  # an hour before UTC in November
    time.tzset()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path))
    folder = tmp_path / "deployments" / "d" / "logs"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    "text",
    [
        "(EngineCore pid=12) INFO 11-26 05:05:06 [core.py:1] x",
        "(APIServer pid=1) WARNING 11-26 05:05:06 [core.py:1] x",
        f'{{"level":"warn","ts":{NOW}.0,"msg":"x"}}'.replace(".0.0", ".0"),
        "[11/26/2026-05:05:06] [TRT-LLM] [I] x",
        "[2026-11-26 05:05:06,000] [INFO] x",
        "2026-11-26T04:05:06Z x",
        "2026-11-26 06:05:06.000+02:00 x",
        "[rank0]:[W1126 05:05:06.000000000 ProcessGroupNCCL.cpp:1] x",
    ],
)
def test_engines_write_their_times_in_forms_of_their_own(text: str) -> None:
    """Each is the same moment; a year that is not told is the last one that is possible."""
    assert time_of(text, NOW) == NOW
    assert time_of(text, NOW + 300 * 86400) == NOW


@pytest.mark.parametrize(
    "text",
    [
        CHECK,
        "",
        "INFO 13-45 99:99:99 x",
        "[99/99/0000-00:00:00] x",
        "x" * 61 + " 2026-11-26T04:05:06Z",
    ],
)
def test_what_is_no_time_is_none(text: str) -> None:
    """Nor is one that stands in the middle: it is of what the line tells."""
    assert time_of(text, NOW) is None


def test_nothing_in_a_log_reaches_the_terminal_but_text() -> None:
    """Colours go, and so does what would move the cursor, ring, rename the window or deceive."""
    assert clean("\x1b[1;36m(EngineCore)\x1b[0;0m \x1b]0;owned\x07red\x1b[2J\x1b[H") == (
        "(EngineCore) red"
    )
    assert clean("a\tb\x07\x00\x9b31m\u202e") == "a   b\\x07\\x00\\x9b31m\\u202e"
    assert clean("10%\r 50%\r100%\r\n") == "100%"
    assert len(clean("y" * 10**6)) == 2000


def write(folder: Path, member: str, *lines: str) -> Log:
    path = folder / f"{member}.log"
    path.write_text("".join(f"{line}\n" for line in lines))
    return Log(member, path)


def told(*logs: Log, lines: int | None = None, since: float | None = None) -> list[str]:
    return [f"{line.member} {line.text[-1]}" for line in last(logs, lines, since, no_check)]


def test_lines_of_all_are_in_the_order_of_time(tmp_path: Path) -> None:
    """One without a time follows the one before it; those at the beginning precede the first."""
    a = write(tmp_path, "a", "0", "INFO 11-26 05:00:01 1", "2", "INFO 11-26 05:00:05 3", CHECK)
    b = write(tmp_path, "b", "2026-11-26T04:00:03Z 1", "2026-11-26T04:00:07Z 2")
    assert told(a, b, lines=50) == ["a 0", "a 1", "a 2", "b 1", "a 3", "b 2"]
    assert told(a, b, lines=2) == ["a 3", "b 2"]
    since = datetime(2026, 11, 26, 4, 0, 3, tzinfo=UTC).timestamp()
    assert told(a, b, since=since) == ["b 1", "a 3", "b 2"]
    assert told(a, b, since=since + 2, lines=1) == ["b 2"]
    assert told(a, b, since=since + 9) == []


def test_checks_are_left_out_unless_they_failed(tmp_path: Path) -> None:
    """They are most of a quiet log; -n counts the others."""
    log = write(tmp_path, "a", "1", *[CHECK] * 5000, CHECK.replace("200 OK", "503 x"), "2")
    assert told(log, lines=3) == ["a 1", "a x", "a 2"]
    assert len(list(last([log], 3000, None, everything))) == 3000


def test_what_was_rotated_away_belongs_to_it(tmp_path: Path) -> None:
    """The end of the last file may be the beginning of what is asked for."""
    write(tmp_path, "a", "INFO 11-26 05:00:01 1", "2")
    rotate(tmp_path / "a.log", most_bytes=20)
    write(tmp_path, "a", "INFO 11-26 05:00:03 3")
    rotate(tmp_path / "a.log", most_bytes=15)
    log = write(tmp_path, "a", "4")
    assert told(log, lines=9) == ["a 1", "a 2", "a 3", "a 4"]
    since = datetime(2026, 11, 26, 4, 0, 2, tzinfo=UTC).timestamp()
    assert told(log, since=since) == ["a 3", "a 4"]


@pytest.mark.slow
def test_a_log_of_a_gigabyte_takes_little_memory_and_time(tmp_path: Path) -> None:
    """Its end is found from the end, and a time by halving."""
    path = tmp_path / "a.log"
    with path.open("wb") as file:
        for n in range(24 * 60):
            stamp = b"INFO 11-25 %02d:%02d:00 z\n" % divmod(n, 60)
            file.write(stamp)
            file.seek(700_000, os.SEEK_CUR)
            file.write(b"\n")
    log = Log("a", path)
    assert log.size > 10**9
    tracemalloc.start()
    began = time.monotonic()
    assert len(list(last([log], 2, None, everything))) == 2
    since = datetime(2026, 11, 25, 22, 55, tzinfo=UTC).timestamp()
    found = [line for line in last([log], None, since, everything) if line.text.startswith("INFO")]
    assert [line.text for line in found] == [f"INFO 11-25 23:{m}:00 z" for m in range(55, 60)]
    assert time.monotonic() - began < 20
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()


def test_growing_logs_are_told_over_rotation_and_with_new_members(tmp_path: Path) -> None:
    """Nothing twice, nothing left out, and what was there before is not new."""
    write(tmp_path, "a", "old")
    growing = Growing(lambda: {p.stem: p for p in sorted(tmp_path.glob("*.log"))}, no_check)
    growing.begin()
    with (tmp_path / "a.log").open("a") as file:
        file.write("INFO 11-26 05:00:09 1\n")
        file.flush()
        rotate(tmp_path / "a.log", most_bytes=15)
        file.write(f"INFO 11-26 05:00:09 2\n{CHECK}\nhalf")
    write(tmp_path, "b", "INFO 11-26 05:00:01 1")
    assert [f"{line.member} {line.text[-1]}" for line in growing.new()] == ["b 1", "a 1", "a 2"]
    assert growing.new() == []


def test_the_command_shows_who_wrote_what(home: Path) -> None:
    """All members with their names, one of them without; JSON of the front as it is."""
    write(home, "front", '{"ts":1764130002.5,"msg":"f"}')
    write(home, "replica-0", "2025-11-26T04:06:41Z \x1b[31mone\x1b[0m", "two")
    assert answered("logs", "--name", "d") == (
        "replica-0 | 2025-11-26T04:06:41Z one\n"
        "replica-0 | two\n"
        'front     | {"ts":1764130002.5,"msg":"f"}\n'
    )
    assert answered("logs", "replica-0", "--name", "d", "-n", "1") == "two\n"
    assert answered("logs", "--name", "d", "--since", "10m") == ""
    assert answered("logs", "--name", "d", "--since", "2025-11-26T04:06:42+00:00").count("\n") == 1


def test_what_cannot_be_is_refused_in_one_line(home: Path) -> None:
    """A time that is none, a member without a log, a launch that never was."""
    write(home, "front", "x")
    for wrong in ("10x", "yesterday", "", "-5m", "9" * 400 + "m"):
        assert "give how long ago" in refused("logs", "--name", "d", f"--since={wrong}")
    assert "no log of replica-0; known: front" in refused("logs", "replica-0", "--name", "d")
    assert "has been launched before its last launch" in refused("logs", "--name=d", "--previous")
    assert "no deployment called e" in refused("logs", "--name", "e")


def test_logs_of_the_launch_before_are_shown_if_asked_for(home: Path) -> None:
    """They tell why it crashed."""
    (home / "previous").mkdir()
    write(home / "previous", "replica-0", "RuntimeError: x")
    write(home, "replica-0", "new")
    assert answered("logs", "--name", "d", "--previous") == "replica-0 | RuntimeError: x\n"
    assert answered("logs", "--name", "d") == "replica-0 | new\n"
