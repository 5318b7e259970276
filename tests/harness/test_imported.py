"""Runs of other load generators against a plan: their figures, their load, and what is refused.

The files in data/ are written by hand, to the keys that each tool writes (vLLM 0.32's
vllm/benchmarks/serve.py; aiperf's export schema 1.3; genai-perf's JSON exporter): no server was
measured for them. vllm_detailed.json has the statistics and lists of --save-detailed with the
default percentiles, of five requests of which the last failed; vllm_summary.json has those of
--percentile-metrics ttft,tpot,itl,e2el --metric-percentiles 50,90,95,99 and no lists. Both
have exactly the keys that vllm bench serve 0.32 wrote of a stand-in server with these options.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.cli.commands import tpdeploy
from tests.cli.test_sweep import planned
from tests.harness.plans import MODEL, small_plan
from tpdeploy.errors import InputError
from tpdeploy.harness.imported.report import imported_report
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.workload import Target, Workload
from tpdeploy.records import dump_record

DATA = Path(__file__).parent / "data"
LOAD = Workload(input_tokens=16, output_tokens=4, concurrency=2, ttft=Target(ms=85))


def refusal(path: Path) -> str:
    """Why a file is not taken."""
    with pytest.raises(InputError) as caught:
        imported_report(path, small_plan(LOAD))
    return str(caught.value)


def report(name: str, load: Workload = LOAD) -> ValidationReport:
    return imported_report(DATA / name, small_plan(load))


def changed(folder: Path, name: str, change: Mapping[str, object]) -> Path:
    """The file `name` with some top-level keys changed; "-" leaves a key out."""
    content = json.loads((DATA / name).read_text()) | change
    path = folder / name
    path.write_text(json.dumps({k: v for k, v in content.items() if v != "-"}))
    return path


def test_every_request_of_a_detailed_file_is_kept() -> None:
    """--save-detailed: all statistics follow from the lists, and agree with the tool's own."""
    found = report("vllm_detailed.json")
    own = json.loads((DATA / "vllm_detailed.json").read_text())
    measured = found.measured
    for name, spread in (
        ("ttft", measured.ttft_ms),
        ("tpot", measured.tpot_ms),
        ("itl", measured.itl_ms),
    ):
        assert spread is not None
        assert spread.mean == pytest.approx(own[f"mean_{name}_ms"])
        assert spread.p50 == pytest.approx(own[f"median_{name}_ms"])
        assert spread.p99 == pytest.approx(own[f"p99_{name}_ms"])
        assert set(spread.confidence) == {"mean", "p50", "p90", "p95", "p99"}
    assert measured.e2e_ms.p50 == pytest.approx(1000 * (0.090 + 0.122) / 2)
    assert measured.requests_per_s == own["request_throughput"]
    assert measured.output_tokens_per_s == own["output_throughput"]
    assert measured.total_tokens_per_s == own["total_token_throughput"]
    assert measured.goodput_per_s == 3 / 2.0  # of the plan's target, which the tool did not know
    assert [request.sent_s for request in found.requests] == pytest.approx([0, 0, 0.1, 0.2, 0.3])


def test_a_detailed_file_of_failures_alone(tmp_path: Path) -> None:
    """There is nothing to measure, whatever the counts above the lists say."""
    path = changed(tmp_path, "vllm_detailed.json", {"errors": ["refused"] * 5})
    with pytest.raises(InputError, match="not one of 5 requests succeeded"):
        imported_report(path, small_plan(LOAD))


def test_an_older_detailed_file(tmp_path: Path) -> None:
    """Without start times the statistics are the same, and no request is said to be sent at one."""
    path = changed(tmp_path, "vllm_detailed.json", {"start_times": "-", "failed": "-"})
    found, newer = imported_report(path, small_plan(LOAD)), report("vllm_detailed.json")
    assert found.requests == ()
    assert found.measured.ttft_ms.p99 == pytest.approx(newer.measured.ttft_ms.p99)
    assert found.measured.failures == {"reported": 1}


def test_a_failed_request_fails_the_run_and_gives_its_reason() -> None:
    """The last line of a traceback is the reason; that four cannot tell the target matters less."""
    found = report("vllm_detailed.json")
    assert found.measured.failures == {"reported": 1}
    assert found.requests[-1].message == "TimeoutError: no answer in time"
    assert (found.rows[0].verdict, found.rows[0].needed) == ("unknown", 6)
    assert found.verdict == "fail"


def test_a_summary_is_taken_as_the_tool_computed_it() -> None:
    """No list, no invention: no confidence, no goodput, no requests, no warm-up, no seed."""
    found = report("vllm_summary.json")
    own = json.loads((DATA / "vllm_summary.json").read_text())
    measured = found.measured
    assert measured.ttft_ms.model_dump(exclude={"confidence"}) == {
        "mean": own["mean_ttft_ms"],
        **{"p50": own["median_ttft_ms"], "p90": own["p90_ttft_ms"]},
        **{"p95": own["p95_ttft_ms"], "p99": own["p99_ttft_ms"]},
    }
    assert measured.e2e_ms.p95 == own["p95_e2el_ms"]
    assert measured.ttft_ms.confidence == {}
    assert (measured.goodput_per_s, measured.client_lag_ms) == (None, None)
    assert (found.requests, found.warm_up, found.seed) == ((), None, None)
    assert found.verdict == "pass"
    assert found.rows[0].predicted == small_plan(LOAD).prediction.ttft_ms


def test_an_imported_run_says_whose_it_is() -> None:
    """Its figures are of another tool, by that tool's definitions, and not of this machine."""
    found = report("vllm_summary.json")
    assert found.measured_by == "vllm bench serve"
    assert found.endpoint == str(DATA / "vllm_summary.json")
    assert "vllm bench serve" in found.definitions["measured by"]
    assert "goodput" not in found.definitions
    again = ValidationReport.model_validate_json(found.model_dump_json())
    assert again == found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"p90_ttft_ms": "-", "p95_ttft_ms": "-"}, "has no p90_ttft_ms, p95_ttft_ms: run vllm"),
        ({"p90_ttft_ms": "-"}, "--metric-percentiles 50,90,95,99, or with --save-detailed"),
        ({"mean_e2el_ms": "-", "latencies": "-"}, "has no mean_e2el_ms"),
        ({"completed": 0}, "not one of 8 requests succeeded"),
        ({"max_concurrency": None}, "every request was sent at once"),
        ({"request_rate": 3.0}, "3 requests/s with at most 2 in flight"),
        ({"ramp_up_strategy": "linear"}, "--ramp-up-strategy"),
        ({"model_id": "other"}, f"measured other, the plan is for {MODEL}"),
        ({"total_output_tokens": 18000}, "exceed the plan's max_model_len 2048"),
        ({"duration": "long"}, "duration: Input should be a valid number"),
        ({"date": "today"}, "date 'today'"),
        (
            {"request_rate": float("nan")},
            "request_rate: Input should be greater",
        ),
        ({"p99_ttft_ms": -1}, "p99: Input should be greater than or equal to 0"),
        ({"total_input_tokens": "-"}, "not a result of `vllm bench serve --save-result`"),
    ],
)
def test_a_vllm_file_that_cannot_be_used(
    change: dict[str, object], words: str, tmp_path: Path
) -> None:
    """One line with the file, what is wrong, and the option that would mend it."""
    path = changed(tmp_path, "vllm_summary.json", change)
    told = refusal(path)
    assert words in told
    assert str(path) in told
    assert "\n" not in told


def test_end_to_end_comes_from_the_latencies_when_nothing_failed(tmp_path: Path) -> None:
    """vLLM writes one latency a request even without details; a failed one's would be 0."""
    missing = {f"{at}_e2el_ms": "-" for at in ("mean", "median", "p90", "p95", "p99")}
    path = changed(tmp_path, "vllm_summary.json", missing)
    found = imported_report(path, small_plan(LOAD)).measured.e2e_ms
    own = json.loads((DATA / "vllm_summary.json").read_text())
    assert found.mean == pytest.approx(own["mean_e2el_ms"])
    path = changed(tmp_path, "vllm_summary.json", missing | {"failed": 1})
    with pytest.raises(InputError, match="mean_e2el_ms"):
        imported_report(path, small_plan(LOAD))


def test_a_rate_is_an_open_loop(tmp_path: Path) -> None:
    """Without a limit in flight --request-rate is the load: not the one the plan predicts."""
    change = {"request_rate": 3.0, "max_concurrency": None}
    found = imported_report(changed(tmp_path, "vllm_summary.json", change), small_plan(LOAD))
    assert (found.workload.rate, found.workload.concurrency) == (3.0, None)
    assert found.workload.ttft == LOAD.ttft
    assert {row.predicted for row in found.rows} == {None}


def test_aiperf_says_tpot_under_another_name() -> None:
    """Its inter_token_latency is one figure a request: our TPOT. Its warm-up is not the load."""
    found = report("aiperf.json")
    measured = found.measured
    assert found.workload == LOAD
    assert found.measured_by == "aiperf 0.10.0"
    assert found.started_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert measured.tpot_ms is not None
    assert (measured.ttft_ms.p95, measured.tpot_ms.p50, measured.e2e_ms.p99) == (85, 12, 130)
    assert measured.itl_ms is None
    assert (measured.requests, measured.span_s, measured.total_tokens_per_s) == (20, 5.0, 80.0)
    assert found.verdict == "pass"


def test_genai_perf_says_less() -> None:
    """No version, no duration, no failures: the duration follows from the rate."""
    found = report("genai_perf.json")
    assert found.measured_by == "genai-perf"
    assert found.workload == LOAD.model_copy(update={"concurrency": None, "rate": 4.0})
    assert (found.measured.requests, found.measured.span_s) == (20, 5.0)
    assert found.measured.failures is None


@pytest.mark.parametrize(
    ("config", "concurrency"),
    [
        ({"endpoint": {"model_names": [MODEL]}, "loadgen": {"concurrency": 8}}, 8),
        ({"model": MODEL, "concurrency": [16]}, 16),
        ({"model": [MODEL], "perf_analyzer": {"stimulus": {"concurrency": 4}}}, 4),
        ({"models": [MODEL], "phases": [{"kind": "profiling", "concurrency": 3}]}, 3),
    ],
)
def test_where_older_releases_keep_the_load(
    config: dict[str, object], concurrency: int, tmp_path: Path
) -> None:
    """Model and load are found in the configuration of each generation of the tool."""
    path = changed(tmp_path, "aiperf.json", {"input_config": config})
    assert imported_report(path, small_plan(LOAD)).workload.concurrency == concurrency


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time_to_first_token": "-"}, "has no time_to_first_token: run it with --streaming"),
        (
            {"request_latency": {"unit": "ms", "avg": 1}},
            "request_latency has no p50, p90, p95, p99",
        ),
        ({"request_latency": {"unit": "h", "avg": 1}}, "request_latency is in 'h'; known: ms"),
        ({"error_summary": [{"count": "some"}]}, "error_summary.0.count"),
        ({"input_config": {}}, "input_config names no model"),
        ({"input_config": {"model": MODEL}}, "names no load"),
        ({"request_throughput": {"avg": 0}}, "not one request succeeded"),
        ({"request_count": "-", "benchmark_duration": "-"}, "neither request_count nor"),
    ],
)
def test_an_aiperf_file_that_cannot_be_used(
    change: dict[str, object], words: str, tmp_path: Path
) -> None:
    """One line with the file and what it lacks."""
    assert words in refusal(changed(tmp_path, "aiperf.json", change))


def test_errors_of_aiperf_are_failures_in_any_unit_of_time(tmp_path: Path) -> None:
    """They are counted by kind in error_summary; latencies in seconds become ms."""
    in_s = {"unit": "s", "avg": 0.062, "p50": 0.06, "p90": 0.08, "p95": 0.085, "p99": 0.09}
    errors = [{"error_details": {"code": 503}, "count": 2}, {"count": 1}]
    change = {"time_to_first_token": in_s, "error_summary": errors}
    found = imported_report(changed(tmp_path, "aiperf.json", change), small_plan(LOAD))
    assert found.measured.ttft_ms.p50 == pytest.approx(60)
    assert found.measured.failures == {"reported": 3}
    assert found.verdict == "fail"


@pytest.mark.parametrize(
    ("text", "words"),
    [("{}\n{}", "is not valid JSON: Extra data"), ("[]", "not a result of"), (None, "cannot read")],
)
def test_a_file_of_no_known_tool(text: str | None, words: str, tmp_path: Path) -> None:
    """The tools that are known are named; --append-result leaves several documents."""
    path = tmp_path / "run.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=words):
        imported_report(path, small_plan(LOAD))


def validate(home: Path, *args: str, columns: int = 80) -> CompletedProcess[str]:
    return tpdeploy("validate", *args, home=home, width=columns)


def written(folder: Path, plan: DeploymentPlan) -> str:
    path = folder / "plan.yaml"
    path.write_text(dump_record(plan))
    return str(path)


@pytest.mark.parametrize("columns", [80, 120])
def test_what_a_user_sees(columns: int, tmp_path: Path) -> None:
    """The table of any validation, headed by whose run it is, without what is not known."""
    plan, file = written(tmp_path, small_plan(LOAD)), DATA / "vllm_summary.json"
    result = validate(tmp_path, plan, "--from", str(file), columns=columns)
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert result.returncode == 0, result.stderr
    assert lines[0] == f"{MODEL} measured by vllm bench serve, in {file}"
    assert "  TTFT p50, ms     50.0 (25.0 to 100)      70.0    85.0  pass     in range" in lines
    assert "  8 requests in 4.0 s; none failed." in lines
    assert lines[-1] == "Verdict: pass"
    assert "95 %" not in result.stdout
    assert max(map(len, lines[1:-2])) <= columns
    (kept,) = (tmp_path / "validations").glob("*.json")
    assert ValidationReport.model_validate_json(kept.read_text()).measured_by == "vllm bench serve"


def test_failures_that_were_not_counted_are_not_none(tmp_path: Path) -> None:
    """Not counted is said, and is not that none failed."""
    plan = written(tmp_path, planned(tmp_path))
    result = validate(tmp_path, plan, "--from", str(DATA / "genai_perf.json"))
    assert result.returncode == 0, result.stderr
    assert "20 requests in 5.0 s; failures were not counted." in result.stdout


def test_failures_without_reasons_are_shown(tmp_path: Path) -> None:
    """A summary counts what failed and does not say why; exit code 1."""
    file = changed(tmp_path, "vllm_summary.json", {"failed": 2, "num_prompts": 10})
    result = validate(tmp_path, written(tmp_path, small_plan(LOAD)), "--from", str(file))
    assert result.returncode == 1
    assert "  Failed: 2 reported." in [line.rstrip() for line in result.stdout.splitlines()]
    assert result.stdout.splitlines()[-1] == "Verdict: fail, requests failed"


@pytest.mark.slow
def test_another_load_is_predicted_anew(tmp_path: Path) -> None:
    """Under the file's load, not the plan's: four in flight are slower than two."""
    plan = planned(tmp_path)
    file = changed(tmp_path, "vllm_summary.json", {"max_concurrency": 4})
    page = tmp_path / "page.html"
    result = validate(
        *(tmp_path, written(tmp_path, plan), "--from", str(file), "--json", "--report", str(page))
    )
    assert result.returncode == 0, result.stderr
    found = ValidationReport.model_validate_json(result.stdout)
    assert found.workload.concurrency == 4
    assert found.rows[1].predicted is not None
    assert found.rows[1].predicted.value > plan.prediction.tpot_ms.value
    assert "vllm bench serve" in page.read_text()
    short = validate(tmp_path, written(tmp_path, plan), "--from", str(file), "--json")
    assert ValidationReport.model_validate_json(short.stdout).rows == found.rows


@pytest.mark.parametrize(
    "option",
    ["--sweep=1,2", "--url=http://x", "--requests=4", "--arrivals=poisson", "--prompts=p.jsonl"],
)
def test_nothing_is_sent(option: str, tmp_path: Path) -> None:
    """Options that say what to send are refused beside --from, even at their default value."""
    file = DATA / "vllm_summary.json"
    plan = written(tmp_path, small_plan(LOAD))
    result = validate(tmp_path, plan, "--from", str(file), option)
    assert result.returncode == 2
    assert result.stderr.startswith(f"Error: --from and {option.partition('=')[0]}: with --from")


INFINITE = float("inf")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"duration": 1e30}, "duration: "),
        ({"duration": INFINITE}, "duration: "),
        ({"max_concurrency": -1}, "max_concurrency: "),
        ({"total_output_tokens": -100}, "total_output_tokens: "),
        ({"total_output_tokens": 10**400}, "total_output_tokens: "),
        ({"ttfts": [0.1, INFINITE, 0.1, 0.1, 0.1]}, "ttfts.1: "),
        ({"completed": 10**9}, "requests succeeded"),
        ({"failed": -1}, "failed: "),
        ({"date": "00010101-000000"}, "date '00010101-000000'"),
        ({"date": "x" * 5000}, "date 'xxx"),
        ({"start_times": [1e300] * 5}, "start_times.0: "),
    ],
)
def test_vllm_figures_that_nobody_measured(
    tmp_path: Path, change: Mapping[str, object], words: str
) -> None:
    """They are refused in one line, before anything is computed from them."""
    assert words in refusal(changed(tmp_path, "vllm_detailed.json", change))


def test_percentiles_that_fall_are_refused(tmp_path: Path) -> None:
    """A p99 below the median is of no run."""
    path = changed(tmp_path, "vllm_summary.json", {"p99_ttft_ms": 1e-3})
    with pytest.raises(InputError, match="which do not rise"):
        imported_report(path, small_plan(LOAD))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"request_count": {"avg": INFINITE}}, "request_count.avg: "),
        ({"input_sequence_length": {"avg": float("nan")}}, "input_sequence_length.avg: "),
        ({"request_throughput": {"avg": INFINITE}}, "request_throughput.avg: "),
        ({"time_to_first_token": {"avg": INFINITE}}, "time_to_first_token.avg: "),
        ({"benchmark_duration": {"avg": 1, "unit": "fortnights"}}, "benchmark_duration is in"),
        ({"input_config": {"models": ["x"], "phases": [{"name": []}]}}, "names no load"),
    ],
)
def test_aiperf_figures_that_nobody_measured(
    tmp_path: Path, change: Mapping[str, object], words: str
) -> None:
    """The same of aiperf's file."""
    assert words in refusal(changed(tmp_path, "aiperf.json", change))
