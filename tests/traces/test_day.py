"""A day of traffic from a file: a table by the hour, or the arrivals of a trace."""

from pathlib import Path

import pytest

from tpdeploy.api.daily import stated_day
from tpdeploy.errors import InputError
from tpdeploy.harness.traces.day import read_day


def day(folder: Path, text: str) -> Path:
    """A file with `text`."""
    path = folder / "day.csv"
    path.write_text(text, encoding="utf-8")
    return path


def trace(folder: Path, seconds: float, per_s: float = 0.1) -> Path:
    """Requests that come evenly, twice as many in the second half."""
    half = seconds / 2
    first = [n / per_s for n in range(int(half * per_s))]
    second = [half + n / per_s / 2 for n in range(int(half * per_s * 2) + 1)]
    rows = "\n".join(f"{at},100,10" for at in first + second)
    return day(folder, f"arrival_s,input_tokens,output_tokens\n{rows}\n")


def test_hours_are_numbers_or_times_of_day(tmp_path: Path) -> None:
    """In hours, with halves, or as on a clock; other columns do not matter."""
    path = day(tmp_path, "note, hour, requests_per_second\nx,0,1\ny,7.5,2.5\nz,23:45,0\n")
    found = [(s.from_s, s.requests_per_s) for s in read_day(path)]
    assert found == [(0, 1), (27_000, 2.5), (85_500, 0)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "need the columns hour and requests_per_second, or a trace; there are none"),
        ("0,1\n1,2\n", "need the columns hour and requests_per_second, or a trace; there are 0, 1"),
        ("hour,requests_per_second\n", "need 1 to 96 rows, not 0"),
        ("hour,requests_per_second\n0,-1\n", "line 2: requests_per_second -1: need 0 to"),
        ("hour,requests_per_second\n0,nan\n", "line 2: requests_per_second nan: need 0 to"),
        ("hour,requests_per_second\n0,1\n1\n", "line 3: requests_per_second : need 0 to"),
        ("hour,requests_per_second\n25:00,1\n", "line 2: hour 25:00: need 0 to 23"),
        ("hour,requests_per_second\n7:60,1\n", "line 2: hour 7:60: need 0 to 23"),
        ("hour,requests_per_second\nnoon,1\n", "line 2: hour noon: need 0 to 23"),
        ("hour,requests_per_second\n1,1\n0,1\n", "line 3: hour 0 is not after the one before"),
        ("hour,requests_per_second\n0,0\n1,0\n", "no request all day"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    """What is wrong, and what would work."""
    path = day(tmp_path, text)
    with pytest.raises(InputError) as refusal:
        stated_day({"daily": path}, 10_000)
    assert str(refusal.value).startswith(f"--daily {path}")
    assert said in str(refusal.value)


def test_a_trace_is_counted_by_the_hour_or_by_parts_of_one(tmp_path: Path) -> None:
    """As many requests as it has; the second half has twice the first; lengths are its own."""
    found = stated_day({"daily": trace(tmp_path, 7200)}, 10_000)
    assert found
    assert found.load.span_s == pytest.approx(7200)
    assert len(found.load.stretches) == 12
    assert found.load.rates == pytest.approx([0.1] * 6 + [0.2] * 6, rel=0.05)
    assert found.load.mean_per_s * found.load.span_s == pytest.approx(360 + 721)
    assert found.lengths
    assert found.lengths.means == (100, 10)


def test_a_part_of_a_trace_may_be_taken(tmp_path: Path) -> None:
    """With the options of traces."""
    asked = {"daily": trace(tmp_path, 14_400), "trace_window": "0..2h", "trace_speed": 0.5}
    found = stated_day(asked, 10_000)
    assert found
    assert found.load.span_s == pytest.approx(14_400, rel=0.01)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(1800, "50 min or more tell"), (90_000, "as --trace-window 24h..48h")],
)
def test_a_trace_that_is_no_day_is_refused(tmp_path: Path, seconds: float, said: str) -> None:
    """Too short to tell what rises, or longer than a day."""
    with pytest.raises(InputError, match=said):
        stated_day({"daily": trace(tmp_path, seconds, 0.02)}, 10_000)


@pytest.mark.parametrize("name", ["input_tokens", "lengths", "workload"])
def test_a_trace_says_how_long_requests_are(tmp_path: Path, name: str) -> None:
    """Stated lengths would contradict it."""
    with pytest.raises(InputError, match="the trace says how long requests are"):
        stated_day({"daily": trace(tmp_path, 7200), name: "5"}, 10_000)


def test_a_bad_line_of_a_trace_names_the_option_that_gave_it(tmp_path: Path) -> None:
    """As it was typed."""
    path = day(tmp_path, "arrival_s,input_tokens,output_tokens\nnow,1,1\n")
    with pytest.raises(InputError, match=f"^--daily {path}, line 2: arrival_s now"):
        stated_day({"daily": path}, 10_000)
