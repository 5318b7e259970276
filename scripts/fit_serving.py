# /// script
# requires-python = ">=3.11"
# dependencies = ["scipy"]
# ///
"""Fits what an engine adds to its kernels, on one class of device, to measured runs.

Usage: python scripts/fit_serving.py RUNS.csv [MORE.csv ...] --engine vllm --architecture hopper
           [--write]

The tables have the columns of `tpdeploy backtest`. Ten parameters (block `serving` of the files in
tpdeploy/profiles/data/efficiency) are fitted by least squares to TTFT and TPOT of runs behind a
server, to the tokens/s of engines that were measured alone, and to the gain in tokens/s from one
width to its double. Reported, and written to benchmarks/published/left-out.yaml, are the errors of
each model and each GPU with a fit to all others. Ranges are learned later, by fit_ranges.py.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import permutations
from math import exp
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from serving_runs import (
    Errors,
    Run,
    balanced,
    doubled,
    error_of,
    figures,
    read,
    remember,
    timed,
)

from benchmarks.left_out import LeftOut, record
from tpdeploy.files import write_whole
from tpdeploy.profiles.devices.accelerator import Efficiency, Serving
from tpdeploy.profiles.devices.catalog import DATA, efficiency_of
from tpdeploy.profiles.record import Provenance
from tpdeploy.records import dump_record

# What each parameter likely is, and how far it may go; a fit begins at the recorded ones.
RANGES = {
    "step_s": (5e-4, 5e-5, 2e-2),
    "prompt_step_s": (2e-3, 1e-5, 0.1),
    "layer_s": (1e-5, 1e-7, 2e-4),
    "sequence_s": (1e-5, 1e-8, 2e-4),
    "request_s": (2e-2, 1e-3, 0.3),
    "compute": (1.0, 0.4, 1.4),
    "experts": (1.0, 0.25, 4.0),
    "communication": (1.0, 0.7, 1.5),
    "arrival_s": (3e-6, 1e-7, 5e-5),
    "start": (0.7, 0.05, 1.2),
}
# Log error at which a run's pull on the parameters is largest; beyond, it counts as an outlier.
SCALE = 0.15
# Weight of a parameter's squared log distance from what is likely: times can be anything, factors
# are near 1. The time of a step with prompts is hardly told apart from that of a request: free, it
# becomes 16 ms for vLLM on Hopper, and an H100 of our own is then missed by up to 31 %.
PRIOR = {
    "prompt_step_s": 0.05,
    "compute": 0.02,
    "experts": 0.01,
    "communication": 0.1,
    "start": 0.01,
}
TIMES_PRIOR = 0.008
# What each figure's error counts: tokens/s is that of an engine without a server, the gain that in
# tokens/s from one width to its double.
WEIGHTS = {"tpot": 1.0, "ttft": 0.5, "rate": 1.0, "gain": 1.0}
# Step of a parameter's logarithm that derivatives are taken over: queues are discrete, not smooth.
STEP = 0.1
EVALUATIONS = 12
# Models and GPUs with fewer runs are not left out by themselves.
FEW = 20
# What the tables are that the records were fitted to.
SOURCES = {
    "serving.csv": "ai-dynamo/aiconfigurator@095f58a5",
    "tensorrt-llm-offline.csv": "NVIDIA/TensorRT-LLM (perf-overview.md)",
}
HEADER = "# yaml-language-server: $schema=../../schemas/efficiency.schema.json\n"

Logs = NDArray[np.float64]  # of the parameters, in the order of RANGES
Value = TypeVar("Value", float, Logs)


@dataclass(frozen=True)
class Term:
    """An error that counts: of a figure of a run, or of the ratio between those of two runs."""

    weight: float
    figure: str
    run: int
    other: int | None = None


def main() -> None:
    """Read, fit, report, and write when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--most", type=int, default=100, help="runs drawn at random to fit")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    runs = [run for path in asked.runs for run in read(path, asked.engine, asked.architecture)]
    start = efficiency_of(asked.architecture, asked.engine)
    with ProcessPoolExecutor(initializer=remember, initargs=(start, runs)) as pool:
        serving, left_out = judge(Problem(start.serving, runs, pool), asked.most)
    result = start.changed(serving=described(serving, runs))
    print(dump_record(result.serving))
    if asked.write:
        save(result, asked.architecture)
        hand_on(serving, asked.engine, asked.architecture)
        record(asked.engine, asked.architecture, left_out)


def save(efficiency: Efficiency, architecture: str) -> None:
    """Write the record of one engine on one class."""
    path = DATA / "efficiency" / efficiency.engine / f"{architecture}.yaml"
    write_whole(path, HEADER + dump_record(efficiency))


def hand_on(serving: Serving, engine: str, architecture: str) -> None:
    """Give the parameters to the classes without runs that take them over from this one.

    Where a class has measured kernels, factors on the rates of this one's do not concern it.
    """
    for name, other in taking_over(engine, architecture):
        kept = other.serving.model_dump(include=set(Provenance.model_fields))
        if other.kernels.source.startswith(("scripts/fit_kernels.py", "compute and start")):
            kept |= {"compute": 1.0, "experts": 1.0}
        taken = serving.model_copy(update=kept)
        save(other.model_copy(update={"serving": taken}), name)


def taking_over(engine: str, architecture: str) -> Iterator[tuple[str, Efficiency]]:
    """The classes without runs that have the engine's times of this one, with their names."""
    origin = f"taken over from {engine} on {architecture}:"
    for path in sorted((DATA / "efficiency" / engine).glob("*.yaml")):
        other = efficiency_of(path.stem, engine)
        if other.serving.source.startswith(origin):
            yield path.stem, other


def judge(problem: "Problem", most: int) -> tuple[Serving, tuple[LeftOut, ...]]:
    """The fit to all runs, and how one without those of each model and each GPU does on them.

    The latter begin where the fit to all ended, with its derivatives.
    """
    runs, left_out = problem.runs, []
    chosen = balanced(runs, most)
    everything = fit(problem, chosen, problem.derivatives)
    there = problem.derivatives(everything, chosen)
    fitted = problem.errors(everything, range(len(runs)))
    for name, mine in groups(runs).items():
        others = [n for n in chosen if n not in mine]
        if len(mine) >= FEW and others:
            without = fit(problem, others, lambda *_: there, everything)
            errors = (problem.errors(without, mine), {n: fitted[n] for n in mine})
            apart, both = (figures(runs, each) for each in errors)
            left_out.append(LeftOut(name=name, runs=len(mine), fitted=both, left_out=apart))
            print(left_out[-1], flush=True)
    return problem.serving(everything), tuple(left_out)


def groups(runs: Sequence[Run]) -> dict[str, list[int]]:
    """The runs of each model and of each GPU; one name where both are the same runs."""
    found: dict[tuple[int, ...], str] = {}
    for by in ("model", "gpu"):
        for name in sorted({getattr(run, by) for run in runs}):
            mine = tuple(n for n, run in enumerate(runs) if getattr(run, by) == name)
            found[mine] = f"{found[mine]}, {name}" if mine in found else name
    return {name: list(mine) for mine, name in found.items()}


@dataclass(frozen=True)
class Problem:
    """The errors of runs as a function of the parameters' logarithms."""

    start: Serving
    runs: Sequence[Run]
    pool: Executor

    def serving(self, logs: Logs) -> Serving:
        """The parameters, to three digits."""
        values = {n: float(f"{exp(x):.3g}") for n, x in zip(RANGES, logs, strict=True)}
        return self.start.changed(**values)

    def errors(self, logs: Logs, numbers: Sequence[int]) -> dict[int, Errors]:
        """The log errors of runs by number; none of a run that does not fit."""
        [found] = self._at([logs], numbers)
        return found

    def derivatives(self, logs: Logs, numbers: Sequence[int]) -> dict[int, dict[str, Logs]]:
        """d(log error) / d(log parameter) of each figure of each run."""
        here, *aside = self._at([logs, *(logs + STEP * np.eye(len(logs)))], numbers)
        return {
            n: {
                name: np.array([(each[n].get(name, error) - error) / STEP for each in aside])
                for name, error in errors.items()
            }
            for n, errors in here.items()
        }

    def _at(self, points: Sequence[Logs], numbers: Sequence[int]) -> list[dict[int, Errors]]:
        asked = [(self.serving(logs), n) for logs in points for n in numbers]
        found = iter(self.pool.map(error_of, *zip(*asked, strict=True), chunksize=8))
        return [{n: next(found) for n in numbers} for _ in points]


Derivatives = Callable[[Logs, Sequence[int]], Mapping[int, Mapping[str, Logs]]]


def fit(
    problem: Problem, numbers: Sequence[int], derivatives: Derivatives, begin: Logs | None = None
) -> Logs:
    """The parameters with the least error, held to what is likely beforehand."""
    likely, least, most = np.log(np.array(list(RANGES.values()))).T
    terms = list(terms_of(problem.runs, numbers))
    weights = np.array([term.weight for term in terms]) / len(numbers)
    prior = np.array([PRIOR.get(name, TIMES_PRIOR) for name in RANGES])

    def residuals(logs: Logs) -> Logs:
        errors = problem.errors(logs, numbers)
        return np.append([value(term, errors, 0.0) for term in terms], logs - likely)

    def jacobian(logs: Logs) -> Logs:
        slopes, none = derivatives(logs, numbers), np.zeros(len(logs))
        return np.vstack([*(value(term, slopes, none) for term in terms), np.eye(len(logs))])

    def loss(squares: Logs) -> Logs:
        """Runs far off anything physical hardly count (Geman and McClure 1985); its derivatives."""
        z, scale = squares[: len(terms)], SCALE**2
        runs = weights * [z / (z + scale), scale / (z + scale) ** 2, -2 * scale / (z + scale) ** 3]
        kept = [prior * squares[len(terms) :], prior, 0 * prior]
        return np.hstack([runs, kept])

    if begin is None:
        begin = np.log([getattr(problem.start, name) or RANGES[name][1] for name in RANGES])
    start = np.clip(begin, least + 1e-9, most - 1e-9)
    options = {"bounds": (least, most), "loss": loss, "max_nfev": EVALUATIONS, "xtol": 1e-3}
    return least_squares(residuals, start, jac=jacobian, **options, ftol=1e-4, verbose=1).x


def terms_of(runs: Sequence[Run], numbers: Sequence[int]) -> Iterator[Term]:
    """What counts of some runs; TTFT only where it is known how it was measured."""
    for n in numbers:
        figures = ("tpot", "ttft") if timed(runs[n].case) else ("tpot",)
        for name in figures if runs[n].case.served else ("rate",):
            yield Term(WEIGHTS[name], name, n)
    for narrow, wide in permutations(numbers, 2):
        if doubled(runs[narrow], runs[wide]):
            yield Term(WEIGHTS["gain"], "rate", wide, narrow)


def value(term: Term, known: Mapping[int, Mapping[str, Value]], none: Value) -> Value:
    """What a term is, of errors or of their derivatives; `none` where a run does not fit."""
    numbers = [n for n in (term.run, term.other) if n is not None]
    if not all(term.figure in known[n] for n in numbers):
        return none
    mine, *other = (known[n][term.figure] for n in numbers)
    return mine - other[0] if other else mine


def described(serving: Serving, runs: Sequence[Run]) -> Serving:
    """The fitted parameters with where they come from."""
    tables = Counter(run.table for run in runs)
    parts = [f"{count} public runs of {SOURCES.get(t, t)}" for t, count in tables.items()]
    models = ", ".join(sorted({run.model for run in runs}))
    return serving.model_copy(
        update={
            "source": f"scripts/fit_serving.py on {' and '.join(parts)}",
            "date": date.today(),
            "confidence": "medium",
            "note": f"fitted to {models}",
        }
    )


if __name__ == "__main__":
    main()
