"""The measured runs that `fit_serving.py` fits to, and how far predictions of them are off."""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import expm1, log
from pathlib import Path

from benchmarks.blind import Median, median
from benchmarks.choice import SAME
from tpdeploy.errors import InputError
from tpdeploy.harness.backtest.prediction import Failed, predict_case
from tpdeploy.harness.backtest.rows import Case, Reading, case_of
from tpdeploy.harness.backtest.table import Row, read_rows
from tpdeploy.profiles.devices.accelerator import Efficiency, Serving

LARGEST_CONCURRENCY = 512
# Larger ones take long to simulate and tell little more about the parameters.
LARGEST_FITTED = 128
SEED = 1
# What is the same in two runs that compare widths.
SETTING = (*SAME, "engine_version")

# log(predicted / measured) by figure.
Errors = dict[str, float]


@dataclass(frozen=True)
class Run:
    """One usable row; runs of one `setting` compare widths."""

    model: str
    gpu: str
    table: str
    case: Case
    setting: tuple[str, ...]
    width: int
    clients: int


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
            found.setdefault(tuple(row.get(name, "") for name in figures), run_of(row, path, case))
    return list(found.values())


def run_of(row: Row, path: Path, case: Case) -> Run:
    """A usable row."""
    return Run(
        model=family(row["model"]),
        gpu=case.readings[0].inputs.cluster.accelerator.name,
        table=path.name,
        case=case,
        setting=tuple(row.get(name, "") for name in SETTING),
        width=int(row["tp"]),
        clients=case.readings[0].inputs.workload.concurrency or 0,
    )


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


def timed(case: Case) -> bool:
    """Whether it is known how a run was measured, which its TTFT depends on."""
    return case.readings[0].inputs.workload.length_spread > 0


def small(run: Run) -> bool:
    """Whether a run is quick to simulate, as those of equal lengths all at once are."""
    return not run.case.served or run.clients <= LARGEST_FITTED


def balanced(runs: Sequence[Run], most: int) -> list[int]:
    """At most `most` small runs with a server and without, as many of each model as there are.

    They are drawn by setting, so that what compares widths stays together.
    """
    order = sorted({run.setting for run in runs})
    random.Random(SEED).shuffle(order)  # noqa: S311 - a reproducible order, not cryptography
    by_model: dict[tuple[bool, str], list[int]] = defaultdict(list)
    for n in sorted(range(len(runs)), key=lambda n: order.index(runs[n].setting)):
        if small(runs[n]):
            by_model[runs[n].case.served, runs[n].model].append(n)
    models = Counter(served for served, _ in by_model)
    return [n for (served, _), group in by_model.items() for n in group[: most // models[served]]]


def doubled(narrow: Run, wide: Run) -> bool:
    """Whether two runs show what a doubled width gains, with the same load or that of both."""
    same = wide.setting == narrow.setting and wide.case.served == narrow.case.served
    loads = {narrow.clients, 2 * narrow.clients}
    return same and wide.width == 2 * narrow.width and wide.clients in loads


def figures(runs: Sequence[Run], errors: Mapping[int, Errors]) -> dict[str, Median]:
    """The median of each figure's errors, and of those of the gain of a doubled width."""
    pairs = [(a, b) for a, b in permutations(errors, 2) if doubled(runs[a], runs[b])]
    logs = {
        "ttft": [e["ttft"] for e in errors.values() if "ttft" in e],
        "tpot": [e["tpot"] for e in errors.values() if "tpot" in e],
        "rate": [e["rate"] for n, e in errors.items() if "rate" in e and not runs[n].case.served],
        "gain": [
            errors[b]["rate"] - errors[a]["rate"] for a, b in pairs if errors[a] and errors[b]
        ],
    }
    medians = {name: median([expm1(e) for e in found]) for name, found in logs.items()}
    return {name: found for name, found in medians.items() if found}


# What every worker process knows, so that only parameters travel.
_known: dict[str, tuple[Efficiency, Sequence[Run]]] = {}


def remember(start: Efficiency, runs: Sequence[Run]) -> None:
    """Keep the runs in this process."""
    _known["runs"] = start, runs


def error_of(serving: Serving, number: int) -> Errors:
    """The log errors of the figures that one run states; none if it does not fit.

    The rate of a run behind a server is that of its latencies.
    """
    start, runs = _known["runs"]
    case, efficiency = runs[number].case, start.changed(serving=serving)
    if not case.served:
        efficiency = efficiency.without_server()
    found = predict_case(with_efficiency(case, efficiency))
    if isinstance(found, Failed):
        return {}
    both = {"ttft": found.ttft, "tpot": found.tpot, "rate": found.output_tokens_per_s}
    errors = {n: log(f.predicted / f.measured) for n, f in both.items() if f.measured}
    if case.served:
        later = case.readings[0].inputs.workload.output_tokens - 1
        predicted = found.ttft.predicted + later * found.tpot.predicted
        errors["rate"] = log((case.ttft_ms + later * case.tpot_ms) / predicted)
    return errors


def with_efficiency(case: Case, efficiency: Efficiency) -> Case:
    """The run with an engine that reaches `efficiency`."""
    return replace(case, readings=tuple(_with(reading, efficiency) for reading in case.readings))


def _with(reading: Reading, efficiency: Efficiency) -> Reading:
    cluster = reading.inputs.cluster.model_copy(update={"efficiency": efficiency})
    return replace(reading, inputs=replace(reading.inputs, cluster=cluster))
