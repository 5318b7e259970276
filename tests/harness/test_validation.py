"""A validation from end to end, against a server whose schedule is known."""

import asyncio
from typing import Any

import pytest

from tests.harness.plans import small_plan
from tests.harness.standin import StandIn, serving
from tpdeploy.errors import InputError
from tpdeploy.harness.load.recorder import Progress
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.harness.measure.validation import (
    MIN_REQUESTS,
    ROUNDS,
    Measurement,
    expected_latency_s,
    measurement,
    validate,
)
from tpdeploy.planner.lengths import Lengths
from tpdeploy.planner.workload import Target, Workload, fields_of

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


@pytest.mark.slow
def test_all_prompts_differ() -> None:
    """No two requests, warm-up included, begin with the same token."""
    with serving(StandIn()) as server:
        run(server, measurement(LOAD, requests=20), [])
    first_tokens = [seen.body["prompt"][0] for seen in server.seen]
    assert len(set(first_tokens)) == len(first_tokens)


def test_the_planned_requests_are_sent_in_their_order() -> None:
    """Pair by pair, from the first; the report is held against the plan's prediction."""
    lengths = Lengths(name="mine", source="here", pairs=((16, 5), (40, 1), (3, 9)))
    load = Workload(**fields_of(lengths), concurrency=1)
    with serving(StandIn()) as server:
        report = run(server, measurement(load, requests=7, warm_up=0), [])
    sent = [(len(seen.body["prompt"]), seen.body["max_tokens"]) for seen in server.seen[:7]]
    assert sent == [*lengths.pairs, *lengths.pairs, lengths.pairs[0]]
    assert report.workload == report.plan.workload == load
    assert report.rows[0].predicted is not None


@pytest.mark.slow
def test_an_open_loop_measures_too() -> None:
    """With a rate instead of a concurrency the same report comes out."""
    load = Workload(input_tokens=16, output_tokens=5, rate=100)
    with serving(StandIn()) as server:
        report = run(server, measurement(load, requests=12), [])
    assert report.measured.requests == 12
    assert report.rows[0].predicted is not None


@pytest.mark.parametrize(("clients", "amount"), [(5, {"requests": 7}), (8, {"seconds": 1.7})])
@pytest.mark.slow
def test_throughput_times_latency_is_the_number_of_clients(
    clients: int, amount: dict[str, Any]
) -> None:
    """Little's law in a closed loop whose answers end together, wherever the measurement ends."""
    load = LOAD.model_copy(update={"concurrency": clients})
    with serving(StandIn(ttft_s=0.2, itl_s=0.05)) as server:
        measured = run(server, measurement(load, warm_up=clients, **amount), []).measured
    assert measured.requests % clients == 0
    in_flight = measured.requests_per_s * measured.e2e_ms.mean / 1000
    assert in_flight == pytest.approx(clients, rel=0.1)


def test_a_round_of_an_open_loop_is_what_is_in_flight() -> None:
    """20 requests/s of 5 s each: 100 at once, and never fewer than a few, nor minutes of them."""
    load = Workload(input_tokens=16, output_tokens=5, rate=20)
    assert [measurement(load, latency_s=s).round_size for s in (0.0, 5.0, 1e6)] == [8, 100, 1200]
    how = measurement(load, latency_s=5.0)
    assert (how.warm_up, how.amount.requests) == (300, 400)


def test_an_answer_is_expected_to_take_what_the_plan_predicts() -> None:
    """By hand: 0.5 s to the first of 101 tokens and 20 ms to each of the others."""
    plan = small_plan(LOAD.model_copy(update={"output_tokens": 101}))
    first, later = (
        plan.prediction.ttft_distribution.model_copy(update={"mean": ms}) for ms in (500, 20)
    )
    told = {"ttft_distribution": first, "tpot_distribution": later}
    prediction = plan.prediction.model_copy(update=told)
    assert expected_latency_s(prediction, plan.workload) == pytest.approx(2.5)


@pytest.mark.slow
def test_an_open_loop_warms_up_longer_than_an_answer_takes() -> None:
    """Two rounds of what is in flight at once; a shorter warm-up is told."""
    load = Workload(input_tokens=16, output_tokens=5, rate=50)
    with serving(StandIn(ttft_s=0.3, itl_s=0.025)) as server:
        known = run(server, measurement(load, requests=8, latency_s=0.4), [])
        cut = run(server, measurement(load, requests=8, warm_up=1, latency_s=0.4), [])
    assert known.warm_up is not None
    assert known.warm_up.requests >= 2 * 20
    assert known.warm_up.seconds is not None
    assert known.warm_up.seconds > 0.4
    assert cut.warming_up


def test_targets_decide_how_much_is_measured() -> None:
    """A p99 needs 368 requests, in whole rounds of three; a p50 no more than there are anyway."""
    for at, requests in (("p99", 369), ("p50", 33)):
        load = LOAD.model_copy(update={"tpot": Target(ms=9, at=at)})
        assert measurement(load).amount.requests == requests


def test_prefix_hits_that_random_prompts_do_not_have_are_not_compared() -> None:
    """Both figures are shown, none has a place in the range, and the reason is kept."""
    load = LOAD.model_copy(update={"prefix_hit_rate": 0.5})
    with serving(StandIn()) as server:
        report = run(server, measurement(load, requests=3, warm_up=0), [])
    assert report.not_comparable is not None
    assert report.not_learned == report.not_comparable
    assert {row.place for row in report.rows} == {None}
    assert all(row.predicted for row in report.rows)


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
