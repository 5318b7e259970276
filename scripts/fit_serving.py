# /// script
# requires-python = ">=3.11"
# dependencies = ["scipy"]
# ///
"""Fits what an engine adds to its kernels, on one class of device, to measured serving runs.

Usage: python scripts/fit_serving.py RUNS.csv --engine vllm --architecture hopper [--write]

RUNS.csv has the columns of `tpdeploy backtest`. Nine parameters (block `serving` of the files in
tpdeploy/profiles/data/efficiency) are fitted to TTFT and TPOT by Nelder-Mead. The errors reported,
and written, are those of models left out: every model is predicted by a fit to all others. Needs
scipy, which tpdeploy itself does not.
"""

import argparse
import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from math import exp, expm1, log
from pathlib import Path

from scipy.optimize import minimize

from tpdeploy.errors import InputError
from tpdeploy.files import write_whole
from tpdeploy.harness.backtest import Failed, predict_case
from tpdeploy.harness.backtest_rows import Case, Reading, case_of, read_rows
from tpdeploy.profiles.accelerator import Efficiency, Errors, Serving
from tpdeploy.profiles.catalog import DATA, efficiency_of
from tpdeploy.records import dump_record

# Where each parameter starts, and how far it may go.
RANGES = {
    "step_s": (5e-4, 5e-5, 2e-2),
    "prompt_step_s": (1e-3, 1e-5, 0.1),
    "layer_s": (1e-5, 1e-7, 2e-4),
    "sequence_s": (1e-5, 1e-8, 2e-4),
    "request_s": (2e-2, 1e-3, 0.3),
    "compute": (1.0, 0.4, 1.4),
    "experts": (1.0, 0.25, 4.0),
    "communication": (1.0, 0.7, 3.0),
    "start": (0.7, 0.05, 1.2),
}
# Log error at which a run's pull on the parameters is largest; beyond, it counts as an outlier.
SCALE = 0.15
# Weight of a parameter's squared log distance from where it starts: times can be anything, factors
# are near 1.
PRIOR = {"compute": 0.02, "experts": 0.01, "communication": 0.02, "start": 0.01}
TIMES_PRIOR = 0.002
EVALUATIONS = 140
# Share of left-out runs whose truth lies within the recorded error.
COVERAGE = 0.8
# A model with fewer runs is judged by the fit to all.
FEW = 20
LARGEST_CONCURRENCY = 512
# Larger ones take long to simulate and tell little more about nine parameters.
LARGEST_FITTED = 128
SEED = 1
HEADER = "# yaml-language-server: $schema=../../schemas/efficiency.schema.json\n"

Error = tuple[float, float]


@dataclass(frozen=True)
class Run:
    """One usable row."""

    model: str
    case: Case


def main() -> None:
    """Read, fit, report, and write when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--most", type=int, default=56, help="runs drawn at random to fit")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    runs = read(asked.runs, asked.engine, asked.architecture)
    random.Random(SEED).shuffle(runs)  # noqa: S311 - a reproducible order, not cryptography
    start = efficiency_of(asked.architecture, asked.engine)
    with ProcessPoolExecutor(initializer=remember, initargs=(start, runs)) as pool:
        serving, errors = judge(start.serving, runs, asked.most, pool)
    result = start.model_copy(
        update={
            "serving": described(serving, asked.runs.name, runs),
            "errors": recorded(errors, runs),
        }
    )
    print(dump_record(result.serving), dump_record(result.errors))
    if asked.write:
        path = DATA / "efficiency" / asked.engine / f"{asked.architecture}.yaml"
        write_whole(path, HEADER + dump_record(result))


def read(path: Path, engine: str, architecture: str) -> list[Run]:
    """The rows of one engine on one class that are questions with an answer, no duplicates."""
    found: dict[tuple[str, ...], Run] = {}
    for row in read_rows(path).rows:
        try:
            case = case_of(row)
        except InputError:
            continue
        question = case.readings[0].question
        fits = question.cluster.accelerator.architecture == architecture
        few = (question.workload.concurrency or 0) <= LARGEST_CONCURRENCY
        if not (fits and few and question.engine.name == engine and row["dp"].strip() == "1"):
            continue
        if case.ttft_ms and case.tpot_ms:
            run = Run(row["model"], case)
            found.setdefault((row["ttft_ms"], row["tpot_ms"], row["concurrency"]), run)
    return list(found.values())


def judge(
    start: Serving, runs: Sequence[Run], most: int, pool: Executor
) -> tuple[Serving, dict[str, list[Error]]]:
    """The fit to all models, and the errors of each model under a fit to the others.

    TTFT is fitted to runs whose way of measuring is known only; errors are of all.
    """
    known = [n for n, run in enumerate(runs) if small(run.case)]
    models = sorted({run.model for run in runs})
    errors: dict[str, list[Error]] = {}
    everything = fit(start, runs, balanced(runs, known, most), pool)
    for model in models:
        others = [n for n in known if runs[n].model != model]
        mine = [n for n, run in enumerate(runs) if run.model == model]
        alone = not others or len(mine) < FEW
        serving = everything if alone else fit(start, runs, balanced(runs, others, most), pool)
        errors[model] = [e for e in errors_of(serving, mine, pool) if e]
        own = [e for e in errors_of(everything, mine, pool) if e]
        print(f"{model:40} left out {summary(errors[model])} | fitted {summary(own)}", flush=True)
    return everything, errors


def fitted(case: Case) -> bool:
    """Whether it is known how a run was measured, which its TTFT depends on."""
    return case.readings[0].question.protocol.length_spread > 0


def small(case: Case) -> bool:
    """Whether a run is quick to simulate."""
    return (case.readings[0].question.workload.concurrency or 0) <= LARGEST_FITTED


def balanced(runs: Sequence[Run], numbers: Sequence[int], most: int) -> list[int]:
    """At most `most` of `numbers`, as many of each model as there are."""
    by_model: dict[str, list[int]] = defaultdict(list)
    for n in numbers:
        by_model[runs[n].model].append(n)
    each = max(1, most // max(1, len(by_model)))
    return [n for group in by_model.values() for n in group[:each]]


def fit(start: Serving, runs: Sequence[Run], numbers: Sequence[int], pool: Executor) -> Serving:
    """The parameters with the least error, held to what is likely beforehand."""
    names, likely = list(RANGES), [log(r[0]) for r in RANGES.values()]
    timed = [fitted(runs[n].case) for n in numbers]

    def serving(logs: Sequence[float]) -> Serving:
        values = {
            name: float(f"{min(high, max(low, exp(value))):.3g}")
            for value, (name, (_, low, high)) in zip(logs, RANGES.items(), strict=True)
        }
        return start.model_copy(update=values)

    def loss(logs: Sequence[float]) -> float:
        found = errors_of(serving(logs), numbers, pool)
        parts = [
            redescending(error[1]) + (redescending(error[0]) / 2 if counts else 0.0)
            for error, counts in zip(found, timed, strict=True)
            if error
        ]
        strayed = sum(
            PRIOR.get(name, TIMES_PRIOR) * (value - first) ** 2
            for name, value, first in zip(names, logs, likely, strict=True)
        )
        return statistics.fmean(parts) + strayed

    simplex = [likely] + [
        [b + (0.4 if i == k else 0) for i, b in enumerate(likely)] for k in range(len(names))
    ]
    options = {"maxfev": EVALUATIONS, "initial_simplex": simplex, "xatol": 0.01, "fatol": 1e-4}
    return serving(minimize(loss, likely, method="Nelder-Mead", options=options).x)


def redescending(error: float) -> float:
    """A loss that runs far off anything physical hardly move (Geman and McClure 1985)."""
    return error**2 / (error**2 + SCALE**2)


# What every worker process knows, so that only parameters travel.
_known: dict[str, tuple[Efficiency, Sequence[Run]]] = {}


def remember(start: Efficiency, runs: Sequence[Run]) -> None:
    """Keep the runs in this process."""
    _known["runs"] = start, runs


def errors_of(serving: Serving, numbers: Sequence[int], pool: Executor) -> list[Error | None]:
    """log(predicted / measured) of the mean TTFT and TPOT of every run; None if it does not fit."""
    return list(pool.map(partial(error_of, serving), numbers, chunksize=len(numbers) // 8 + 1))


def error_of(serving: Serving, number: int) -> Error | None:
    """The log errors of one run; None if it does not fit."""
    start, runs = _known["runs"]
    case, efficiency = runs[number].case, start.model_copy(update={"serving": serving})
    readings = tuple(_with(reading, efficiency) for reading in case.readings)
    found = predict_case(replace(case, readings=readings))
    if isinstance(found, Failed) or not case.ttft_ms or not case.tpot_ms:
        return None
    ttft = log(found.ttft.predicted / case.ttft_ms)
    return ttft, log(found.tpot.predicted / case.tpot_ms)


def _with(reading: Reading, efficiency: Efficiency) -> Reading:
    cluster = reading.question.cluster.model_copy(update={"efficiency": efficiency})
    return replace(reading, question=replace(reading.question, cluster=cluster))


def summary(errors: Sequence[Error]) -> str:
    """Median error and signed median of TTFT and of TPOT."""
    if not errors:
        return "nothing fits"
    parts = []
    for name, which in (("TTFT", 0), ("TPOT", 1)):
        logs = [error[which] for error in errors]
        size = statistics.median(abs(exp(e) - 1) for e in logs)
        parts.append(f"{name} {size:.1%} ({exp(statistics.median(logs)) - 1:+.1%})")
    return f"n {len(errors)} " + " ".join(parts)


def described(serving: Serving, source: str, runs: Sequence[Run]) -> Serving:
    """The fitted parameters with where they come from."""
    models = ", ".join(sorted({run.model.split("/")[-1] for run in runs}))
    return serving.model_copy(
        update={
            "source": f"scripts/fit_serving.py on {len(runs)} public runs ({source} of "
            "ai-dynamo/aiconfigurator@095f58a5)",
            "date": date.today(),
            "confidence": "medium",
            "note": f"fitted to {models}",
        }
    )


def recorded(errors: dict[str, list[Error]], runs: Sequence[Run]) -> Errors:
    """The error that COVERAGE of the left-out runs stay under."""
    everything = [e for found in errors.values() for e in found]

    def within(which: int) -> float:
        sizes = sorted(abs(e[which]) for e in everything)
        return float(f"{expm1(sizes[int(COVERAGE * len(sizes))]):.3g}")

    return Errors(
        tpot=within(1),
        ttft=within(0),
        source=f"scripts/fit_serving.py: {len(runs)} public runs, each predicted by a fit to the "
        f"other models: {summary(everything)}",
        date=date.today(),
        confidence="medium",
    )


if __name__ == "__main__":
    main()
