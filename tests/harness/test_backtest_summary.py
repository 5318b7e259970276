"""The summary's figures, worked by hand."""

import pytest

from tests.harness.runs import run
from tpdeploy.harness.backtest.prediction import Compared, Failed, Predicted
from tpdeploy.harness.backtest.summary import errors, summarise

RATE = Compared(50, 40, 60, None)
FASTER = Predicted(Compared(90, 80, 101, 100), Compared(5, 4, 6, 10), RATE, "model")
SLOWER = Predicted(Compared(130, 110, 150, 100), Compared(12, 9, 13, 10), RATE, "model")


def test_errors_are_median_mean_and_signed() -> None:
    """Errors of -10, +30 and +20 %, one of three in range."""
    compared = [FASTER.ttft, SLOWER.ttft, Compared(120, 110, 130, 100), Compared(1, 1, 1, None)]
    found = errors(compared)
    assert found is not None
    assert found.rows == 3
    assert found.median_absolute_percent == pytest.approx(20)
    assert found.mean_absolute_percent == pytest.approx(20)
    assert found.median_signed_percent == pytest.approx(20)
    assert found.in_range_percent == pytest.approx(100 / 3)
    assert errors([Compared(1, 1, 1, None)]) is None


def test_rows_are_grouped_by_engine_gpu_model_and_width() -> None:
    """Every group counts its rows, predicted or not; widths are in the order of numbers."""
    rows = [run(tp="8"), run(tp="16", engine="sglang"), run(tp="8", model="none")]
    summary = summarise("runs.csv", rows, [FASTER, SLOWER, Failed("unknown model 'none'")])
    counted = {(g.by, g.name): (g.predicted, g.rows) for g in summary.groups}
    assert counted[("all", "all")] == (2, 3)
    assert counted[("engine", "vllm")] == (1, 2)
    assert counted[("model", "none")] == (0, 1)
    assert [g.name for g in summary.groups if g.by == "tp"] == ["8", "16"]
    assert summary.groups[0].by == "all"
    none = next(g for g in summary.groups if g.name == "none")
    assert none.ttft is none.tpot is none.output_tokens_per_s is None


def test_reasons_are_counted() -> None:
    """The most frequent first."""
    failed = [Failed("a"), Failed("b"), Failed("b")]
    summary = summarise("runs.csv", [run()] * 3, failed)
    assert [(each.reason, each.rows) for each in summary.unpredicted] == [("b", 2), ("a", 1)]
