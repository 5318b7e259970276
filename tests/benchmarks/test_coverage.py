"""How often ranges hold is told by class of runs, and ranges are those that four of five keep."""

from collections.abc import Mapping

import pytest

from benchmarks.coverage import (
    ENOUGH,
    Covered,
    Kind,
    Within,
    covered,
    kind_of_run,
    lines,
    of_today,
    out_of_band,
)
from tests.harness.runs import run
from tests.scripts import script
from tpdeploy.harness.backtest.prediction import Compared, Predicted

fit_ranges = script("fit_ranges")
HERE = Kind("vllm", "hopper", "dense", joined=True)


def told(measured: float) -> Predicted:
    """A prediction of 10 in all figures, from 8 to 12.5; TPOT was measured."""
    figure = Compared(10, 8, 12.5, None)
    return Predicted(figure, Compared(10, 8, 12.5, measured), figure, "")


def offs(kind: Kind, source: str, sizes: Mapping[float, int]) -> list[object]:
    """So many runs of a kind whose TPOT is off by each of `sizes`."""
    return [
        fit_ranges.Run(source, kind, {"tpot": size})
        for size, count in sizes.items()
        for _ in range(count)
    ]


def test_a_run_is_of_a_class_by_engine_gpu_and_width() -> None:
    """Experts count as a kind of model; earlier releases that are recorded are not today's."""
    row = run(model="qwen3-30b-a3b", gpu="H200 SXM 141GB", gpu_count="2", tp="2")
    assert kind_of_run(row) == Kind("vllm", "hopper", "experts", joined=True)
    assert kind_of_run(row).name == "vllm, hopper, joined"
    assert of_today({**row, "engine_version": "", "date": ""})
    assert not of_today({**row, "engine_version": "0.5.4", "date": ""})


def test_the_share_in_range_is_counted_by_class() -> None:
    """Of two runs of one class, one lies in its range; sources are their families."""
    row = run(gpu="H200 SXM 141GB") | {"engine_version": "", "date": ""}
    found = covered({"a": [(row, told(9.0)), (row | {"family": "lab x"}, told(20.0))]})
    assert found == {"vllm, hopper, alone": Covered(sources=2, tpot=Within(rows=2, percent=50))}
    *_, line = lines(found, {})
    assert line == "| vllm, hopper, alone | | 50 % of 2 | | | | |"


@pytest.mark.parametrize(
    ("rows", "percent", "passes"),
    [(ENOUGH, 74, False), (ENOUGH, 76, True), (ENOUGH, 86, False), (ENOUGH - 1, 50, True)],
)
def test_a_class_with_enough_runs_stays_in_the_band(rows: int, percent: int, passes: bool) -> None:
    """Neither too few runs in range nor too many; with few runs, chance decides."""
    found = {"x": Covered(sources=1, ttft=Within(rows=rows, percent=percent))}
    assert (list(out_of_band(found)) == []) is passes


def test_a_range_holds_four_of_five_runs_of_its_kind() -> None:
    """Other classes do not count where there are enough runs."""
    runs = offs(HERE, "a", {0.1: 16, 0.5: 4, 0.9: 4})
    elsewhere = offs(Kind("vllm", "ampere", "dense", joined=True), "b", {2.0: 40})
    assert fit_ranges.learned("tpot", runs + elsewhere, HERE) == pytest.approx(0.649)  # e^0.5 - 1


def test_few_runs_take_the_widest_range_of_what_they_are_part_of() -> None:
    """Of their own, of their class, and of their kind elsewhere."""
    own = offs(HERE, "a", {0.1: 6})
    of_class = offs(Kind("vllm", "hopper", "experts", joined=True), "a", {0.3: 20})
    alike = offs(Kind("vllm", "ampere", "dense", joined=True), "b", {0.5: 20})
    learned = fit_ranges.learned
    assert learned("tpot", own, HERE) == pytest.approx(0.105)
    assert learned("tpot", own + of_class, HERE) == pytest.approx(0.35)
    assert learned("tpot", own + of_class + alike, HERE) == pytest.approx(0.649)
    assert learned("tpot", own[:2], HERE) is None


def test_a_class_with_few_runs_is_not_judged_better_than_it_was_found() -> None:
    """By what other classes tell of its kind; with many runs of another kind, it is."""
    alike = offs(Kind("vllm", "ampere", "dense", joined=True), "b", {0.1: 20})
    few = offs(HERE, "a", {0.1: 2})
    many = offs(Kind("vllm", "hopper", "experts", joined=True), "a", {0.05: 20})
    assert fit_ranges.part(0.5, 1.0, few + alike, HERE).tpot == 0.5
    assert fit_ranges.part(0.5, 1.0, many + alike, HERE).tpot == pytest.approx(0.105)


def test_a_source_is_judged_by_the_ranges_of_the_others() -> None:
    """Twenty runs near, twenty far: the far ones are out of what the near ones tell."""
    near, far = offs(HERE, "a", {0.1: 20}), offs(HERE, "b", {0.9: 20})
    assert fit_ranges.share_left_out(near + far, far) == 0
    assert fit_ranges.share_left_out(near + far, near) == 1
    assert fit_ranges.share_left_out(near, near) is None
