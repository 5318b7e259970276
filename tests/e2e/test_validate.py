"""Validation and queries on a real engine: right counts, no errors, figures like its bench's."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.commands import stop, tpdeploy
from tpdeploy.backends.registry import load_backend
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.launcher.environments import find_environment
from tpdeploy.launcher.small_model import engine_python, prepare_smollm2
from tpdeploy.launcher.state import running_endpoint

pytestmark = pytest.mark.engine

NAME = "e2e-validate"
INPUT, OUTPUT, CONCURRENCY, REQUESTS = 64, 24, 4, 16
# The machine that runs this is shared and noisy; the two tools take turns for that reason.
SAME_WITHIN = 0.25
# The engine's clock sees the same requests at the same time: most noise cancels out.
SAME_AS_ENGINE = 0.10
MOST_TURNS = 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The small model's folder, with one replica of it running as NAME."""
    folder = prepare_smollm2(engine_python())
    plan = str(tmp_path_factory.mktemp("plan") / "plan.yaml")
    shape = ["--input-tokens", str(INPUT), "--output-tokens", str(OUTPUT)]
    load = ["--concurrency", str(CONCURRENCY), "--replicas", "1", "--length-spread", "0"]
    tpdeploy("plan", str(folder), "--gpus", "1xCPU", *shape, *load, "-o", plan)
    try:
        tpdeploy("launch", plan, "--detach", "--metrics", "--name", NAME)
        yield folder
    finally:
        stop(NAME)


def validate(*options: str) -> ValidationReport:
    out = tpdeploy("validate", "--name", NAME, "--requests", str(REQUESTS), "--json", *options)
    return ValidationReport.model_validate_json(out)


@pytest.mark.usefixtures("model")
def test_every_request_has_the_tokens_asked_for() -> None:
    """No errors, and every prompt and answer of exactly the length of the workload."""
    report = validate()
    assert report.measured.failures == {}
    assert report.warm_up is not None
    assert report.warm_up.failed == 0
    assert [request.output_tokens for request in report.requests] == [OUTPUT] * REQUESTS
    tokens_per_request = report.measured.total_tokens_per_s / report.measured.requests_per_s
    assert tokens_per_request == pytest.approx(INPUT + OUTPUT)


@pytest.mark.usefixtures("model")
def test_the_model_answers() -> None:
    """The converted weights are the real model's."""
    answer = json.loads(
        tpdeploy("query", "What is the capital of France?", "--name", NAME, "--json")
    )
    assert answer["text"] == "The capital of France is Paris."


def bench(model: Path) -> tuple[float, float]:
    """Mean TTFT and TPOT (ms) by vLLM's own load generator under the same load."""
    endpoint = running_endpoint(NAME)
    environment = find_environment(load_backend("vllm").environment("cpu"))
    assert environment is not None
    command = [str(environment.program("vllm")), "bench", "serve", "--backend", "vllm"]
    command += ["--base-url", endpoint.url, "--endpoint", "/v1/completions"]
    command += ["--model", str(model), "--served-model-name", endpoint.plan.model.id]
    command += ["--dataset-name", "random", "--ignore-eos", "--temperature", "0"]
    command += ["--random-input-len", str(INPUT), "--random-output-len", str(OUTPUT)]
    command += ["--max-concurrency", str(CONCURRENCY), "--num-prompts", str(REQUESTS)]
    command += ["--num-warmups", str(2 * CONCURRENCY)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    out = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    ttft, tpot = (re.search(rf"Mean {name} \(ms\): +([\d.]+)", out) for name in ("TTFT", "TPOT"))
    assert ttft and tpot, out
    return float(ttft[1]), float(tpot[1])


def test_latencies_agree_with_the_engines_own_load_generator(model: Path) -> None:
    """Taking turns on one server, the two come to see the same TTFT and TPOT.

    What else the machine does only ever slows a turn, so the quickest of each are compared, and
    more turns are taken until they agree.
    """
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    ratios: list[float] = []
    for _ in range(MOST_TURNS):
        theirs.append(bench(model))
        measured = validate().measured
        assert measured.tpot_ms is not None
        ours.append((measured.ttft_ms.mean, measured.tpot_ms.mean))
        ratios = [min(t[i] for t in ours) / min(t[i] for t in theirs) for i in (0, 1)]
        if ratios == pytest.approx([1, 1], abs=SAME_WITHIN):
            return
    pytest.fail(f"TTFT and TPOT differ by {ratios}: ours {ours}, theirs {theirs}")


def engine_mean(before: str, after: str, metric: str) -> float:
    """Mean (ms) of what a Prometheus histogram took in between two readings."""

    def value(text: str, suffix: str) -> float:
        found = re.search(rf"^vllm:{metric}_{suffix}{{.*}} (\S+)$", text, re.MULTILINE)
        assert found, f"no {metric}_{suffix}"
        return float(found[1])

    total, count = (value(after, end) - value(before, end) for end in ("sum", "count"))
    return 1000 * total / count


@pytest.mark.usefixtures("model")
def test_latencies_agree_with_the_engines_own_clock() -> None:
    """The engine's histograms over the same requests: its TTFT and TPOT, plus the way to us.

    A busy machine lengthens the way to us in one turn, a wrong clock of ours in every one.
    """
    metrics = f"{running_endpoint(NAME).url.removesuffix('/v1')}/metrics"
    turns: list[tuple[float, float]] = []
    for _ in range(MOST_TURNS):
        before = httpx.get(metrics).text
        measured = validate("--warmup", "0").measured
        after = httpx.get(metrics).text
        assert measured.tpot_ms is not None
        # Requests cancelled at the end are in the engine's mean alone.
        ttft = engine_mean(before, after, "time_to_first_token_seconds")
        tpot = engine_mean(before, after, "request_time_per_output_token_seconds")
        turns.append((measured.ttft_ms.mean / ttft, measured.tpot_ms.mean / tpot))
        if turns[-1] == pytest.approx((1, 1), abs=SAME_AS_ENGINE):
            return
    pytest.fail(f"TTFT and TPOT over the engine's own in each turn: {turns}")


@pytest.mark.usefixtures("model")
def test_the_engine_tells_what_status_and_the_dashboard_ask_for() -> None:
    """Every name that they use is one that it has; the load stands beside the plan."""
    text = httpx.get(f"{running_endpoint(NAME).url.removesuffix('/v1')}/metrics").text
    told = set(re.findall(r"^([a-z_:]+)[{ ]", text, re.MULTILINE))
    asked = set(re.findall(r"vllm:[a-z_]+", tpdeploy("metrics", "--dashboard", "--name", NAME)))
    assert len(asked) > 5
    assert asked <= told
    (seen,) = json.loads(tpdeploy("status", "--json", "--name", NAME))["deployments"]
    assert seen["load"]["running"] == seen["load"]["waiting"] == 0
    assert 0 <= seen["load"]["kv_use"] <= 1
    assert seen["planned"]["running"] == CONCURRENCY
