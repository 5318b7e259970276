"""Rows are predicted in their order, each or the reason why not."""

import pytest

from tests.harness.runs import run
from tpdeploy.harness.backtest import prediction as backtest
from tpdeploy.harness.backtest.prediction import (
    Compared,
    Failed,
    Predicted,
    predict_row,
    predict_rows,
)


def test_a_row_is_predicted_with_range_and_source() -> None:
    """The means, a range around each, the rate that follows from them, and what was assumed."""
    told = predict_row(run(precision="fp8"))
    assert isinstance(told, Predicted)
    for compared, measured in ((told.ttft, 60), (told.tpot, 8)):
        assert 0 < compared.low < compared.predicted < compared.high
        assert compared.measured == measured
    # Eight clients, each from its request to its last token.
    request_s = (told.ttft.predicted + 127 * told.tpot.predicted) / 1000
    assert told.output_tokens_per_s.predicted == pytest.approx(8 * 128 / request_s, rel=0.1)
    assert "fp8 KV cache assumed" in told.source


def test_what_was_measured_does_not_move_the_prediction() -> None:
    """Other measurements, the same prediction."""
    first, second = predict_row(run()), predict_row(run(ttft_ms="1", tpot_ms="1000"))
    assert isinstance(first, Predicted)
    assert isinstance(second, Predicted)
    assert (first.ttft.predicted, first.tpot.low) == (second.ttft.predicted, second.tpot.low)


def test_a_row_that_cannot_be_predicted_says_why() -> None:
    """Too little memory is a reason like a wrong cell."""
    assert predict_row(run(tp="none")) == Failed("tp 'none': need a whole number from 1 to 100,000")
    small = predict_row(run(model="meta-llama/Llama-3.1-70B", gpu="T4"))
    assert isinstance(small, Failed)
    assert small.reason.startswith("does not fit")


def test_an_answer_of_one_token_has_no_tpot() -> None:
    """Zero, and nothing to hold it against."""
    told = predict_row(run(output_tokens="1"))
    assert isinstance(told, Predicted)
    assert told.tpot == Compared(0, 0, 0, None)
    assert told.ttft.predicted > 0


def test_tight_runs_are_predicted_with_more_memory() -> None:
    """Llama 70B in FP8 fits one H100 at 0.92 of its memory no more than barely; it did run."""
    told = predict_row(
        run(
            model="meta-llama/Llama-3.1-70B",
            precision="fp8",
            concurrency="1",
            input_tokens="100",
            engine="sglang",
        )
    )
    assert isinstance(told, Predicted)
    assert "97% of the memory assumed for sglang" in told.source


def test_processes_side_by_side_keep_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes give what one gives."""
    rows = [run(concurrency=str(n), tp="1" if n % 3 else "bad") for n in range(1, 9)]
    alone = predict_rows(rows)
    monkeypatch.setattr(backtest, "ROWS_A_PROCESS", 4)
    monkeypatch.setattr(backtest, "usable_cores", lambda: [0, 1])
    seen: list[None] = []
    assert predict_rows(rows, lambda: seen.append(None)) == alone
    assert len(seen) == len(rows)


def test_errors_are_relative_to_the_measurement() -> None:
    """Predicted / measured - 1; no measurement, no error and no range held."""
    assert Compared(12, 10, 14, 10).relative_error == pytest.approx(0.2)
    assert Compared(12, 10, 14, 10).in_range
    assert not Compared(12, 11, 14, 10).in_range
    assert Compared(12, 10, 14, None).relative_error is None
