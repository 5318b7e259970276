"""The choice benchmark's cases and verdicts, on runs made up so that the answers are known."""

from dataclasses import replace

import pytest

from benchmarks.choice import Case, Option, Run, cases, narrowest, ours, usable_runs, widest
from tests.harness.runs import run
from tpdeploy.harness.backtest.prediction import predict_rows
from tpdeploy.harness.backtest.table import Row

SAME = ("vllm", "model", "", "H100", "1024", "128")
# One replica of eight GPUs was faster; four replicas of two were predicted to be.
EIGHT = Option(
    8, measured_per_s=1000, measured_tpot_ms=10, predicted_per_s=900, predicted_tpot_ms=9
)
TWO = Option(2, measured_per_s=940, measured_tpot_ms=20, predicted_per_s=950, predicted_tpot_ms=21)


def measured(width: int, clients: int, per_s: float, tpot_ms: float = 10) -> Run:
    return Run(SAME, width, clients, per_s, tpot_ms, per_s, tpot_ms)


def usable(rows: list[Row]) -> list[Run]:
    return usable_runs(rows, predict_rows(rows))


def test_a_case_compares_widths_at_their_share_of_the_load() -> None:
    """64 requests: all on one group of eight GPUs, or 16 on each of four groups of two."""
    runs = [measured(8, 64, 900), measured(2, 16, 300), measured(2, 64, 500), measured(4, 64, 700)]
    (case,), _ = cases(runs)
    assert case.clients == 64
    assert [(o.width, o.measured_per_s) for o in case.options] == [(2, 1200), (8, 900)]


def test_the_widest_measured_group_counts_where_none_has_eight() -> None:
    """Widths of 1 and 2 are two and one replicas on two GPUs."""
    (case,), _ = cases([measured(2, 8, 100), measured(1, 4, 70)])
    assert [(o.width, o.measured_per_s) for o in case.options] == [(1, 140), (2, 100)]


def test_the_fastest_of_equal_runs_counts() -> None:
    """Several runs of a width and load are one option."""
    (case,), _ = cases([measured(2, 8, 100), measured(2, 8, 110), measured(1, 4, 70)])
    assert max(o.measured_per_s for o in case.options if o.width == 2) == 110


def test_a_pick_within_five_percent_is_right() -> None:
    """94 % of the best is wrong, 96 % is right."""
    case = Case(SAME, 64, (TWO, EIGHT))
    assert ours(case) is TWO
    assert not case.right(ours)
    assert Case(SAME, 64, (replace(TWO, measured_per_s=960), EIGHT)).right(ours)
    assert case.right(widest)
    assert not case.right(narrowest)


def test_a_limit_binds_the_pick_and_the_best() -> None:
    """At 15 ms only eight GPUs keep it; at 5 ms none does, and the least TPOT is picked."""
    bound = Case(SAME, 64, (TWO, EIGHT), limit_ms=15)
    assert ours(bound) is EIGHT
    assert bound.right(ours)
    assert not bound.right(narrowest)
    assert ours(replace(bound, limit_ms=5)) is EIGHT
    assert not replace(bound, limit_ms=5).possible


def test_limits_are_quartiles_that_some_width_kept() -> None:
    """Of TPOT 10 and 20 ms: 12.5, 15 and 17.5, all kept by the first."""
    free, limited = cases([measured(2, 8, 100, 10), measured(1, 4, 70, 20)])
    assert len(free) == 1
    assert [case.limit_ms for case in limited] == [12.5, 15, 17.5]


def test_rates_follow_from_the_measured_latency() -> None:
    """8 requests of 128 tokens, 60 ms and 127 x 8 ms each."""
    (found,) = usable([run()])
    assert found.measured_per_s == pytest.approx(8 * 128 / (0.060 + 127 * 0.008))
    assert (found.width, found.clients) == (1, 8)


def test_runs_of_tokens_per_s_alone_are_compared_by_gpu() -> None:
    """Given all requests at once, widths need no share of a load; there is no limit to keep."""
    both = ("1", "900"), ("2", "1700")
    rows: list[Row] = [
        {**run(tp=tp, ttft_ms="", tpot_ms="", concurrency="2048"), "output_tokens_per_s": rate}
        for tp, rate in both
    ]
    (case,), limited = cases(usable(rows))
    assert [(o.width, o.measured_per_s) for o in case.options] == [(1, 1800), (2, 1700)]
    assert limited == []


def test_rows_of_several_replicas_or_without_measurement_do_not_count() -> None:
    """Only one tensor-parallel group with both latencies says what its width does."""
    assert usable([run(dp="2"), run(pp="2"), run(tpot_ms=""), run(gpu="none")]) == []
