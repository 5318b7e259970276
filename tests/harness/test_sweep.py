"""Several loads of one deployment."""

import pytest

from tests.harness.plans import prediction, small_plan
from tests.harness.sweeps import LOAD, measured, sweep
from tpdeploy.errors import InputError
from tpdeploy.harness.measure.sweep import SweepReport, loads_of, predicted
from tpdeploy.planner.search.replay import load_of
from tpdeploy.planner.workload import Workload

RATE = Workload(input_tokens=16, output_tokens=4, rate=1)


def test_loads_come_lightest_first_and_once() -> None:
    """However they are written."""
    assert [load.concurrency for load in loads_of("8, 1,2,8", LOAD)] == [1, 2, 8]


def test_loads_of_a_rate_are_rates() -> None:
    """They need not be whole."""
    assert [load_of(load) for load in loads_of("0.5,2", RATE)] == [0.5, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "give requests in flight with commas between, as 1,2,4,8"),
        ("1;2", "give requests in flight"),
        ("1.5", "give requests in flight"),
        ("0,1", "must be greater than 0"),
        ("-1", "must be greater than 0"),
    ],
)
def test_what_is_no_load_is_refused(text: str, words: str) -> None:
    """One line with the option, the value and what would work."""
    with pytest.raises(InputError, match=f"^--sweep {text}: .*{words}"):
        loads_of(text, LOAD)


@pytest.mark.parametrize("text", ["nan", "inf", "1,nan"])
def test_a_rate_is_a_finite_number(text: str) -> None:
    """Python reads these as numbers; they are no rates."""
    with pytest.raises(InputError, match="requests/s must be greater than 0"):
        loads_of(text, RATE)


def test_each_load_is_held_to_the_prediction_for_it() -> None:
    """A report measured without a prediction gets it, its figures staying as they are."""
    report = measured(8, 0.1, 100)
    assert {row.predicted for row in report.rows} == {None}
    held = predicted(report, prediction(ttft_ms=70))
    assert held.rows[0].predicted is not None
    assert held.rows[0].predicted.value == 70
    assert held.measured == report.measured


def test_the_knee_and_how_far_the_targets_hold() -> None:
    """Throughput stops to grow after 4 in flight; TTFT leaves its 200 ms after 2."""
    found = sweep([(1, 0.1, 100), (2, 0.15, 190), (4, 0.25, 350), (8, 0.5, 370)])
    assert found.knee == 4
    assert found.within_targets == 2
    assert found.verdict == "fail"
    assert [point.verdict for point in found.points] == ["pass", "pass", "fail", "fail"]


def test_targets_met_again_at_a_heavier_load_do_not_count() -> None:
    """Beyond the first miss nothing is promised."""
    found = sweep([(1, 0.3, 100), (2, 0.1, 190)])
    assert found.within_targets is None
    assert found.knee is None


def test_without_targets_there_is_no_verdict() -> None:
    """Nothing can be missed."""
    plan = small_plan(LOAD.model_copy(update={"ttft": None}))
    found = sweep([(1, 0.3, 100), (2, 0.1, 190)], plan)
    assert found.verdict == "no target"
    assert found.within_targets is None


def test_at_rates_the_knee_is_the_last_that_is_served() -> None:
    """4 requests/s offered, next to none served: the deployment ends at 2."""
    found = sweep([(1, 0.1, 4), (2, 0.1, 8), (4, 0.1, 0.01)], small_plan(RATE))
    assert found.knee == 2
    assert "95 %" in found.definitions["knee"]


def test_a_sweep_survives_being_written_and_read() -> None:
    """JSON and back gives an equal record."""
    found = sweep([(1, 0.1, 100), (2, 0.1, 190)])
    assert SweepReport.model_validate_json(found.model_dump_json()) == found
