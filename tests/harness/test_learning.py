"""Validations kept on a machine teach its plans."""

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.harness.sweeps import measured
from tests.planner.questions import ask
from tpdeploy.backends.question import question_of
from tpdeploy.errors import InputError
from tpdeploy.harness.history import history
from tpdeploy.harness.learning import MOST_RUNS, relearn
from tpdeploy.harness.report import ValidationReport
from tpdeploy.harness.teaching import NOT_KNOWN
from tpdeploy.planner.loads import replay
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.question import EngineRules
from tpdeploy.planner.search import plan, search
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles import learned
from tpdeploy.profiles.gpus_spec import parse_gpus
from tpdeploy.profiles.here import with_engine_here
from tpdeploy.profiles.models import load_model

LOAD = Workload(input_tokens=128, output_tokens=32, concurrency=2)
BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
uncorrected = partial(question_of, corrected=False)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TPDEPLOY_HOME", str(tmp_path))
    return tmp_path


def planned(model: str = "smollm2-135m") -> DeploymentPlan:
    question = ask(model, "1xCPU", workload=LOAD, engine=EngineRules("vllm", 0.8))
    return plan(question, search(question))


def keep(home: Path, report: ValidationReport, minute: int = 0, **changes: object) -> None:
    """As `validate` keeps it."""
    at = BEGUN + timedelta(minutes=minute)
    kept = report.model_copy(update={"started_at": at, "not_learned": None, **changes})
    folder = home / "validations"
    folder.mkdir(exist_ok=True)
    (folder / f"{at:%Y%m%dT%H%M%S}.json").write_text(kept.model_dump_json())


def slow_run(made: DeploymentPlan, load: float = 2) -> ValidationReport:
    """Measured at half a second to the first token and 10 ms a token."""
    return measured(load, 0.5, 50.0, made)


def test_plans_are_corrected_by_what_was_measured(home: Path) -> None:
    """The same plan predicted again is nearer, names the runs, and its range is narrower."""
    made = planned()
    keep(home, slow_run(made))
    (correction,) = relearn("vllm", "CPU", uncorrected)
    assert (correction.runs, correction.models) == (1, (made.model.id,))
    before = replay(uncorrected(made), made, LOAD)
    after = replay(question_of(made), made, LOAD)
    assert abs(after.ttft_ms.value - 500) < 0.5 * abs(before.ttft_ms.value - 500)
    assert "corrected by 1 run measured here, the last on 2026-01-02" in after.ttft_ms.source
    assert after.tpot_ms.high / after.tpot_ms.value < before.tpot_ms.high / before.tpot_ms.value


def test_other_models_of_the_class_are_corrected_with_less_trust(home: Path) -> None:
    """The range of a model that no run was of stays wider; another class is not touched."""
    keep(home, slow_run(planned()))
    relearn("vllm", "CPU", uncorrected)
    same, other, experts = (
        with_engine_here(parse_gpus("1xCPU"), "vllm", load_model(name))
        for name in ("smollm2-135m", "qwen3-0.6b", "qwen3-30b-a3b")
    )
    assert same.efficiency.serving == other.efficiency.serving
    assert same.efficiency.errors.tpot <= other.efficiency.errors.tpot
    assert other.efficiency.errors.tpot >= learned.OTHER_MODELS_ERROR
    assert experts.measured == ()


def test_runs_that_tell_nothing_of_this_machine_are_left_out(home: Path) -> None:
    """Other endpoints', other tools', other loads than are simulated."""
    keep(home, slow_run(planned()), not_learned=NOT_KNOWN)
    assert relearn("vllm", "CPU", uncorrected) == []
    assert relearn("tensorrt-llm", "CPU", uncorrected) == []


def test_the_newest_run_of_each_load_counts(home: Path) -> None:
    """A run repeated after a driver's update replaces the older one; there is an upper limit."""
    made = planned()
    keep(home, measured(2, 9.0, 50.0, made), minute=0)
    for minute in range(1, MOST_RUNS + 3):
        keep(home, slow_run(made, load=minute), minute=minute)
    (correction,) = relearn("vllm", "CPU", uncorrected)
    assert correction.runs == MOST_RUNS
    assert correction.last == BEGUN + timedelta(minutes=MOST_RUNS + 2)


def test_a_correction_is_dropped_when_the_machine_is_measured_anew(home: Path) -> None:
    """It corrects what was known when it was learned, nothing else."""
    keep(home, slow_run(planned()))
    (correction,) = relearn("vllm", "CPU", uncorrected)
    learned.keep(correction.model_copy(update={"base": ("kernels measured",)}))
    cluster = with_engine_here(parse_gpus("1xCPU"), "vllm", load_model("smollm2-135m"))
    assert cluster.measured == ()


def test_models_that_are_gone_and_files_of_other_versions_are_passed_over(home: Path) -> None:
    """Nothing of them is learned, and nothing fails."""
    keep(home, slow_run(planned()))
    (home / "validations" / "20270101T000000.json").write_text('{"version": 7}')

    def gone(_: DeploymentPlan) -> None:
        raise InputError("no such folder")

    assert relearn("vllm", "CPU", gone) == []  # type: ignore[arg-type]
    assert len(relearn("vllm", "CPU", uncorrected)) == 1


def test_a_broken_correction_is_told_with_its_remedy(home: Path) -> None:
    """Its path, and what to do."""
    keep(home, slow_run(planned()))
    (correction,) = relearn("vllm", "CPU", uncorrected)
    learned.keep(correction).write_text("{}")
    with pytest.raises(InputError, match=r"dense.json: .*remove it, and validate again"):
        with_engine_here(parse_gpus("1xCPU"), "vllm", load_model("smollm2-135m"))


def test_history_holds_what_was_predicted_and_measured(home: Path) -> None:
    """Newest first; no error where nothing was predicted."""
    made = planned()
    keep(home, slow_run(made), minute=0)
    keep(home, slow_run(made, load=4), minute=1)
    newest, oldest = history().entries
    assert newest.workload.concurrency == 4
    assert (oldest.ttft.measured, oldest.ttft.predicted, oldest.ttft.error) == (500, None, None)
    assert oldest.source == made.prediction.ttft_ms.source
