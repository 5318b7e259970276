"""Recorded requests from a file: every format, parts of it, and lines that are none."""

from pathlib import Path

import pytest

from tests.traces.recordings import BLOCK, FORMATS, mooncake, recorded, written
from tpdeploy.errors import InputError
from tpdeploy.harness.traces.reading import Part, part_of, read_trace, without_longer

REQUESTS = recorded()
NAMED = {
    "Mooncake": "Mooncake (times in ms, blocks of 512 tokens)",
    "Bailian": "Mooncake's keys (times in s, blocks of 16 tokens)",
    "GuideLLM": "Mooncake's keys (times in s)",
    "Azure": "Azure (times in s)",
    "BurstGPT": "BurstGPT (times in s)",
    "vLLM": "vLLM's result (times in s)",
    "aiperf": "aiperf's records (times in ns)",
    "own": "arrival and tokens (times in s)",
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_requests(form: str, tmp_path: Path) -> None:
    """Arrivals to the millisecond, lengths exactly; which format was read is said."""
    trace = read_trace(written(tmp_path, REQUESTS, form))
    assert trace.recording.form == NAMED[form]
    assert [(r.prompt, r.answer) for r in trace.requests] == [
        (r.prompt, r.answer) for r in REQUESTS
    ]
    assert [r.at for r in trace.requests] == pytest.approx([r.at for r in REQUESTS], abs=2e-4)


def test_blocks_are_equal_where_they_were(tmp_path: Path) -> None:
    """Numbers may be others; what is equal and what is not stays so."""
    trace = read_trace(written(tmp_path, REQUESTS))
    meant = {
        a: b
        for r, s in zip(REQUESTS, trace.requests, strict=True)
        for a, b in zip(r.blocks, s.blocks, strict=True)
    }
    assert len(set(meant.values())) == len(meant)
    assert [tuple(meant[b] for b in r.blocks) for r in REQUESTS] == [
        r.blocks for r in trace.requests
    ]


def test_what_a_trace_shares_is_what_came_before(tmp_path: Path) -> None:
    """Counted by hand: whole blocks whose whole beginning stood in an earlier prompt."""
    seen, shared = set[tuple[int, ...]](), 0
    for r in REQUESTS:
        beginnings = [r.blocks[: n + 1] for n in range(len(r.blocks))]
        hits = sum(b in seen for b in beginnings)
        shared += min(hits * BLOCK, r.prompt - 1)
        seen.update(beginnings)
    recording = read_trace(written(tmp_path, REQUESTS)).recording
    assert recording.shared == pytest.approx(shared / sum(r.prompt for r in REQUESTS))
    assert recording.shared > 0.1


def test_a_window_is_cut_and_time_runs_faster(tmp_path: Path) -> None:
    """From its first request on; what lies in the window begins at 0, at twice the speed."""
    path = written(tmp_path, REQUESTS)
    part = part_of("5s..15s", 2)
    meant = [r for r in REQUESTS if 5 <= r.at < 15]
    trace = read_trace(path, part)
    assert [r.at for r in trace.requests] == pytest.approx([(r.at - 5) / 2 for r in meant])
    assert trace.recording.seconds == pytest.approx((meant[-1].at - 5) / 2)
    assert trace.recording.requests == len(meant)
    assert "from 5 s to 15 s of it, 2 times as fast" in trace.recording.words


@pytest.mark.parametrize(
    ("window", "part"),
    [
        ("10m..20m", Part(600, 1200)),
        ("..1h30m", Part(0, 5400)),
        ("90s..", Part(90, None)),
        ("0..2.5", Part(0, 2.5)),
    ],
)
def test_windows_are_written_in_units(window: str, part: Part) -> None:
    """Seconds, minutes, hours, days; either end may be left open."""
    assert part_of(window, None) == part


@pytest.mark.parametrize("window", ["10m", "20m..10m", "5x..9x", "a..b", "10m..10m"])
def test_other_windows_are_refused(window: str) -> None:
    with pytest.raises(InputError, match=r"--trace-window .*as 10m\.\.20m"):
        part_of(window, None)


@pytest.mark.parametrize("speed", [0, -1, float("nan"), 1e9])
def test_speeds_are_above_0(speed: float) -> None:
    with pytest.raises(InputError, match=r"--trace-speed .*must be above 0"):
        part_of(None, speed)


def test_a_window_without_requests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no request in the window; its 40 requests came within"):
        read_trace(written(tmp_path, REQUESTS), Part(1e5, None))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{broken", "is not valid JSON"),
        ("[1]", "is not a JSON object"),
        ('{"timestamp": 5, "input_length": -1, "output_length": 2}', "input_length -1: need 0 to"),
        ('{"timestamp": 5, "input_length": 1}', "output_length None: need 0 to"),
        ('{"timestamp": "x", "input_length": 1, "output_length": 2}', "timestamp x: need a number"),
        (
            '{"timestamp": 1, "input_length": 1, "output_length": 2, "hash_ids": 5}',
            "hash_ids 5: need a list",
        ),
    ],
)
def test_bad_lines_are_named_and_stop_or_are_skipped(line: str, said: str, tmp_path: Path) -> None:
    """By their number in the file; what is skipped is counted, and the others are all there."""
    lines = mooncake(REQUESTS).splitlines()
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join([*lines[:3], line, *lines[3:]]) + "\n")
    with pytest.raises(InputError, match="line 4: ") as refused:
        read_trace(path)
    assert said in str(refused.value)
    trace = read_trace(path, bad="skip")
    assert (trace.recording.bad_lines, trace.recording.first_bad) == (1, (4,))
    assert len(trace.requests) == len(REQUESTS)
    assert "1 bad lines skipped: 4." in trace.recording.words


def test_a_bad_row_of_a_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "azure.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,3,4\nnever,5,6\n")
    with pytest.raises(InputError, match="line 3: TIMESTAMP never: need a number, or a date"):
        read_trace(path)
    assert read_trace(path, bad="skip").recording.first_bad == (3,)


def test_a_bad_first_line_is_skipped_too(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text("{\n" + mooncake(REQUESTS))
    trace = read_trace(path, bad="skip")
    assert (len(trace.requests), trace.recording.first_bad) == (len(REQUESTS), (1,))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no request"),
        ("a,b\n1,2\n", "line 2: need arrival_s"),
        ('{"start_times": [1.0], "input_lens": [], "output_lens": [3]}', "need one of each"),
    ],
)
def test_other_files_are_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_trace(path)


def test_another_format_is_not_skipped_line_by_line(tmp_path: Path) -> None:
    """More bad lines than good ones: the file is something else."""
    path = tmp_path / "trace.jsonl"
    path.write_text(mooncake(REQUESTS[:2]) + "{\n" * 3)
    with pytest.raises(
        InputError, match="line 3: is not valid JSON; 3 of its lines are no requests"
    ):
        read_trace(path, bad="skip")


def test_requests_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    path = written(tmp_path, [*REQUESTS[20:], *REQUESTS[:20]])
    assert [r.at for r in read_trace(path).requests] == pytest.approx([r.at for r in REQUESTS])


def test_longer_requests_are_left_out_and_counted(tmp_path: Path) -> None:
    """Up to one in ten; a trace of which most is too long is another one."""
    trace = read_trace(written(tmp_path, REQUESTS))
    longest = sorted(r.prompt + r.answer for r in trace.requests)
    kept = without_longer(trace, longest[-2])
    assert (len(kept.requests), kept.recording.left_out) == (39, 1)
    assert kept.recording.requests == 39
    with pytest.raises(InputError, match="longer than the 100 tokens there is room for"):
        without_longer(trace, 100)
