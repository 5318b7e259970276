"""`tpdeploy validate --sweep` and `--report` as a user meets them."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.cli.commands import tpdeploy
from tests.harness.plans import MODEL
from tests.harness.standin import Behaviour, StandIn, serving
from tests.planner.inputs import VLLM
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.harness.measure.sweep import SweepReport
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Target, Workload
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model, model_profiles
from tpdeploy.records import dump_record

LOAD = Workload(input_tokens=16, output_tokens=4, concurrency=2, ttft=Target(ms=60_000))

ANSWER: Behaviour = "answer"
REFUSE: Behaviour = "refuse"


def planned(folder: Path) -> DeploymentPlan:
    """A plan for the real model in a folder, which is called what the stand-in serves."""
    (profile,) = (p for p in model_profiles() if p.id.endswith(MODEL))
    home = folder / MODEL
    home.mkdir()
    (home / "config.json").write_text(json.dumps(profile.config))
    shape = load_model(str(home))
    cluster = parse_gpus("1xCPU")
    engine = replace(VLLM, memory_fraction=0.9)
    inputs = PlanInputs(shape, cluster, LOAD, engine, kv_cache_dtype=shape.dtype)
    return plan(inputs, search(inputs))


def plan_file(folder: Path, load: Workload = LOAD) -> str:
    path = folder / "plan.yaml"
    path.write_text(dump_record(planned(folder).model_copy(update={"workload": load})))
    return str(path)


validate = partial(tpdeploy, "validate")


@pytest.mark.slow
def test_a_sweep_measures_each_load_and_keeps_all(tmp_path: Path) -> None:
    """Predicted, measured and target at each load; a report of each, one of all, and a page."""
    page = tmp_path / "page.html"
    plan = plan_file(tmp_path)
    with serving(StandIn(ttft_s=0.002)) as server:
        result = validate(
            *(plan, "--url", server.url, "--requests", "6", "--warmup", "0"),
            *("--sweep", "4,1,2", "--report", str(page)),
            home=tmp_path,
        )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "Verdict: pass"
    assert "Targets met up to 4 in flight." in result.stdout
    (kept,) = (tmp_path / "sweeps").glob("*.json")
    sweep = SweepReport.model_validate_json(kept.read_text())
    assert [point.workload.concurrency for point in sweep.points] == [1, 2, 4]
    assert sweep.points[1].prediction == sweep.plan.prediction
    each = sorted((tmp_path / "validations").glob("*.json"))
    reports = [ValidationReport.model_validate_json(file.read_text()) for file in each]
    assert [report.rows for report in reports] == [point.rows for point in sweep.points]
    assert all(row.predicted for report in reports for row in report.rows)
    assert "Every target is met" in page.read_text()
    prompts = {tuple(seen.body["prompt"]) for seen in server.seen}
    assert len(prompts) == len(server.seen)  # none that a prefix cache could know from before


@pytest.mark.slow
def test_a_target_missed_at_one_load_exits_with_1(tmp_path: Path) -> None:
    """The loads that missed it are named."""
    plan = plan_file(tmp_path, LOAD.model_copy(update={"ttft": Target(ms=0.001)}))
    with serving(StandIn()) as server:
        result = validate(
            *(plan, "--url", server.url, "--requests", "6", "--sweep", "1,2"), home=tmp_path
        )
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == "Verdict: fail, at 1, 2 in flight"


@pytest.mark.slow
def test_a_report_of_one_load_has_the_prediction_for_it(tmp_path: Path) -> None:
    """Under another load than the plan's the plan is predicted again; JSON stays one report."""
    page = tmp_path / "page.html"
    plan = plan_file(tmp_path)
    with serving(StandIn()) as server:
        result = validate(
            *(plan, "--url", server.url, "--requests", "6", "--concurrency", "3"),
            *("--report", str(page), "--json"),
            home=tmp_path,
        )
    assert result.returncode == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    assert all(row["predicted"] for row in rows)
    assert page.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.slow
def test_what_was_measured_before_a_load_failed_is_kept(tmp_path: Path) -> None:
    """The endpoint dies under the second load: one line, and the first load's report."""
    behaviours = iter([*[ANSWER] * 3, *[REFUSE] * 1000])
    plan = plan_file(tmp_path)
    with serving(StandIn(behaviours=behaviours)) as server:
        result = validate(
            *(plan, "--url", server.url, "--requests", "3", "--warmup", "0", "--sweep", "1,2"),
            home=tmp_path,
        )
    assert result.returncode == 1
    assert "no measured request succeeded" in " ".join(result.stderr.split())
    assert len(list((tmp_path / "validations").glob("*.json"))) == 1
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sweep", "1,two"], "--sweep 1,two: give requests in flight"),
        (["--sweep", ""], "give requests in flight"),
        (["--sweep", "1", "--concurrency", "4"], "leave --concurrency and --rate out"),
        (["--report", "."], "--report .: is a folder"),
    ],
)
def test_bad_options_exit_with_2(options: list[str], words: str, tmp_path: Path) -> None:
    """One clear line, and nothing is sent."""
    plan = plan_file(tmp_path)
    with serving(StandIn()) as server:
        result = validate(plan, "--url", server.url, *options, home=tmp_path)
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert server.seen == []
