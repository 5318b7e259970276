"""The published runs are predicted no worse than the committed figures say, and the docs say."""

from collections.abc import Callable

import pytest

from benchmarks.accuracy import (
    COMMITTED,
    PAGE,
    TABLES,
    Accuracy,
    Choice,
    Doubled,
    Error,
    Figures,
    Shown,
    page,
    sampled,
    worse,
    worse_table,
)
from tests.tiers import tiered
from tpdeploy.records import read_record

WAS = Figures(
    rows=100,
    predicted=99,
    ttft=Error(median_percent=20, in_range_percent=90),
    tpot=Error(median_percent=9, in_range_percent=75),
)
PICKED = Shown(groups={"all": WAS}, sample={}, choice=Choice(cases=50, right_percent=88))


@pytest.mark.parametrize("table", tiered(TABLES, ["tensorrt-llm-static.csv"]))
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
        (
            "ttft",
            lambda e: e.model_copy(update={"in_range_percent": 79}),
            "ttft: 79 % in range, were 90.0 %",
        ),
        ("tpot", lambda e: e.model_copy(update={"in_range_percent": 74}), "tpot: 74 % in range"),
        ("tpot", lambda _: None, "tpot: not predicted any more"),
    ],
)
def test_each_figure_that_is_worse_is_told(
    name: str, change: Callable[..., object], told: str
) -> None:
    """One line for each figure, with what it was."""
    now = WAS.model_copy(update={name: change(getattr(WAS, name))})
    (problem,) = worse({"all": WAS, "vllm": now}, {"all": WAS, "vllm": WAS})
    assert problem.startswith(f"vllm: {told}")


def test_wrong_picks_and_groups_without_rows_are_told() -> None:
    """A share of right choices that falls, and what is not predicted at all any more."""
    fewer = PICKED.model_copy(update={"choice": Choice(cases=50, right_percent=86)})
    assert list(worse_table(fewer, PICKED)) == ["choice: 86.0 % right, were 88.0 %"]
    gone = PICKED.model_copy(update={"groups": {}, "choice": None})
    assert list(worse_table(gone, PICKED)) == [
        "all: no rows",
        "choice: 0.0 % right, were 88.0 %",
    ]


def test_a_gain_from_doubled_width_that_is_missed_by_more_is_told() -> None:
    """It decides between TP and replicas."""
    known = Doubled(pairs=9, median_percent=3.4, signed_percent=0.4)
    was = PICKED.model_copy(update={"doubled": known})
    worse = known.model_copy(update={"median_percent": 4.1})
    assert list(worse_table(PICKED.model_copy(update={"doubled": worse}), was)) == [
        "gain from doubled TP: median error 4.1 %, was 3.4 %"
    ]
    assert list(worse_table(was, was)) == []


def test_better_figures_and_narrower_ranges_pass() -> None:
    """Only what is worse fails; a range that held nine of ten may hold four of five."""
    narrower = WAS.model_copy(update={"ttft": Error(median_percent=18, in_range_percent=80)})
    better = Shown(groups={"all": narrower}, sample={}, choice=Choice(cases=40, right_percent=90))
    assert list(worse_table(better, PICKED)) == []
