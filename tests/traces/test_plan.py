"""`tpdeploy plan --trace`: what is chosen, what the plan keeps, and what is refused."""

import hashlib
import json
from pathlib import Path

import pytest

import tpdeploy as library
from tests.cli.commands import answered, refused
from tests.planner.inputs import ask
from tests.traces.recordings import mooncake, recorded, written
from tpdeploy.api.trace import as_recorded
from tpdeploy.cli.planfile import read_plan
from tpdeploy.errors import InputError
from tpdeploy.harness.measure.errand import Errand, _read
from tpdeploy.harness.measure.validation import replay_of
from tpdeploy.harness.traces.reading import read_trace
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.evaluation import Candidate, evaluate
from tpdeploy.planner.search.recorded import under_recording
from tpdeploy.planner.search.search import Outcome
from tpdeploy.planner.trace import Recorded
from tpdeploy.planner.workload import Target, Workload

MODEL = ("llama-3.1-8b", "--gpus", "4xH100", "--backend", "vllm")
REQUESTS = recorded(40)
# Four a second for a while, and then sixty at once.
BURST = [Recorded(n / 4, 1000, 60) for n in range(100)] + [Recorded(25.0, 6000, 60)] * 60


def planned(path: Path, *options: str) -> DeploymentPlan:
    text = answered("plan", *MODEL, "--trace", str(path), "--json", *options)
    return DeploymentPlan.model_validate_json(text)


@pytest.mark.slow
def test_the_plan_keeps_what_it_is_for_and_how_it_went(tmp_path: Path) -> None:
    """File, sum, window, speed, counts and means; and the replay, all of whose requests it has."""
    path = written(tmp_path, REQUESTS)
    options = ("--trace-window", "2s..12s", "--trace-speed", "2", "-o", str(tmp_path / "plan.yaml"))
    plan = planned(path, *options)
    part = [r for r in REQUESTS if 2 <= r.at < 12]
    recording, timeline = plan.workload.recording, plan.prediction.timeline
    assert recording is not None
    assert timeline is not None
    assert recording.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (recording.name, recording.from_s, recording.to_s) == (path.name, 2, 12)
    assert (recording.speed, recording.requests) == (2, len(part))
    assert recording.input_tokens == pytest.approx(sum(r.prompt for r in part) / len(part))
    assert sum(w.arrivals for w in timeline.windows) == len(part)
    assert plan.workload.rate == pytest.approx(len(part) / recording.seconds)
    assert recording.words in plan.depends_on


@pytest.mark.slow
def test_python_plans_the_same(tmp_path: Path) -> None:
    path = written(tmp_path, REQUESTS, "Azure")
    mine = library.plan("llama-3.1-8b", "4xH100", backend="vllm", trace=path, ttft_ms=500)
    theirs = planned(path, "--ttft", "500", "-o", str(tmp_path / "plan.yaml"))
    assert mine.prediction == theirs.prediction
    with pytest.raises(InputError, match="trace and rate: the trace says which requests come"):
        library.plan("llama-3.1-8b", "4xH100", trace=path, rate=2)


@pytest.mark.slow
def test_bursts_need_more_replicas_than_their_mean(tmp_path: Path) -> None:
    """For cost: as many as keep the target in the burst, not the one that the mean rate needs."""
    (tmp_path / "trace.jsonl").write_text(mooncake(BURST))
    trace = read_trace(tmp_path / "trace.jsonl")
    load = as_recorded(Workload(concurrency=1, ttft=Target(ms=2500, at="p99")), trace)
    inputs = ask("llama-3.1-8b", "4xH100", workload=load, tensor=1, optimize="cost")
    one = evaluate(inputs, Parallelism(tensor=1))
    assert isinstance(one, Candidate)
    assert not one.missed
    outcome = under_recording(inputs, Outcome((one,), ()), trace)
    assert outcome.best is not None
    assert outcome.best.replicas > 1


@pytest.mark.slow
def test_a_refused_plan_shows_when_targets_break(tmp_path: Path) -> None:
    """The closest split over time, with the window of the burst marked."""
    (tmp_path / "trace.jsonl").write_text(mooncake(BURST))
    limits = ("--ttft", "100@p99", "--tp", "1", "--max-num-batched-tokens", "8192")
    command = ("plan", *MODEL, "--trace", str(tmp_path / "trace.jsonl"), *limits)
    shown = answered(*command, code=3)
    assert "which break in" in shown
    assert "!" in shown


@pytest.mark.parametrize(
    "options", [("--rate", "5"), ("--workload", "chat"), ("--input-tokens", "9"), ("--pareto",)]
)
def test_what_a_trace_says_is_not_stated_too(options: tuple[str, ...], tmp_path: Path) -> None:
    path = str(written(tmp_path, REQUESTS))
    said = refused("plan", *MODEL, "--trace", path, *options)
    assert f"--trace and {options[0]}: the trace says which requests come and when" in said


def test_hits_that_hashes_tell_are_not_stated_too(tmp_path: Path) -> None:
    hits = ("--prefix-cache-hit-rate", "0.5")
    said = refused("plan", *MODEL, "--trace", str(written(tmp_path, REQUESTS)), *hits)
    assert "--prefix-cache-hit-rate 0.5: the trace has the hashes of its prompts" in said


@pytest.mark.slow
def test_more_requests_than_can_be_simulated_are_refused(tmp_path: Path) -> None:
    many = [Recorded(n / 100, 9, 9) for n in range(100_001)]
    said = refused("plan", *MODEL, "--trace", str(written(tmp_path, many, "own")))
    assert "100,001 requests take minutes to simulate; give a part" in said


def test_a_plan_behind_a_cache_aware_router_says_what_it_needs(tmp_path: Path) -> None:
    """What the caches of each split hold, and that our own front is no such router."""
    path, plan = str(written(tmp_path, REQUESTS)), tmp_path / "plan.yaml"
    options = ("--trace", path, "--replicas", "2", "-o", str(plan), "--tp", "1")
    usual = answered("plan", *MODEL, *options, width=400)
    aware = answered("plan", *MODEL, *options, "--router", "cache-aware", width=400)
    unaware = "does not know what caches hold"
    assert "% with TP 1 x 2, behind a least-in-flight router." in usual
    assert "% with TP 1 x 2, behind a cache-aware router." in aware
    assert (unaware in usual, unaware in aware) == (False, True)
    assert read_plan(plan).router == "cache-aware"


@pytest.mark.parametrize(
    ("form", "said"),
    [("", "--router cache-aware: give --trace too"), ("own", "own.trace does not say which")],
)
def test_a_router_needs_requests_that_it_can_tell_apart(
    form: str, said: str, tmp_path: Path
) -> None:
    trace = ("--trace", str(written(tmp_path, REQUESTS, form))) if form else ()
    assert said in refused("plan", *MODEL, *trace, "--router", "cache-aware")


def test_an_open_count_of_gpus_is_refused(tmp_path: Path) -> None:
    path = str(written(tmp_path, REQUESTS))
    said = refused("plan", "llama-3.1-8b", "--gpus", "H100", "--trace", path)
    assert "--trace: give the number of GPUs, as 8xH100" in said


@pytest.mark.slow
def test_the_page_shows_the_replay_over_time(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    planned(
        written(tmp_path, REQUESTS),
        "--report",
        str(page),
        "--tp",
        "1",
        "-o",
        str(tmp_path / "plan.yaml"),
    )
    text = page.read_text()
    assert "The recorded requests over time" in text
    assert "Recorded: Mooncake.trace, read as Mooncake" in text


@pytest.mark.slow
def test_a_trace_travels_to_where_the_replicas_are(tmp_path: Path) -> None:
    """As part of what is measured there, request by request."""
    path = written(tmp_path, REQUESTS)
    plan = planned(path, "-o", str(tmp_path / "plan.yaml"))
    how = replay_of(plan.workload, read_trace(path))
    errand = Errand(plan, "http://127.0.0.1:1", how)
    assert _read(errand.line()).how == how
    assert json.loads(errand.line())
