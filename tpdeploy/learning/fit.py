"""Fit of physical factors to validations, so that predictions come closest to measurements.

Least squares of log(predicted / measured) of mean TTFT, TPOT and end-to-end latency over all runs,
each factor held near 1 by a prior, so that runs that tell nothing of a factor leave it where it is.
Under load, who waits for whom moves time from TTFT to TPOT and back, by chance; their sum stays, so
end-to-end latency counts most there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, exp, expm1, inf, log
from statistics import median
from typing import TYPE_CHECKING, Any

from tpdeploy.learning.corrections import MOST_OFF, Factors, corrected
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.replay import replay
from tpdeploy.planner.workload import Workload

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[Any]

NAMES = ("memory", "compute", "overhead", "communication")
# Judgements: how far a measured mean may lie from the true one, and a factor from 1, in logs.
SPREAD, QUEUED_SPREAD, FACTOR_SPREAD = 0.05, 0.25, 0.5
LARGEST_FACTOR = 4.0
# A judgement: a fit that lowers the error by less is chance.
LEAST_GAIN = 0.1
# Ranges are where four of five runs lie.
COVERED = 0.8
# A simulation has small steps in it, which a derivative must reach over.
STEP, PRECISION = 0.1, 1e-3
NEARLY = 1e-9


@dataclass(frozen=True)
class Run:
    """One measured load of one plan; `inputs` is without any correction."""

    inputs: PlanInputs
    plan: DeploymentPlan
    workload: Workload
    ttft_ms: float  # mean
    tpot_ms: float | None  # mean; None: one output token


@dataclass(frozen=True)
class Errors:
    """|predicted / measured - 1| of mean TTFT and TPOT over some runs, without a unit."""

    ttft: float
    tpot: float


@dataclass(frozen=True)
class Learned:
    """Factors, the median errors on the runs without and with them, and on runs left out."""

    factors: Factors
    before: Errors
    after: Errors
    left_out: Errors


def learn(runs: Sequence[Run]) -> Learned:
    """The factors fitted to `runs`, of which there is at least one."""
    from numpy import asarray  # noqa: PLC0415 - with the next one
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
    return Learned(
        factors=factors,
        before=median_errors(runs, Factors()),
        after=median_errors(runs, factors),
        left_out=_left_out(runs, asarray(found.jac), found.fun),
    )


def gains(before: Errors, after: Errors) -> bool:
    """Whether factors are worth keeping: the sum of both errors falls, and neither rises.

    By a tenth at least, since any fit lowers it a little; a rise within what a measured mean is
    off by is none.
    """
    falls = after.ttft + after.tpot <= (1 - LEAST_GAIN) * (before.ttft + before.tpot)
    rises = max(after.ttft - before.ttft, after.tpot - before.tpot)
    return before.ttft + before.tpot > 0 and falls and rises <= SPREAD


def _factors(logs: Iterable[float]) -> Factors:
    return Factors(**{name: exp(value) for name, value in zip(NAMES, logs, strict=True)})


def _pulls(runs: Sequence[Run], factors: Factors) -> list[float]:
    """Each run's log errors, by how far they may be off."""
    pulls = []
    for run in runs:
        ttft, tpot = _predicted(run, factors)
        ratios = [ttft / run.ttft_ms]
        if run.tpot_ms:
            further = run.workload.output_tokens - 1
            predicted, measured = ttft + further * tpot, run.ttft_ms + further * run.tpot_ms
            ratios += [tpot / run.tpot_ms, predicted / measured]
        pulls += [log(r) / spread for r, spread in zip(ratios, _spreads(run), strict=True)]
    return pulls


def _spreads(run: Run) -> list[float]:
    """How far TTFT, TPOT and the whole request may be off, in logs; without TPOT the first."""
    apart = SPREAD if run.workload.concurrency == 1 else QUEUED_SPREAD
    return [apart, apart, SPREAD] if run.tpot_ms else [apart]


def _predicted(run: Run, factors: Factors) -> tuple[float, float]:
    """Mean TTFT and TPOT in ms with `factors`."""
    cluster = run.inputs.cluster
    efficiency = corrected(cluster.efficiency, factors)
    changed = cluster.changed(efficiency=efficiency)
    prediction = replay(replace(run.inputs, cluster=changed), run.plan, run.workload)
    return prediction.ttft_distribution.mean, prediction.tpot_distribution.mean


def median_errors(runs: Sequence[Run], factors: Factors) -> Errors:
    """The median errors over `runs`, at least one, with `factors`."""
    ttft, tpot = [], [0.0]
    for run in runs:
        first, later = _predicted(run, factors)
        ttft.append(abs(first / run.ttft_ms - 1))
        if run.tpot_ms:
            tpot.append(abs(later / run.tpot_ms - 1))
    return Errors(median(ttft), median(tpot[1:] or tpot))


def _left_out(runs: Sequence[Run], jacobian: "Matrix", pulls: "Matrix") -> Errors:
    """Errors that four of five runs do not exceed when the factors are fitted to the others.

    Without fitting again: of a least-squares fit with the hat matrix H = J (J'J)^-1 J' the
    residuals r of some rows, had these been left out, are (I - H_rows)^-1 r (exact where the
    model is linear in the logs of the factors).
    """
    from numpy import array, clip, eye  # noqa: PLC0415 - with scipy, which only this needs
    from numpy.linalg import pinv, solve  # noqa: PLC0415

    # A time changes at most as all of its parts do: what exceeds that is a jump of the simulation.
    most = array([1 / s for run in runs for s in _spreads(run)] + len(NAMES) * [inf])[:, None]
    slopes = clip(jacobian, -most, most)
    hat, first = slopes @ pinv(slopes), 0
    ttft, tpot = [], []
    for run in runs:
        spreads = _spreads(run)
        rows = slice(first, first + len(spreads))
        # A run that alone tells of a factor leaves nothing to predict it from: nearly singular.
        left = (1 + NEARLY) * eye(rows.stop - first) - hat[rows, rows]
        off = abs(solve(left, pulls[rows])) * spreads[0]
        ttft.append(expm1(min(off[0], log(MOST_OFF + 1))))
        tpot.append(expm1(min(off[1], log(MOST_OFF + 1))) if run.tpot_ms else 0.0)
        first = rows.stop
    return Errors(_covering(ttft), _covering(tpot))


def _covering(errors: Sequence[float]) -> float:
    """What a further run's error stays within in four of five cases; of up to four the largest.

    The ceil((n + 1) x 0.8)-th of n errors, as in conformal prediction.
    """
    return sorted(errors)[min(len(errors), ceil(COVERED * (len(errors) + 1))) - 1]
