"""A validation from end to end, against a server whose schedule is known."""

import asyncio

import pytest

from tests.harness.plans import small_plan
from tests.harness.standin import StandIn, serving
from tpdeploy.errors import InputError
from tpdeploy.harness.recorder import Progress
from tpdeploy.harness.report import ValidationReport
from tpdeploy.harness.validation import MIN_REQUESTS, ROUNDS, Measurement, measurement, validate
from tpdeploy.planner.workload import Workload

LOAD = Workload(input_tokens=16, output_tokens=5, concurrency=3)


def run(server: StandIn, how: Measurement, progress: list[Progress]) -> ValidationReport:
    plan = small_plan(how.workload)
    return asyncio.run(validate(plan, server.url, how, on_progress=progress.append))


def test_warm_up_and_measurement_are_told_apart() -> None:
    """Only what ended after the warm-up is in the report; the server saw both, and no more."""
    progress: list[Progress] = []
    with serving(StandIn(ttft_s=0.01, itl_s=0.002)) as server:
        report = run(server, measurement(LOAD, requests=9, warm_up=6), progress)
    assert report.warm_up is not None
    assert report.warm_up.requests == 6
    assert len(report.requests) == 9
    assert len(progress) == 15
    assert (progress[-1].phase, progress[-1].done, progress[-1].total) == ("measurement", 9, 9)
    # What is in flight when the last one ends is cancelled.
    assert 15 <= len(server.seen) <= 15 + 2


def test_reported_latencies_are_not_below_the_servers_schedule() -> None:
    """The server waits 20 ms, then 4 ms a token: neither first nor last token is earlier."""
    with serving(StandIn(ttft_s=0.02, itl_s=0.004)) as server:
        measured = run(server, measurement(LOAD, requests=9), []).measured
    assert measured.ttft_ms.p50 >= 20
    assert measured.e2e_ms.p50 >= 20 + 4 * 4


def test_all_prompts_differ() -> None:
    """No two requests, warm-up included, begin with the same token."""
    with serving(StandIn()) as server:
        run(server, measurement(LOAD, requests=20), [])
    first_tokens = [seen.body["prompt"][0] for seen in server.seen]
    assert len(set(first_tokens)) == len(first_tokens)


def test_an_open_loop_measures_too() -> None:
    """With a rate instead of a concurrency the same report comes out."""
    load = Workload(input_tokens=16, output_tokens=5, rate=100)
    with serving(StandIn()) as server:
        report = run(server, measurement(load, requests=12), [])
    assert report.measured.requests == 12
    assert report.rows[0].predicted is not None


def test_the_report_survives_being_written_and_read() -> None:
    """JSON and back gives an equal record."""
    with serving(StandIn()) as server:
        report = run(server, measurement(LOAD, requests=3), [])
    assert ValidationReport.model_validate_json(report.model_dump_json()) == report


def test_requests_longer_than_the_plan_allows_are_refused_unsent() -> None:
    """The engine was started for shorter ones; nothing is sent."""
    load = Workload(input_tokens=2048, output_tokens=1, concurrency=1)
    with serving(StandIn()) as server, pytest.raises(InputError, match="max_model_len 2048"):
        run(server, measurement(load), [])
    assert server.seen == []


@pytest.mark.parametrize(("concurrency", "requests"), [(1, MIN_REQUESTS), (100, 100 * ROUNDS)])
def test_defaults_grow_with_the_load(concurrency: int, requests: int) -> None:
    """A few rounds of what is in flight, and never too few for a percentile."""
    load = LOAD.model_copy(update={"concurrency": concurrency})
    assert measurement(load).amount.requests == requests
    assert measurement(load, seconds=5).amount.requests is None
