"""Measured runs become physical factors."""

import random
from dataclasses import replace
from functools import cache
from math import exp, log

import pytest

from tests.planner.inputs import ask
from tests.tiers import tiered
from tpdeploy.learning.corrections import Factors, corrected
from tpdeploy.learning.fit import Errors, Run, gains, learn
from tpdeploy.planner.search.replay import at_load, replay
from tpdeploy.planner.search.search import plan, search
from tpdeploy.planner.workload import Workload

SHORT = Workload(input_tokens=128, output_tokens=8, concurrency=1)
SEVERAL = Factors(memory=0.8, compute=0.7, overhead=2.0)
LONG = Workload(input_tokens=2048, output_tokens=8, concurrency=1)


@cache
def runs(
    true: Factors, gpus: str = "1xH100", tensor: int = 1, loads: tuple[float, ...] = (1, 16)
) -> list[Run]:
    """Runs that measured what the model says with `true` factors."""
    found = []
    for workload in (SHORT, LONG):
        inputs = ask("llama-8b", gpus, workload=workload, tensor=tensor)
        made = plan(inputs, search(inputs))
        efficiency = corrected(inputs.cluster.efficiency, true)
        cluster = inputs.cluster.model_copy(update={"efficiency": efficiency})
        for load in loads:
            told = replay(replace(inputs, cluster=cluster), made, at_load(workload, load))
            means = told.ttft_distribution.mean, told.tpot_distribution.mean
            found.append(Run(inputs, made, at_load(workload, load), *means))
    return found


@pytest.mark.parametrize(
    "true",
    tiered([Factors(memory=0.7), Factors(compute=0.6), SEVERAL], [SEVERAL]),
)
@pytest.mark.slow
def test_factors_behind_the_runs_are_found(true: Factors) -> None:
    """Short and long prompts, alone and together, tell memory, compute and overhead apart."""
    found = learn(runs(true))
    for name in ("memory", "compute", "overhead"):
        assert getattr(found.factors, name) == pytest.approx(getattr(true, name), rel=0.15)
    assert found.after.tpot < 0.03
    assert found.after.ttft < 0.03


@pytest.mark.slow
def test_a_factor_that_no_run_shows_stays_at_one() -> None:
    """Without a group there is no communication to correct."""
    assert learn(runs(Factors(memory=0.7))).factors.communication == pytest.approx(1.0, abs=0.01)


@pytest.mark.slow
def test_communication_is_learned_where_there_is_some() -> None:
    """Groups of eight on PCIe spend most of a prompt in all-reduces."""
    found = learn(runs(Factors(communication=1.8), "8xL40S", tensor=8))
    assert found.factors.communication == pytest.approx(1.8, rel=0.2)


def test_one_run_is_enough_to_begin_with() -> None:
    """It moves the prediction for itself nearer to what was measured."""
    (run,) = runs(Factors(memory=0.6), loads=(1,))[:1]
    found = learn([run])
    assert found.after.tpot < 0.5 * found.before.tpot


def test_the_errors_told_are_those_without_and_with_the_factors() -> None:
    """Nothing to correct: both are 0."""
    found = learn(runs(Factors()))
    assert (found.before.tpot, found.after.tpot) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert found.factors.model_dump() == pytest.approx(Factors().model_dump(), abs=1e-3)


@pytest.mark.slow
def test_what_runs_show_when_left_out_is_what_a_fit_to_the_others_shows() -> None:
    """Without fitting again; the factors by which predictions are off agree within a tenth."""
    draw = random.Random(3)  # noqa: S311 - noise, not cryptography
    noisy = [
        replace(run, ttft_ms=run.ttft_ms * draw.uniform(0.8, 1.25))
        for run in runs(Factors(memory=0.7, compute=0.8), loads=(1, 4, 16))
    ]
    off = []
    for left in noisy:
        factors = learn([run for run in noisy if run is not left]).factors
        off.append(abs(log(predicted_ttft(left, factors) / left.ttft_ms)))
    # Of six runs, all: the sixth of six is the first below which four of five further ones lie.
    assert 1 + learn(noisy).left_out.ttft == pytest.approx(exp(max(off)), rel=0.1)


def predicted_ttft(run: Run, factors: Factors) -> float:
    efficiency = corrected(run.inputs.cluster.efficiency, factors)
    cluster = run.inputs.cluster.model_copy(update={"efficiency": efficiency})
    found = replay(replace(run.inputs, cluster=cluster), run.plan, run.workload)
    return found.ttft_distribution.mean


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ((0.10, 0.32), (0.09, 0.32), False),
        ((0.10, 0.32), (0.05, 0.10), True),
        ((0.10, 0.60), (0.14, 0.10), True),
        ((0.10, 0.60), (0.30, 0.10), False),
        ((0.0, 0.0), (0.0, 0.0), False),
    ],
)
def test_a_fit_gains_only_where_the_error_falls(
    before: tuple[float, float], after: tuple[float, float], kept: bool
) -> None:
    """The sum by a tenth, and neither TTFT nor TPOT rises by more than a mean is off by."""
    assert gains(Errors(*before), Errors(*after)) == kept
