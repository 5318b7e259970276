"""Validations kept on a machine teach its plans."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path

import pytest

from tests.harness.sweeps import measured
from tests.planner.inputs import VLLM, ask
from tpdeploy.backends.inputs import inputs_of
from tpdeploy.cli.commands.learn import in_words
from tpdeploy.errors import InputError
from tpdeploy.harness.measure import relearning as learning
from tpdeploy.harness.measure.history import history
from tpdeploy.harness.measure.relearning import Taught, relearn
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.harness.measure.teaching import NOT_KNOWN
from tpdeploy.learning import corrections as learned
from tpdeploy.learning.applied import with_engine_here
from tpdeploy.learning.corrections import Factors, corrected
from tpdeploy.learning.fit import Errors, Learned, Run, median_errors
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.replay import at_load, replay
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model

LOAD = Workload(input_tokens=1024, output_tokens=8, concurrency=2)
# Not the machine that runs the tests: what is predicted for that depends on its cores.
GPU, GPUS, MODEL = "H100-SXM-80GB", "1xH100", "llama-8b"
SLOW = Factors(memory=0.5, compute=0.6)
BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
uncorrected = partial(inputs_of, corrected=False)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def known_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fit where it is not what is tested: runs teach the factors behind them."""

    def fitted(_: Sequence[Run]) -> Learned:
        return Learned(SLOW, Errors(0.5, 0.5), Errors(0.01, 0.01), Errors(0.05, 0.05))

    monkeypatch.setattr(learning, "learn", fitted)


@cache
def planned() -> DeploymentPlan:
    inputs = ask(MODEL, GPUS, workload=LOAD, engine=replace(VLLM, memory_fraction=0.9))
    return plan(inputs, search(inputs))


def keep(home: Path, report: ValidationReport, minute: int = 0, **changes: object) -> None:
    """As `validate` keeps it."""
    at = BEGUN + timedelta(minutes=minute)
    kept = report.model_copy(update={"started_at": at, "not_learned": None, **changes})
    folder = home / "validations"
    folder.mkdir(exist_ok=True)
    (folder / f"{at:%Y%m%dT%H%M%S}.json").write_text(kept.model_dump_json())


def run_of(
    made: DeploymentPlan, load: float, factors: Factors, times: float = 1.0
) -> ValidationReport:
    """Measured where `factors` hold, in that run some `times` slower."""
    inputs = uncorrected(made)
    efficiency = corrected(inputs.cluster.efficiency, factors)
    cluster = inputs.cluster.model_copy(update={"efficiency": efficiency})
    found = replay(replace(inputs, cluster=cluster), made, at_load(LOAD, load))
    ttft, tpot = found.ttft_distribution.mean * times, found.tpot_distribution.mean * times
    report = measured(load, ttft / 1000, 50.0, made)
    assert report.measured.tpot_ms is not None
    later = report.measured.tpot_ms.model_copy(update={"mean": tpot})
    figures = report.measured.model_copy(update={"tpot_ms": later})
    return report.model_copy(update={"measured": figures})


def slow_run(made: DeploymentPlan, load: float = 2, times: float = 1.0) -> ValidationReport:
    """Measured on a machine that is as slow as SLOW."""
    return run_of(made, load, SLOW, times)


def learned_from(home: Path, made: DeploymentPlan, *loads: float) -> Taught:
    """What slow runs under `loads` teach, one a minute."""
    for minute, load in enumerate(loads):
        keep(home, slow_run(made, load), minute)
    (taught,) = relearn("vllm", GPU, uncorrected)
    return taught


@pytest.mark.slow
def test_plans_are_corrected_by_what_was_measured(home: Path) -> None:
    """The same plan predicted again is nearer, names the runs, and its range is narrower."""
    made = planned()
    taught = learned_from(home, made, 1, 2, 4)
    assert taught.kept == "new"
    assert (taught.correction.runs, taught.correction.models) == (3, (made.model.id,))
    before, after = (replay(inputs, made, LOAD) for inputs in (uncorrected(made), inputs_of(made)))
    true = slow_run(made).measured.ttft_ms.mean
    wrong, right = (abs(told.ttft_distribution.mean / true - 1) for told in (before, after))
    assert wrong > 0.25
    assert right < 0.05
    assert "corrected by 3 runs measured here, the last on 2026-01-02" in after.ttft_ms.source
    assert after.tpot_ms.high / after.tpot_ms.value < before.tpot_ms.high / before.tpot_ms.value


@pytest.mark.slow
def test_one_run_narrows_no_range(home: Path) -> None:
    """What other runs would show is not known yet."""
    made = planned()
    learned_from(home, made, 2)
    known = uncorrected(made).cluster.efficiency.errors
    found = inputs_of(made).cluster.efficiency.errors
    assert found.ttft >= known.ttft - 1e-9
    assert found.tpot >= known.tpot - 1e-9


@pytest.mark.slow
def test_ranges_cover_the_spread_that_was_seen(home: Path) -> None:
    """Runs that contradict each other by a factor of two leave a range that holds them."""
    made, spread = planned(), [(1, 1.0), (2, 2.0), (3, 1.0), (4, 2.0)]
    for minute, (load, times) in enumerate(spread):
        keep(home, slow_run(made, load, times), minute)
    relearn("vllm", GPU, uncorrected)
    for load, times in spread:
        found = replay(inputs_of(made), made, at_load(LOAD, load)).ttft_ms
        assert found.low <= slow_run(made, load, times).measured.ttft_ms.mean <= found.high


def test_a_fit_that_lowers_no_error_is_not_kept(home: Path) -> None:
    """Runs that are what the catalog says: nothing is to be corrected, and nothing is."""
    keep(home, run_of(planned(), 2, Factors()))
    (taught,) = relearn("vllm", GPU, uncorrected)
    assert taught.kept == "none"
    assert "plans use no correction" in in_words(taught)
    assert not list(home.glob("learned/**/*.json"))


@pytest.mark.usefixtures("known_factors")
def test_the_correction_before_stays_where_the_new_fit_is_no_better(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it is still nearer than none on the runs there are."""
    made = planned()
    before = learned_from(home, made, 1, 2).correction
    monkeypatch.setattr(learning, "learn", no_better)
    (taught,) = relearn("vllm", GPU, uncorrected)
    assert taught.kept == "old"
    assert "the correction before it stays" in in_words(taught)
    inputs = uncorrected(made)
    assert learned.find(inputs.cluster, inputs.shape) == before


def no_better(runs: Sequence[Run]) -> Learned:
    """A fit that changes nothing."""
    error = median_errors(runs, Factors())
    return Learned(Factors(), error, error, error)


@pytest.mark.usefixtures("known_factors")
def test_confidence_takes_runs_of_several_loads_over_time(home: Path) -> None:
    """Many runs of a quarter of an hour are never high; other models are trusted one less."""
    correction = learned_from(home, planned(), 1, 2, 3, 4, 5, 6).correction
    assert (correction.runs, correction.loads, correction.span_s) == (6, 6, 300)
    late = correction.model_copy(update={"last": BEGUN + timedelta(hours=2)})
    few = late.model_copy(update={"runs": 2})
    alike = late.model_copy(update={"loads": 1})
    for given, known, other in (
        (correction, "medium", "low"),
        (late, "high", "medium"),
        (few, "low", "low"),
        (alike, "low", "low"),
    ):
        assert learned.confidence(given, "low", known=True) == known
        assert learned.confidence(given, "low", known=False) == other
    assert learned.confidence(few, "high", known=True) == "medium"


@pytest.mark.usefixtures("known_factors")
def test_a_load_measured_twice_counts_twice_of_one_engine(home: Path) -> None:
    """And not of an engine that was replaced since."""
    made = planned()
    for minute, version in enumerate(("1", "2", "2", "2")):
        keep(home, slow_run(made), minute, versions={"server": version})
    (taught,) = relearn("vllm", GPU, uncorrected)
    assert (taught.correction.runs, taught.correction.loads) == (2, 1)
    assert taught.correction.first == BEGUN + timedelta(minutes=2)
    keep(home, slow_run(made), 9, versions={"server": "3"})
    (taught,) = relearn("vllm", GPU, uncorrected)
    assert taught.correction.runs == 1


@pytest.mark.usefixtures("known_factors")
def test_other_models_of_the_class_are_corrected_with_less_trust(home: Path) -> None:
    """The range of a model that no run was of stays wider; another class is not touched."""
    learned_from(home, planned(), 1, 2, 4)
    same, other, experts = (
        with_engine_here(parse_gpus(GPUS), "vllm", load_model(name))
        for name in (MODEL, "qwen3-0.6b", "qwen3-30b-a3b")
    )
    assert same.efficiency.serving == other.efficiency.serving
    assert same.efficiency.errors.tpot <= other.efficiency.errors.tpot
    recorded = parse_gpus(GPUS).efficiency.errors.tpot
    assert other.efficiency.errors.tpot >= min(learned.OTHER_MODELS_ERROR, recorded)
    assert experts.measured == ()


def test_runs_that_tell_nothing_of_this_machine_are_left_out(home: Path) -> None:
    """Other endpoints', other tools', other loads than are simulated."""
    keep(home, slow_run(planned()), not_learned=NOT_KNOWN)
    assert relearn("vllm", GPU, uncorrected) == []
    keep(home, slow_run(planned()), 1)
    assert relearn("tensorrt-llm", GPU, uncorrected) == []


@pytest.mark.usefixtures("known_factors")
def test_the_newest_run_of_each_load_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run repeated after a driver's update replaces the older one; there is an upper limit."""
    monkeypatch.setattr(learning, "MOST_RUNS", 3)
    made = planned()
    keep(home, measured(2, 9.0, 50.0, made), minute=0)
    for minute in range(1, 6):
        keep(home, slow_run(made, load=minute), minute=minute)
    (taught,) = relearn("vllm", GPU, uncorrected)
    assert taught.correction.runs == 3
    assert taught.correction.last == BEGUN + timedelta(minutes=5)


@pytest.mark.usefixtures("known_factors")
def test_a_correction_is_dropped_when_the_machine_is_measured_anew(home: Path) -> None:
    """It corrects what was known when it was learned, nothing else."""
    correction = learned_from(home, planned(), 2).correction
    learned.keep(correction.model_copy(update={"base": ("kernels measured",)}))
    cluster = with_engine_here(parse_gpus(GPUS), "vllm", load_model(MODEL))
    assert cluster.measured == ()


@pytest.mark.usefixtures("known_factors")
def test_models_that_are_gone_and_files_of_other_versions_are_passed_over(home: Path) -> None:
    """Nothing of them is learned, and nothing fails."""
    keep(home, slow_run(planned()))
    (home / "validations" / "20270101T000000.json").write_text('{"version": 7}')

    def gone(_: DeploymentPlan) -> None:
        raise InputError("no such folder")

    assert relearn("vllm", GPU, gone) == []  # type: ignore[arg-type]
    assert len(relearn("vllm", GPU, uncorrected)) == 1


@pytest.mark.usefixtures("known_factors")
def test_a_broken_correction_is_told_with_its_remedy(home: Path) -> None:
    """Its path, and what to do."""
    correction = learned_from(home, planned(), 2).correction
    learned.keep(correction).write_text("{}")
    with pytest.raises(InputError, match=r"dense.json: .*remove it, and validate again"):
        with_engine_here(parse_gpus(GPUS), "vllm", load_model(MODEL))


def test_history_holds_what_was_predicted_and_measured(home: Path) -> None:
    """Newest first; no error where nothing was predicted."""
    made = planned()
    keep(home, measured(2, 0.5, 50.0, made), minute=0)
    keep(home, measured(4, 0.5, 50.0, made), minute=1)
    newest, oldest = history().entries
    assert newest.workload.concurrency == 4
    assert (oldest.ttft.measured, oldest.ttft.predicted, oldest.ttft.error) == (500, None, None)
    assert oldest.source == made.prediction.ttft_ms.source
