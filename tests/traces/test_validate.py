"""A trace replayed against a server: on schedule, with the prompts and lengths it was told of."""

import asyncio
import json
from itertools import pairwise
from pathlib import Path

import pytest

import tpdeploy as library
from tests.cli.commands import refused, tpdeploy
from tests.harness.plans import prediction, small_plan
from tests.harness.standin import Seen, StandIn, first_then_answer, serving
from tests.traces.recordings import recorded, trace_of, written
from tpdeploy.api.trace import as_recorded
from tpdeploy.errors import InputError
from tpdeploy.harness.load.requests import Draw, recorded_requests
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.harness.measure.teaching import why_not_learned
from tpdeploy.harness.measure.validation import replay_of, validate
from tpdeploy.harness.traces.reading import part_of, read_trace, without_longer
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.trace import Trace
from tpdeploy.planner.workload import Target, Workload
from tpdeploy.records import dump_record

PLANNED = Workload(concurrency=1, ttft=Target(ms=60_000))
REQUESTS = recorded(24, mean_s=0.05, most=2)


def plan_for(trace: Trace) -> DeploymentPlan:
    return small_plan(as_recorded(PLANNED, trace))


def replayed(server: StandIn, trace: Trace, seed: int = 3) -> ValidationReport:
    plan = plan_for(trace)
    how = replay_of(plan.workload, trace, warm_up=2)
    how = type(how)(**{**vars(how), "draw": Draw(seed)})
    return asyncio.run(validate(plan, server.url, how))


def measured(server: StandIn, trace: Trace) -> list[Seen]:
    """What the server saw behind the warm-up."""
    return sorted(server.seen, key=lambda seen: seen.received)[-len(trace.requests) :]


@pytest.mark.slow
def test_requests_are_sent_when_they_came_however_late_the_server_is(tmp_path: Path) -> None:
    """None before it is due, and all before the first answer: no request waits for one."""
    trace = trace_of(tmp_path, recorded(24, mean_s=0.02, most=2))
    with serving(StandIn(ttft_s=3.0)) as server:
        report = replayed(server, trace)
        seen = measured(server, trace)
    assert max(s.received for s in seen) < min(s.token_times[0] for s in seen)
    sent = sorted(request.sent_s for request in report.requests)
    late = [at - r.at for at, r in zip(sent, trace.requests, strict=True)]
    assert min(late) >= 0
    assert max(late) * 1000 == pytest.approx(report.measured.client_lag_ms)
    assert report.measured.requests == len(trace.requests)
    assert report.measured.timeline is not None
    assert report.measured.timeline.peak_in_flight == len(trace.requests)
    assert report.measured.client_lag_p99_ms is not None
    assert report.measured.client_lag_p99_ms <= (report.measured.client_lag_ms or 0)
    assert report.verdict == "pass"


@pytest.mark.slow
def test_lengths_are_exact_and_two_runs_ask_the_same(tmp_path: Path) -> None:
    """Prompts token for token with the same seed, and others with another one."""
    trace = trace_of(tmp_path, REQUESTS)
    prompts = []
    for seed in (3, 3, 4):
        with serving(StandIn()) as server:
            replayed(server, trace, seed)
            seen = measured(server, trace)
        prompts.append(sorted(json.dumps(s.body["prompt"]) for s in seen))
        lengths = sorted((len(s.body["prompt"]), s.body["max_tokens"]) for s in seen)
        assert lengths == sorted(trace.pairs)
    assert prompts[0] == prompts[1] != prompts[2]


def test_equal_blocks_are_equal_tokens_and_others_differ(tmp_path: Path) -> None:
    """Two prompts agree up to the end of their last common block, and no further."""
    trace = trace_of(tmp_path, recorded(30, most=3))
    asked = [each.prompt for _, each in recorded_requests(49_152, trace, 5)]
    found = 0
    for (one, first), (other, second) in pairwise(zip(trace.requests, asked, strict=True)):
        same = _common(one.blocks, other.blocks)
        length = min(same * 512, one.prompt, other.prompt)
        assert first[:length] == second[:length]
        assert _common(first, second) < length + 8  # a token or two may agree by chance
        found += same
    assert found


def _common(one: object, other: object) -> int:
    pairs = zip(one, other, strict=False)  # type: ignore[call-overload]
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))  # type: ignore[arg-type]


def test_without_blocks_no_two_prompts_begin_alike(tmp_path: Path) -> None:
    trace = trace_of(tmp_path, REQUESTS, "Azure")
    first = [each.prompt[0] for _, each in recorded_requests(49_152, trace, 5)]
    assert len(set(first)) == len(first)


@pytest.mark.slow
def test_failed_requests_are_counted_and_the_replay_goes_on(tmp_path: Path) -> None:
    trace = trace_of(tmp_path, REQUESTS)
    behaviours = first_then_answer("answer", "answer", "answer", "answer", "refuse", "cut")
    with serving(StandIn(behaviours=behaviours)) as server:
        report = replayed(server, trace)
    assert report.measured.failed == 2
    assert report.measured.requests == len(trace.requests) - 2
    assert report.verdict == "fail"


def test_plans_do_not_learn_from_recorded_arrivals(tmp_path: Path) -> None:
    trace = trace_of(tmp_path, REQUESTS)
    plan = plan_for(trace)
    reason = why_not_learned(plan, None, replay_of(plan.workload, trace), 0)
    assert reason is not None
    assert reason.kind == "arrivals"


def test_a_plan_for_a_recording_is_not_measured_at_random(tmp_path: Path) -> None:
    """Its prediction is for those requests: the file is asked for."""
    trace = trace_of(tmp_path, REQUESTS)
    path = tmp_path / "plan.yaml"
    path.write_text(dump_record(plan_for(trace)))
    with serving(StandIn()) as server:
        said = refused("validate", str(path), "--url", server.url, "-q", home=tmp_path)
    assert "the plan is for recorded requests (Mooncake.trace): give --trace" in said


@pytest.mark.slow
def test_predicted_and_measured_stand_side_by_side(tmp_path: Path) -> None:
    """The plan's own recording: both figures a window, in text and in the report."""
    requests = recorded(24, mean_s=0.3, most=2)
    trace = trace_of(tmp_path, requests)
    plan = plan_for(trace)
    with serving(StandIn(ttft_s=0.02)) as server:
        first = replayed(server, trace)
        told = prediction().changed(timeline=first.measured.timeline)
        path = tmp_path / "plan.yaml"
        path.write_text(dump_record(plan.changed(prediction=told)))
        result = tpdeploy(
            *("validate", str(path), "--url", server.url, "--warmup", "2", "--seed", "5"),
            *("--trace", str(written(tmp_path, requests))),
            home=tmp_path,
        )
    assert result.returncode == 0, result.stderr
    assert "Over time, predicted / measured" in result.stdout
    rows = result.stdout.partition("tokens/s\n")[2]
    (kept,) = (tmp_path / "validations").glob("*.json")
    report = ValidationReport.model_validate_json(kept.read_text())
    assert report.expected
    assert report.expected.timeline == first.measured.timeline
    assert report.measured.timeline is not None
    assert len(report.measured.timeline.windows) == len(first.measured.timeline.windows)  # type: ignore[union-attr]
    assert report.seed == 5
    assert report.rows[0].predicted is not None
    assert rows


@pytest.mark.slow
def test_the_part_is_the_plans_unless_stated(tmp_path: Path) -> None:
    """From Python: of the plan's file, what the plan is for, and held against its prediction."""
    path = written(tmp_path, REQUESTS)
    part = without_longer(read_trace(path, part_of("..0.1s", 2)), 2048)
    assert 1 < part.recording.requests < len(REQUESTS)
    with serving(StandIn()) as server:
        report = library.validate(server.url, plan_for(part), trace=path, warm_up=0)
    assert report.workload.recording == part.recording
    assert report.measured.requests == part.recording.requests
    assert report.rows[0].predicted is not None


@pytest.mark.slow
def test_another_window_is_not_held_against_the_plan(tmp_path: Path) -> None:
    """The same file at another speed is another load: nothing is predicted by the plan for it."""
    trace = trace_of(tmp_path, REQUESTS)
    faster = Trace(trace.recording.changed(speed=2.0), trace.requests)
    how = replay_of(as_recorded(PLANNED, faster), faster, warm_up=0)
    with serving(StandIn()) as server:
        report = asyncio.run(validate(plan_for(trace), server.url, how))
    assert report.rows[0].predicted is None
    assert report.expected is None


def test_a_load_that_the_trace_tells_is_not_stated_too(tmp_path: Path) -> None:
    trace, path = trace_of(tmp_path, REQUESTS), tmp_path / "plan.yaml"
    path.write_text(dump_record(plan_for(trace)))
    file = str(written(tmp_path, REQUESTS))
    for option in (("--rate", "5"), ("--requests", "5"), ("--sweep", "1,2")):
        command = ("validate", str(path), "--url", "http://127.0.0.1:9", "--trace", file)
        said = refused(*command, *option, home=tmp_path)
        assert f"--trace and {option[0]}: the trace says which requests come and when" in said
    said = refused("validate", str(path), "--url", "http://x", "--trace-speed", "2", home=tmp_path)
    assert "--trace-speed 2.0: give --trace too, a file" in said


def test_requests_longer_than_the_plan_allows_are_refused_unsent(tmp_path: Path) -> None:
    """As `validate` reads a trace, more than one in ten; as a library gives it, any."""
    plan = small_plan(PLANNED)
    long = [r._replace(prompt=2500, blocks=()) for r in recorded(20)]
    path = tmp_path / "plan.yaml"
    path.write_text(dump_record(plan))
    command = ("validate", str(path), "--url", "http://127.0.0.1:9", "--trace")
    said = refused(*command, str(written(tmp_path, long)), home=tmp_path)
    assert "of the requests are longer than the 2,048 tokens there is room for" in said
    trace = trace_of(tmp_path, long)
    how = replay_of(as_recorded(PLANNED, trace), trace)
    with pytest.raises(InputError, match="max_model_len 2048"):
        asyncio.run(validate(plan, "http://127.0.0.1:9", how))
