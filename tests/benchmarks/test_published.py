"""The published runs are predicted no worse than the committed figures say, and the docs say."""

from collections.abc import Callable

import pytest

from benchmarks.accuracy import (
    COMMITTED,
    PAGE,
    TABLES,
    Accuracy,
    Choice,
    Error,
    Figures,
    page,
    sampled,
    worse,
)
from tpdeploy.records import read_record

WAS = Figures(
    rows=100,
    predicted=99,
    ttft=Error(median_percent=20, in_range_percent=90),
    tpot=Error(median_percent=9, in_range_percent=75),
    choice=Choice(cases=50, right_percent=88),
)


@pytest.mark.parametrize("table", TABLES)
def test_a_sample_is_predicted_no_worse_than_committed(table: str) -> None:
    """A wrong factor anywhere shows; `python -m benchmarks.accuracy` takes every row."""
    committed = read_record(COMMITTED, Accuracy).tables[table].sample
    assert list(worse(sampled(table), committed)) == []


def test_the_page_shows_what_is_committed() -> None:
    """`python -m benchmarks.accuracy --write` keeps the rows of docs/backtest.md."""
    text, accuracy = PAGE.read_text(encoding="utf-8"), read_record(COMMITTED, Accuracy)
    assert page(text, accuracy) == text
    assert all(text.count(f"| `{table}` |") == 1 for table in TABLES)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("predicted", lambda _: 98, "98 rows predicted of 100, were 99"),
        ("ttft", lambda e: e.model_copy(update={"median_percent": 20.1}), "ttft: median error"),
        ("ttft", lambda e: e.model_copy(update={"in_range_percent": 79}), "ttft: 79 % in range"),
        ("tpot", lambda e: e.model_copy(update={"in_range_percent": 74}), "tpot: 74 % in range"),
        ("tpot", lambda _: None, "tpot: not predicted any more"),
        ("choice", lambda c: c.model_copy(update={"right_percent": 86}), "choice: 86 % right"),
        ("choice", lambda _: None, "choice: 0.0 % right"),
    ],
)
def test_each_figure_that_is_worse_is_told(
    name: str, change: Callable[..., object], told: str
) -> None:
    """One line for each figure, with what it was."""
    (problem,) = worse(WAS.model_copy(update={name: change(getattr(WAS, name))}), WAS)
    assert told in problem


def test_better_figures_and_narrower_ranges_pass() -> None:
    """Only what is worse fails; a range that held nine of ten may hold four of five."""
    better = WAS.model_copy(
        update={
            "ttft": Error(median_percent=18, in_range_percent=80),
            "choice": Choice(cases=40, right_percent=90),
        }
    )
    assert list(worse(better, WAS)) == []
