"""The gain from a doubled width, worked by hand."""

import pytest

from tests.harness.runs import run
from tpdeploy.harness.backtest.doubling import doublings
from tpdeploy.harness.backtest.prediction import Compared, Failed, Predicted, Result

NOTHING = Compared(1, 1, 1, None)


def rate(measured: float, predicted: float) -> Predicted:
    """A prediction of tokens/s alone."""
    return Predicted(NOTHING, NOTHING, Compared(predicted, 1, 1000, measured), "model")


def test_a_gain_is_held_against_the_one_measured() -> None:
    """1.5 predicted for 1.2 is 25 % too much, 1.2 for 1.25 is 4 % too little: a tie."""
    rows = [run(tp="1"), run(tp="2.0", dp=""), run(tp="4")]
    one_two, two_four, every = doublings(rows, [rate(100, 100), rate(120, 150), rate(150, 180)])
    assert (one_two.name, two_four.name, every.name) == ("1 to 2", "2 to 4", "all")
    assert one_two.median_signed_percent == pytest.approx(25)
    assert two_four.median_signed_percent == pytest.approx(-4)
    assert two_four.within_tie_percent == 100
    assert every.pairs == 2
    assert every.median_absolute_percent == pytest.approx(14.5)
    assert every.within_tie_percent == 50


def test_tokens_per_s_come_from_latencies_where_only_these_are_stated() -> None:
    """8 in flight, 128 tokens in 60 ms + 127 x 8 ms: 952 tokens/s."""
    slow = Predicted(
        Compared(1, 1, 1, 60), Compared(1, 1, 1, 8), Compared(952, 1, 1, None), "model"
    )
    found = doublings([run(tp="1"), run(tp="2")], [slow, rate(952, 952)])
    assert found[-1].median_absolute_percent == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    "other",
    [
        {"concurrency": "16"},
        {"dp": "2"},
        {"pp": "2"},
        {"gpu": "H200 SXM 141GB"},
        {"family": "another"},
        {"request_rate": "3"},
        {"tp": "4"},
    ],
)
def test_runs_that_differ_in_more_than_a_doubled_width_are_not_compared(
    other: dict[str, str],
) -> None:
    """Another load, split, GPU or source, and a width that is not the double."""
    rows = [run(tp="1"), run(**{"tp": "2"} | other)]
    assert doublings(rows, [rate(100, 100), rate(120, 150)]) == ()


def test_runs_without_a_figure_are_not_compared() -> None:
    """One that cannot be predicted, and one at a stated rate."""
    failed: list[Result] = [rate(100, 100), Failed("unknown model 'none'")]
    assert doublings([run(tp="1"), run(tp="2")], failed) == ()
