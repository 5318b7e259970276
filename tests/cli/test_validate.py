"""`tpdeploy validate` as a user meets it: the table, the report, the errors, the exit codes."""

import json
import os
import socket
from datetime import UTC, datetime
from functools import partial
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.cli.commands import tpdeploy
from tests.harness.plans import prediction, small_plan
from tests.harness.standin import StandIn, first_then_answer, serving
from tests.harness.test_metrics import exchange
from tpdeploy.cli.views.validation import facts, show_report
from tpdeploy.harness.load.exchange import Exchange, Failure
from tpdeploy.harness.measure.comparison import compare, overall
from tpdeploy.harness.measure.metrics import DEFINITIONS, measure
from tpdeploy.harness.measure.report import ValidationReport, WarmUp, request_record
from tpdeploy.launcher.commands import Order
from tpdeploy.launcher.runtimes.processes import leader_of
from tpdeploy.launcher.state import Deployment
from tpdeploy.planner.workload import Target, Workload
from tpdeploy.records import dump_record

LOAD = Workload(input_tokens=16, output_tokens=4, concurrency=2, ttft=Target(ms=60_000))

TABLE = """\
SmolLM2-135M-Instruct at http://127.0.0.1:8000
  16 tokens in, 4 out, 2 requests in flight

                            predicted  measured  target  verdict  prediction
  TTFT p90, ms     50.0 (25.0 to 100)       300     200  fail     above
  TPOT p50, ms     10.0 (5.0 to 20.0)      20.0    25.0  pass     in range
  output tokens/s   100 (50.0 to 200)       1.5       -  -        below
  requests/s       12.5 (6.2 to 25.0)      0.50       -  -        below
  good requests/s                   -      0.25       -  -        -

Measured, ms
               mean   p50   p90   p95   p99
  TTFT          201   201   300   300   300
    predicted   1.0   1.0   1.0   1.0   1.0
  TPOT         20.0  20.0  30.0  30.0  30.0
    predicted   1.0   1.0   1.0   1.0   1.0
  ITL          20.0  20.0  30.0  30.0  30.0
  end-to-end    241   241   360   360   360

  40 requests in 80.0 s after a warm-up of 4 (latency had settled); 1 failed.
  9.5 tokens/s, prompts included; requests were sent at most 2.0 ms late.
  Failed: 1 timeout; the first: no answer in time.
"""


def report(load: Workload) -> ValidationReport:
    """A report of forty good requests, half of them within their targets, and one that failed."""
    lost = Exchange(0.0, 0.0, failure=Failure("timeout", "no answer in time"))
    exchanges = [*[exchange(0.1, 0.01, lag=0.002), exchange(0.3, 0.03)] * 20, lost]
    measured = measure(exchanges, 80.0, load)
    rows = compare(measured, prediction(), load)
    return ValidationReport(
        started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        endpoint="http://127.0.0.1:8000",
        versions={"tpdeploy": "0"},
        plan=small_plan(load),
        workload=load,
        seed=0,
        definitions=DEFINITIONS,
        warm_up=WarmUp(requests=4, failed=0, stable=True),
        measured=measured,
        rows=rows,
        expected=prediction(),
        verdict=overall(rows, measured.failed),
        requests=tuple(request_record(e, 0.0) for e in exchanges),
    )


def shown(width: int, *, explained: bool = False) -> list[str]:
    targets = {"ttft": Target(ms=200, at="p90"), "tpot": Target(ms=25)}
    console = Console(width=width, file=StringIO(), highlight=False)
    made = report(LOAD.model_copy(update=targets))
    show_report(console, made, Path("kept.json"), explained=explained)
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_table_at_80_columns_without_colour() -> None:
    """Predicted, measured, target and a verdict in words, all of it readable in a plain log."""
    lines = shown(80)
    assert "\n".join(lines).startswith(TABLE)
    assert lines[-2] == "Report kept in kept.json. What the figures mean: validate -v."
    assert lines[-1] == "Verdict: fail, missed the target for TTFT p90"
    assert max(map(len, lines)) <= 80
    assert "Meaning" not in lines
    assert "Meaning" in shown(80, explained=True)


def test_what_may_still_have_been_warming_up_is_said() -> None:
    """Latency that had not settled, or at a rate a warm-up shorter than a mean answer (241 ms)."""
    settled = report(LOAD)
    unsettled = settled.model_copy(update={"warm_up": WarmUp(requests=4, failed=0, stable=False)})
    assert (settled.warming_up, unsettled.warming_up) == (False, True)
    assert any(line.startswith("It may still have been warming up") for line in facts(unsettled))
    assert not any("warming" in line for line in facts(settled))
    at_a_rate = LOAD.model_copy(update={"concurrency": None, "rate": 5})
    for seconds, short in ((0.2, True), (0.3, False)):
        warm_up = WarmUp(requests=4, failed=0, stable=True, seconds=seconds)
        assert report(at_a_rate).model_copy(update={"warm_up": warm_up}).warming_up == short


def test_the_table_is_the_same_in_a_wide_terminal() -> None:
    """At 120 columns the figures stand where they stood, beside them the intervals there are."""
    narrow, wide = shown(80), shown(120)
    assert wide[3:10] == narrow[3:10]
    assert all(w.startswith(n) for w, n in zip(wide[11:18], narrow[11:18], strict=True))
    assert wide[12].endswith("102 to 300          -")


validate = partial(tpdeploy, "validate")


def plan_file(folder: Path, load: Workload = LOAD) -> str:
    path = folder / "plan.yaml"
    path.write_text(dump_record(small_plan(load)))
    return str(path)


def test_a_met_target_exits_with_0_and_keeps_the_report(tmp_path: Path) -> None:
    """The verdict is on stdout, progress is not, and the report is a whole file under the home."""
    with serving(StandIn(ttft_s=0.002)) as server:
        result = validate(
            plan_file(tmp_path), "--url", server.url, "--requests", "6", home=tmp_path
        )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "Verdict: pass"
    assert "Measuring" not in result.stdout
    (kept,) = (tmp_path / "validations").glob("*.json")
    report = ValidationReport.model_validate_json(kept.read_text())
    assert str(kept) in result.stdout
    assert len(report.requests) == report.measured.requests == 6
    assert {request.output_tokens for request in report.requests} <= {3, 4, 5}
    assert report.versions["server"] == "1.2.3"
    lengths = [len(seen.body["prompt"]) for seen in server.seen]
    assert len(set(lengths)) > 1  # of the plan, a fifth to either side
    assert 13 <= min(lengths) <= max(lengths) <= 19


def deployed(home: Path, url: str, *engine_args: str) -> None:
    """A running deployment of `small_plan` at `url`, as launch leaves it; this process is it."""
    folder = home / "deployments" / "default"
    folder.mkdir(parents=True)
    running = Deployment(
        name="default",
        model=small_plan(LOAD).model.id,
        backend="vllm",
        url=url,
        phase="ready",
        supervisor=leader_of(os.getpid()),
        members=(),
    )
    order = Order(
        name="default",
        backend="vllm",
        host="127.0.0.1",
        port=8000,
        startup_timeout_s=1,
        engine_args=engine_args,
    )
    for name, record in (("state", running), ("plan", small_plan(LOAD)), ("order", order)):
        (folder / f"{name}.yaml").write_text(dump_record(record))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), None),
        (
            ("--enforce-eager",),
            "Not learned from: engine arguments that change speed: --enforce-eager.",
        ),
    ],
)
@pytest.mark.slow
def test_a_run_of_a_deployment_teaches_unless_it_runs_otherwise(
    arguments: tuple[str, ...], said: str | None, tmp_path: Path
) -> None:
    """The reason is printed, and kept in the report."""
    with serving(StandIn()) as server:
        deployed(tmp_path, server.url, *arguments)
        result = validate("--requests", "6", home=tmp_path)
    assert result.returncode == 0, result.stderr
    (kept,) = (tmp_path / "validations").glob("*.json")
    reason = ValidationReport.model_validate_json(kept.read_text()).not_learned
    assert (reason is None) == (said is None)
    assert said is None or said in " ".join(result.stdout.split())
    assert said is not None or "Not learned" not in result.stdout


def test_an_edited_plan_does_not_teach_of_the_deployment(tmp_path: Path) -> None:
    """A plan file with another limit than the deployment was launched with."""
    made = small_plan(LOAD)
    limits = made.limits.model_copy(update={"max_num_seqs": 8})
    path = tmp_path / "plan.yaml"
    path.write_text(dump_record(made.model_copy(update={"limits": limits})))
    with serving(StandIn()) as server:
        deployed(tmp_path, server.url)
        result = validate(str(path), "--requests", "6", home=tmp_path)
    assert result.returncode == 0, result.stderr
    said = " ".join(result.stdout.split())
    assert "Not learned from: a deployment launched with another plan (other limits)." in said


def test_a_missed_target_exits_with_1(tmp_path: Path) -> None:
    """A target far below what the server does: the report is still shown and kept."""
    plan = plan_file(tmp_path, LOAD.model_copy(update={"ttft": Target(ms=0.001)}))
    with serving(StandIn()) as server:
        result = validate(plan, "--url", server.url, "--requests", "6", home=tmp_path)
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == "Verdict: fail, missed the target for TTFT p50"


@pytest.mark.slow
def test_a_target_that_so_few_requests_cannot_tell_exits_with_1(tmp_path: Path) -> None:
    """Far from missed, and yet not met: a gate that trusts the exit code stays shut."""
    plan = plan_file(tmp_path, LOAD.model_copy(update={"ttft": Target(ms=60_000, at="p99")}))
    with serving(StandIn()) as server:
        result = validate(plan, "--url", server.url, "--requests", "8", home=tmp_path)
    assert result.returncode == 1
    last = result.stdout.splitlines()[-1]
    assert last == "Verdict: unknown, too few requests to tell TTFT p99: 368 needed"


def test_a_failed_request_exits_with_1_though_targets_are_met(tmp_path: Path) -> None:
    """One lost request among good ones is a failure, named by kind and reason."""
    server = StandIn(behaviours=first_then_answer("answer", "refuse"))
    with serving(server):
        result = validate(
            *(plan_file(tmp_path), "--url", server.url, "--requests", "6", "--warmup", "0"),
            home=tmp_path,
        )
    assert result.returncode == 1
    assert "Failed: 1 status; the first: the endpoint answered 503: no room" in result.stdout
    assert result.stdout.splitlines()[-1] == "Verdict: fail, requests failed"


def test_json_and_another_load(tmp_path: Path) -> None:
    """--json prints the same report -o writes; nothing is predicted for a model that is gone."""
    file, plan = tmp_path / "report.json", small_plan(LOAD)
    gone = plan.changed(model=plan.model.changed(path=str(tmp_path / "gone")))
    (tmp_path / "plan.yaml").write_text(dump_record(gone))
    with serving(StandIn()) as server:
        result = validate(
            *(
                str(tmp_path / "plan.yaml"),
                "--url",
                server.url,
                "--rate",
                "200",
                "--requests",
                "10",
            ),
            *("--json", "-o", str(file)),
            home=tmp_path,
        )
    assert result.returncode == 0, result.stderr
    content = json.loads(result.stdout)
    assert content == json.loads(file.read_text())
    assert content["workload"]["rate"] == 200
    assert {row["predicted"] for row in content["rows"]} == {None}
    assert "No prediction under this load: cannot read" in result.stderr


@pytest.mark.slow
def test_no_success_at_all_is_an_error_with_the_kinds(tmp_path: Path) -> None:
    """Nothing to measure: how many failed of which kind, and the first reason."""
    server = StandIn(behaviours=iter(["refuse"] * 1000))
    with serving(server):
        result = validate(plan_file(tmp_path), "--url", server.url, home=tmp_path)
    assert result.returncode == 1
    line = " ".join(result.stderr.split())
    assert "no measured request succeeded" in line
    assert "20 status; first: the endpoint answered 503: no room for this" in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--concurrency", "2", "--rate", "1"], "give one of them, not both"),
        (["--rate", "0"], "--rate 0: must be greater than 0"),
        (["--requests", "0"], "--requests"),
        (["--url", "nonsense"], "http://127.0.0.1:8000"),
    ],
)
def test_bad_options_exit_with_2(options: list[str], words: str, tmp_path: Path) -> None:
    """Bad input is one clear line."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        result = validate(plan_file(tmp_path), "--url", url, *options, home=tmp_path)
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_another_model_is_refused(tmp_path: Path) -> None:
    """A plan for one model does not measure another."""
    plan = small_plan(LOAD)
    other = plan.model_copy(update={"model": plan.model.model_copy(update={"id": "other"})})
    path = tmp_path / "other.yaml"
    path.write_text(dump_record(other))
    with serving(StandIn()) as server:
        result = validate(str(path), "--url", server.url, home=tmp_path)
    assert result.returncode == 2
    assert "serves SmolLM2-135M-Instruct, the plan is for other" in result.stderr


def test_nothing_running_is_one_line(tmp_path: Path) -> None:
    """Without a deployment and without --url there is nothing to measure."""
    result = validate(home=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: no deployment is running")


def test_a_long_tail_is_pointed_out() -> None:
    """The verdict may be on a median that says little about one request in ten."""
    made = report(LOAD)
    slow = made.measured.ttft_ms.changed(p90=804.0)
    told = facts(made.changed(measured=made.measured.changed(ttft_ms=slow)))
    assert "One in ten has more than 4.0 times the median TTFT." in told
    assert not any("One in ten" in line for line in facts(made))
