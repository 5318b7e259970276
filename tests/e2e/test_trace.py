"""A trace replayed on real vLLM: lengths, arrivals, hits and the order in which requests end."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.e2e.commands import stop, tpdeploy
from tests.e2e.tiny import make_tiny_model
from tests.traces.recordings import recorded, written
from tpdeploy.backends.inputs import inputs_of
from tpdeploy.cli.planfile import read_plan
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.launcher.runtimes.ports import free_ports
from tpdeploy.launcher.state import running_endpoint
from tpdeploy.planner.search.replay import prepared_as
from tpdeploy.planner.serving.scheduler import Scheduler
from tpdeploy.planner.serving.simulation import follow
from tpdeploy.planner.trace import Recorded

pytestmark = pytest.mark.engine

NAME = "e2e-trace"
# Far enough apart that a prompt has been read when the next one comes: half of them begin alike.
ALONE = [r._replace(at=1.5 * n) for n, r in enumerate(recorded(6, most=2))]
# Together, more than run at once. In which order they end depends on how many steps each takes and
# on who has to wait, with 25 steps between two ends at least, and not on how long a step is.
SEQUENCES, BURST_AT = 4, 9.5
ANSWERS = (160, 60, 300, 110, 25, 150)
ENDS = [60, 25, 110, 160, 150, 300]
BURST = [Recorded(BURST_AT + n / 20, 100, a, (9000 + n,)) for n, a in enumerate(ANSWERS)]
REQUESTS = ALONE + BURST
# A client that others on the machine held up has not sent what was recorded: it replays again.
ON_TIME_S, MOST_LATE_S, TRIES = 0.05, 0.5, 5


@dataclass(frozen=True)
class Replayed:
    """What was predicted of the trace and measured; prompt tokens that the engine's cache had."""

    report: ValidationReport
    predicted_ends: list[int]  # of the burst: the answers in the order in which they end
    found: float  # in the first replay


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayed]:
    """A deployment that was planned for the trace, after the trace."""
    folder = tmp_path_factory.mktemp("trace")
    model, path, plan = make_tiny_model(folder), written(folder, REQUESTS), folder / "plan.yaml"
    limits = ("--max-num-seqs", str(SEQUENCES), "--enforce-eager", "--replicas", "1")
    options = ("--gpus", "1xCPU", "--trace", str(path), *limits, "-o", str(plan))
    tpdeploy("plan", str(model), *options)
    (port,) = free_ports("127.0.0.1", 1)
    launch = ("launch", str(plan), "--detach", "--name", NAME, "--metrics", "--port", str(port))
    try:
        tpdeploy(*launch, "--engine-arg=--load-format=dummy")
        before = found_in_cache()
        asked = ("validate", "--name", NAME, "--trace", str(path), "--warmup", "1", "--json")
        reports = [ValidationReport.model_validate_json(tpdeploy(*asked))]
        found = found_in_cache() - before
        while max(lateness(reports[-1])) > ON_TIME_S and len(reports) < TRIES:
            reports.append(ValidationReport.model_validate_json(tpdeploy(*asked)))
        best = min(reports, key=lambda report: max(lateness(report)))
        yield Replayed(best, predicted_ends(plan), found)
    finally:
        stop(NAME)


def lateness(report: ValidationReport) -> list[float]:
    """Of each request: seconds from when it was due until it was sent."""
    sent = sorted(request.sent_s for request in report.requests)
    return [at - due.at for at, due in zip(sent, REQUESTS, strict=True)]


def found_in_cache() -> float:
    """Prompt tokens that the engine's prefix cache has had so far."""
    text = httpx.get(f"{running_endpoint(NAME).url.removesuffix('/v1')}/metrics").text
    found = re.search(r"^vllm:prefix_cache_hits_total{.*} (\S+)$", text, re.MULTILINE)
    assert found, "no prefix_cache_hits_total"
    return float(found[1])


def predicted_ends(path: Path) -> list[int]:
    """The burst by the simulated scheduler of the plan."""
    plan = read_plan(path)
    _, ready = prepared_as(inputs_of(plan), plan)
    arrivals = [(r.at, r.prompt, r.answer, 0.0) for r in BURST]
    return [r.answer for r in follow(Scheduler(ready.replica, plan.workload), arrivals)]


def test_every_request_has_its_recorded_lengths(replayed: Replayed) -> None:
    """Prompts and answers to the token, none failed."""
    measured, requests = replayed.report.measured, replayed.report.requests
    assert measured.failures == {}
    assert sorted(r.output_tokens for r in requests) == sorted(r.answer for r in REQUESTS)
    tokens = sum(r.prompt + r.answer for r in REQUESTS) / len(REQUESTS)
    assert measured.total_tokens_per_s / measured.requests_per_s == pytest.approx(tokens)


def test_every_request_is_sent_when_it_is_due(replayed: Replayed) -> None:
    """Whatever the server does; predicted and measured have the same arrivals in each window."""
    late = lateness(replayed.report)
    assert min(late) > -0.01
    assert max(late) < MOST_LATE_S, f"in each of {TRIES} replays"
    assert replayed.report.expected
    told, seen = replayed.report.expected.timeline, replayed.report.measured.timeline
    assert told is not None
    assert seen is not None
    assert [w.arrivals for w in told.windows] == [w.arrivals for w in seen.windows]


def test_requests_end_in_the_order_that_was_predicted(replayed: Replayed) -> None:
    """Of more than run at once: who waits, and who overtakes whom."""
    burst = [r for r in replayed.report.requests if r.sent_s > BURST_AT - 1]
    ends = sorted(burst, key=lambda r: r.sent_s + (r.e2e_ms or 0.0) / 1e3)
    assert [r.output_tokens for r in ends] == replayed.predicted_ends == ENDS
    waited = sorted(burst, key=lambda r: r.ttft_ms or 0.0)[SEQUENCES:]
    assert {r.output_tokens for r in waited} == set(ANSWERS[SEQUENCES:])


def test_the_prefix_cache_has_what_came_before(replayed: Replayed) -> None:
    """Equal hashes became equal tokens."""
    plan = replayed.report.plan
    assert plan.workload.recording is not None
    shared = plan.workload.recording.shared * sum(request.prompt for request in REQUESTS)
    assert shared > 1000
    assert replayed.found == pytest.approx(shared, rel=0.1)
