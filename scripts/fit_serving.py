# /// script
# requires-python = ">=3.11"
# dependencies = ["scipy"]
# ///
"""Fits what an engine adds to its kernels, on one class of device, to measured runs.

Usage: python scripts/fit_serving.py RUNS.csv [MORE.csv ...] --engine vllm --architecture hopper
           [--write]

The tables have the columns of `tpdeploy backtest`. Ten parameters (block `serving` of the files in
tpdeploy/profiles/data/efficiency) are fitted by Nelder-Mead to TTFT and TPOT of runs behind a
server, and to the tokens/s of engines that were measured alone. The errors reported, and written,
are those of models left out of the fit: every model is predicted by a fit to all others.
"""

import argparse
import random
import re
import statistics
from collections import Counter, defaultdict
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
from tpdeploy.harness.backtest.prediction import Failed, predict_case
from tpdeploy.harness.backtest.rows import Case, Reading, case_of
from tpdeploy.harness.backtest.table import read_rows
from tpdeploy.profiles.devices.accelerator import Efficiency, Serving
from tpdeploy.profiles.devices.accelerator import Errors as Recorded
from tpdeploy.profiles.devices.catalog import DATA, efficiency_of
from tpdeploy.profiles.record import Provenance
from tpdeploy.records import dump_record

# What each parameter likely is, and how far it may go; a fit begins at the recorded ones.
RANGES = {
    "step_s": (5e-4, 5e-5, 2e-2),
    "prompt_step_s": (1e-3, 1e-5, 0.1),
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
# Weight of a parameter's squared log distance from where it starts: times can be anything, factors
# are near 1.
PRIOR = {"compute": 0.02, "experts": 0.01, "communication": 0.1, "start": 0.01}
TIMES_PRIOR = 0.002
# What each figure's error counts: tokens/s is that of an engine without a server.
WEIGHTS = {"tpot": 1.0, "ttft": 0.5, "rate": 0.5}
EVALUATIONS = 160
# Share of left-out runs whose truth lies within the recorded error.
COVERAGE = 0.8
# A model with fewer runs is judged by the fit to all.
FEW = 20
LARGEST_CONCURRENCY = 512
# Larger ones take long to simulate and tell little more about the parameters.
LARGEST_FITTED = 128
SEED = 1
# What the tables are that the records were fitted to.
SOURCES = {
    "serving.csv": "ai-dynamo/aiconfigurator@095f58a5",
    "tensorrt-llm-offline.csv": "NVIDIA/TensorRT-LLM (perf-overview.md)",
}
HEADER = "# yaml-language-server: $schema=../../schemas/efficiency.schema.json\n"

# log(predicted / measured) by figure.
Errors = dict[str, float]


@dataclass(frozen=True)
class Run:
    """One usable row."""

    model: str
    table: str
    case: Case


def main() -> None:
    """Read, fit, report, and write when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--most", type=int, default=56, help="runs drawn at random to fit")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    runs = [run for path in asked.runs for run in read(path, asked.engine, asked.architecture)]
    random.Random(SEED).shuffle(runs)  # noqa: S311 - a reproducible order, not cryptography
    start = efficiency_of(asked.architecture, asked.engine)
    with ProcessPoolExecutor(initializer=remember, initargs=(start, runs)) as pool:
        serving, errors = judge(start.serving, runs, asked.most, pool)
    result = start.model_copy(
        update={
            "serving": described(serving, runs),
            "errors": recorded(errors, runs),
        }
    )
    print(dump_record(result.serving), dump_record(result.errors))
    if asked.write:
        save(result, asked.architecture)
        hand_on(serving, asked.engine, asked.architecture)


def save(efficiency: Efficiency, architecture: str) -> None:
    """Write the record of one engine on one class."""
    path = DATA / "efficiency" / efficiency.engine / f"{architecture}.yaml"
    write_whole(path, HEADER + dump_record(efficiency))


def hand_on(serving: Serving, engine: str, architecture: str) -> None:
    """Give the parameters to the classes without runs that take them over from this one.

    Where a class has measured kernels, factors on the rates of this one's do not concern it.
    """
    origin = f"taken over from {engine} on {architecture}:"
    for path in sorted((DATA / "efficiency" / engine).glob("*.yaml")):
        other = efficiency_of(path.stem, engine)
        if not other.serving.source.startswith(origin):
            continue
        kept = other.serving.model_dump(include=set(Provenance.model_fields))
        if other.kernels.source.startswith("scripts/fit_kernels.py"):
            kept |= {"compute": 1.0, "experts": 1.0}
        taken = serving.model_copy(update=kept)
        save(other.model_copy(update={"serving": taken}), path.stem)


def read(path: Path, engine: str, architecture: str) -> list[Run]:
    """The rows of one engine on one class that are questions with an answer, no duplicates."""
    found: dict[tuple[str, ...], Run] = {}
    for row in read_rows(path).rows:
        try:
            case = case_of(row)
        except InputError:
            continue
        inputs = case.readings[0].inputs
        fits = inputs.cluster.accelerator.architecture == architecture
        if not (fits and inputs.engine.name == engine and row["dp"].strip() == "1"):
            continue
        if answered(case):
            figures = ("ttft_ms", "tpot_ms", "output_tokens_per_s", "concurrency")
            run = Run(family(row["model"]), path.name, case)
            found.setdefault(tuple(row.get(name, "") for name in figures), run)
    return list(found.values())


def answered(case: Case) -> bool:
    """Whether the run states what can be fitted."""
    if not case.served:
        return case.output_tokens_per_s is not None
    few = (case.readings[0].inputs.workload.concurrency or 0) <= LARGEST_CONCURRENCY
    return few and case.ttft_ms is not None and case.tpot_ms is not None


def family(model: str) -> str:
    """What models of one shape have in common, so that none tells about another left out."""
    name = re.sub(r"-(instruct|fp8|nvfp4)\b", "", model.rsplit("/", maxsplit=1)[-1].lower())
    return name.replace("llama-3.3", "llama-3.1")


def judge(
    start: Serving, runs: Sequence[Run], most: int, pool: Executor
) -> tuple[Serving, list[Errors]]:
    """The fit to all models, and the errors of each model's runs under a fit to the others.

    TTFT is fitted to runs whose way of measuring is known only; errors are of all.
    """
    known = [n for n, run in enumerate(runs) if small(run.case)]
    left_out: list[Errors] = []
    everything = fit(start, runs, balanced(runs, known, most), pool)
    for model in sorted({run.model for run in runs}):
        others = [n for n in known if runs[n].model != model]
        mine = [n for n, run in enumerate(runs) if run.model == model]
        alone = not others or len(mine) < FEW
        serving = everything if alone else fit(start, runs, balanced(runs, others, most), pool)
        errors = [e for e in errors_of(serving, mine, pool) if e]
        own = [e for e in errors_of(everything, mine, pool) if e]
        print(f"{model:22} left out {summary(errors)} | fitted {summary(own)}", flush=True)
        left_out += errors
    return everything, left_out


def timed(case: Case) -> bool:
    """Whether it is known how a run was measured, which its TTFT depends on."""
    return case.readings[0].inputs.workload.length_spread > 0


def small(case: Case) -> bool:
    """Whether a run is quick to simulate, as those of equal lengths all at once are."""
    clients = case.readings[0].inputs.workload.concurrency or 0
    return not case.served or clients <= LARGEST_FITTED


def balanced(runs: Sequence[Run], numbers: Sequence[int], most: int) -> list[int]:
    """At most `most` of `numbers` with a server and without, as many of each model as there are."""
    chosen = []
    for served in (True, False):
        by_model: dict[str, list[int]] = defaultdict(list)
        for n in numbers:
            if runs[n].case.served is served:
                by_model[runs[n].model].append(n)
        each = max(1, most // max(1, len(by_model)))
        chosen += [n for group in by_model.values() for n in group[:each]]
    return chosen


def fit(start: Serving, runs: Sequence[Run], numbers: Sequence[int], pool: Executor) -> Serving:
    """The parameters with the least error, held to what is likely beforehand."""
    names, likely = list(RANGES), [log(r[0]) for r in RANGES.values()]
    counted = [{"tpot", "rate", *(["ttft"] * timed(runs[n].case))} for n in numbers]

    def serving(logs: Sequence[float]) -> Serving:
        values = {
            name: float(f"{min(high, max(low, exp(value))):.3g}")
            for value, (name, (_, low, high)) in zip(logs, RANGES.items(), strict=True)
        }
        return start.model_copy(update=values)

    def loss(logs: Sequence[float]) -> float:
        found = errors_of(serving(logs), numbers, pool)
        parts = [
            sum(WEIGHTS[name] * redescending(errors[name]) for name in errors.keys() & names)
            for errors, names in zip(found, counted, strict=True)
            if errors
        ]
        strayed = sum(
            PRIOR.get(name, TIMES_PRIOR) * (value - first) ** 2
            for name, value, first in zip(names, logs, likely, strict=True)
        )
        return statistics.fmean(parts) + strayed

    begin = [log(max(getattr(start, name), RANGES[name][1])) for name in names]
    simplex = [begin] + [
        [b + (0.4 if i == k else 0) for i, b in enumerate(begin)] for k in range(len(names))
    ]
    options = {"maxfev": EVALUATIONS, "initial_simplex": simplex, "xatol": 0.01, "fatol": 1e-4}
    return serving(minimize(loss, begin, method="Nelder-Mead", options=options).x)


def redescending(error: float) -> float:
    """A loss that runs far off anything physical hardly move (Geman and McClure 1985)."""
    return error**2 / (error**2 + SCALE**2)


# What every worker process knows, so that only parameters travel.
_known: dict[str, tuple[Efficiency, Sequence[Run]]] = {}


def remember(start: Efficiency, runs: Sequence[Run]) -> None:
    """Keep the runs in this process."""
    _known["runs"] = start, runs


def errors_of(serving: Serving, numbers: Sequence[int], pool: Executor) -> list[Errors]:
    """The log errors of every run; none of those that do not fit."""
    return list(pool.map(partial(error_of, serving), numbers, chunksize=len(numbers) // 8 + 1))


def error_of(serving: Serving, number: int) -> Errors:
    """The log errors of the figures that one run states; none if it does not fit."""
    start, runs = _known["runs"]
    case, efficiency = runs[number].case, start.model_copy(update={"serving": serving})
    if not case.served:
        efficiency = efficiency.without_server()
    found = predict_case(with_efficiency(case, efficiency))
    if isinstance(found, Failed):
        return {}
    figures = {"ttft": found.ttft, "tpot": found.tpot, "rate": found.output_tokens_per_s}
    return {
        name: log(figure.predicted / figure.measured)
        for name, figure in figures.items()
        if figure.measured
    }


def with_efficiency(case: Case, efficiency: Efficiency) -> Case:
    """The run with an engine that reaches `efficiency`."""
    return replace(case, readings=tuple(_with(reading, efficiency) for reading in case.readings))


def _with(reading: Reading, efficiency: Efficiency) -> Reading:
    cluster = reading.inputs.cluster.model_copy(update={"efficiency": efficiency})
    return replace(reading, inputs=replace(reading.inputs, cluster=cluster))


def summary(errors: Sequence[Errors]) -> str:
    """Median error and signed median of each figure that runs state."""
    parts = [f"n {len(errors)}"]
    for name, title in (("ttft", "TTFT"), ("tpot", "TPOT"), ("rate", "tokens/s")):
        logs = [each[name] for each in errors if name in each]
        if logs:
            size = statistics.median(abs(exp(e) - 1) for e in logs)
            parts.append(f"{title} {size:.1%} ({exp(statistics.median(logs)) - 1:+.1%})")
    return " ".join(parts)


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


def recorded(errors: Sequence[Errors], runs: Sequence[Run]) -> Recorded:
    """The error that COVERAGE of the left-out runs behind a server stay under."""
    served = [each for each in errors if "tpot" in each]

    def within(name: str) -> float:
        sizes = sorted(abs(each[name]) for each in served)
        return float(f"{expm1(sizes[int(COVERAGE * len(sizes))]):.3g}")

    return Recorded(
        tpot=within("tpot"),
        ttft=within("ttft"),
        source=f"scripts/fit_serving.py: {len(runs)} public runs, each predicted by a fit to the "
        f"other models: {summary(errors)}",
        date=date.today(),
        confidence="medium",
    )


if __name__ == "__main__":
    main()
