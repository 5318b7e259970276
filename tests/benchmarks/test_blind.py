"""The blind score: what it counts, and that the page shows what was committed."""

from pathlib import Path

import pytest

from benchmarks.blind import SCORES, Scores, misses, runs, score
from benchmarks.choice import cases
from tpdeploy.harness.backtest.prediction import Compared, Predicted
from tpdeploy.harness.backtest.table import Row, usable
from tpdeploy.records import read_record

PAGE = Path(__file__).resolve().parents[2] / "docs" / "backtest.md"


def told(measured: float, predicted: float) -> Predicted:
    """A prediction of tokens/s alone."""
    nothing = Compared(1.0, 1.0, 1.0, None)
    rate = Compared(predicted, predicted / 2, predicted * 2, measured)
    return Predicted(nothing, nothing, rate, "")


def row(tp: int, concurrency: int, **more: str) -> Row:
    """A row of one replica under a load."""
    columns = ("engine", "model", "precision", "gpu", "input_tokens", "output_tokens")
    known = dict.fromkeys(columns, "8") | {"pp": "1", "dp": "1"}
    return known | {"tp": str(tp), "concurrency": str(concurrency)} | more


def test_doubtful_rows_do_not_count() -> None:
    """Rows that say they are impossible or doubtful are left out; others are not."""
    assert not usable({"note": "impossible (bytes); static batch"})
    assert not usable({"note": "doubtful (model)"})
    assert usable({"note": "static batch"})
    assert usable({})


def test_scaling_is_the_gain_predicted_over_that_measured() -> None:
    """Doubling at one load: a gain of 1.5 predicted for 1.2 measured is 25 % too much."""
    pairs = [(row(1, 16), told(100, 100)), (row(2, 16), told(120, 150))]
    found = score("two", pairs)
    assert found.scaling is not None
    assert found.scaling.signed_percent == pytest.approx(25.0)


def test_a_pick_of_the_wider_group_counts_as_too_wide() -> None:
    """Two replicas measured more than one group of two that was predicted to be the best."""
    pairs = [(row(1, 8), told(100, 100)), (row(2, 16), told(150, 250))]
    assert misses(cases(runs(pairs))[0]) == (1, 0)


def test_sources_are_not_compared_with_each_other() -> None:
    """Two widths of different sources or versions are no case."""
    pairs = [
        (row(1, 8, family="a"), told(100, 100)),
        (row(2, 16, family="b"), told(150, 250)),
    ]
    assert cases(runs(pairs))[0] == []


def test_the_page_shows_every_committed_score() -> None:
    """Each score in blind.yaml is a row of docs/backtest.md."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert [s.row for s in read_record(SCORES, Scores).scores if s.row not in lines] == []
