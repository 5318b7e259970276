"""From validations to physical factors: what brings predictions nearest to what was measured.

Least squares of log(predicted / measured) of mean TTFT, TPOT and end-to-end latency over all runs,
each factor held near 1 by a prior, so that runs that tell nothing of a factor leave it where it is.
Under load, who waits for whom moves time from TTFT to TPOT and back, by chance; their sum stays, so
end-to-end latency counts most there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from statistics import median

from tpdeploy.planner.loads import replay
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.question import Question
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.learned import Factors, corrected

NAMES = ("memory", "compute", "overhead", "communication")
# Judgements: how far a measured mean may lie from the true one, and a factor from 1, in logs.
SPREAD, QUEUED_SPREAD, FACTOR_SPREAD = 0.05, 0.25, 0.5
LARGEST_FACTOR = 4.0
# A simulation has small steps in it, which a derivative must reach over.
STEP, PRECISION = 0.03, 1e-3


@dataclass(frozen=True)
class Run:
    """One measured load of one plan; `question` counts without any correction."""

    question: Question
    plan: DeploymentPlan
    workload: Workload
    ttft_ms: float  # mean
    tpot_ms: float | None  # mean; None: one output token


@dataclass(frozen=True)
class Learned:
    """Factors, and the median error on the runs without and with them."""

    factors: Factors
    ttft_errors: tuple[float, float]
    tpot_errors: tuple[float, float]


def learn(runs: Sequence[Run]) -> Learned:
    """The factors that `runs`, at least one, teach."""
    from scipy.optimize import least_squares  # noqa: PLC0415 - 0.9 s that only this needs

    def off(logs: Iterable[float], /) -> list[float]:
        values = list(logs)
        return [*_pulls(runs, _factors(values)), *(value / FACTOR_SPREAD for value in values)]

    found = least_squares(
        off,
        [0.0] * len(NAMES),
        bounds=([-log(LARGEST_FACTOR)] * len(NAMES), [log(LARGEST_FACTOR)] * len(NAMES)),
        diff_step=[STEP] * len(NAMES),
        xtol=PRECISION,
        ftol=PRECISION,
    )
    factors = _factors(found.x)
    before, after = _errors(runs, Factors()), _errors(runs, factors)
    return Learned(factors, (before[0], after[0]), (before[1], after[1]))


def _factors(logs: Iterable[float]) -> Factors:
    return Factors(**{name: exp(value) for name, value in zip(NAMES, logs, strict=True)})


def _pulls(runs: Sequence[Run], factors: Factors) -> list[float]:
    """Each run's log errors, by how far they may be off."""
    pulls = []
    for run in runs:
        ttft, tpot = _predicted(run, factors)
        apart = SPREAD if run.workload.concurrency == 1 else QUEUED_SPREAD
        pulls.append(log(ttft / run.ttft_ms) / apart)
        if run.tpot_ms:
            further = run.workload.output_tokens - 1
            predicted, measured = ttft + further * tpot, run.ttft_ms + further * run.tpot_ms
            pulls += [log(tpot / run.tpot_ms) / apart, log(predicted / measured) / SPREAD]
    return pulls


def _predicted(run: Run, factors: Factors) -> tuple[float, float]:
    """Mean TTFT and TPOT in ms with `factors`."""
    cluster = run.question.cluster
    efficiency = corrected(cluster.efficiency, factors)
    changed = cluster.model_copy(update={"efficiency": efficiency})
    prediction = replay(replace(run.question, cluster=changed), run.plan, run.workload)
    return prediction.ttft_distribution.mean, prediction.tpot_distribution.mean


def _errors(runs: Sequence[Run], factors: Factors) -> tuple[float, float]:
    """Median |predicted / measured - 1| of TTFT and TPOT."""
    ttft, tpot = [], [0.0]
    for run in runs:
        first, later = _predicted(run, factors)
        ttft.append(abs(first / run.ttft_ms - 1))
        if run.tpot_ms:
            tpot.append(abs(later / run.tpot_ms - 1))
    return median(ttft), median(tpot[1:] or tpot)
