"""Fits the efficiency of one class of GPUs to measured serving runs.

Usage: python scripts/fit_efficiency.py RUNS.csv --architecture hopper [--write]

RUNS.csv has the columns engine, model, precision, gpu, tp, dp, input_tokens, output_tokens,
concurrency and tpot_ms. Dense models that are bundled here are used, single-engine runs of vLLM.
The four parameters are fitted to TPOT by coordinate descent on the mean absolute log error, on
every second run; the error reported, and written, is that of the other runs.
"""

import argparse
import csv
import math
import statistics
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from tpdeploy.errors import InputError
from tpdeploy.files import write_whole
from tpdeploy.planner.candidate import Candidate, evaluate
from tpdeploy.planner.precision import served_shape
from tpdeploy.planner.question import EngineRules, Question
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.accelerator import Efficiency
from tpdeploy.profiles.catalog import DATA, efficiency_of
from tpdeploy.profiles.gpus_spec import parse_gpus
from tpdeploy.profiles.models import load_model
from tpdeploy.records import dump_record

PARAMETERS = ("matmul", "memory", "step_overhead_s", "layer_overhead_s")
# Share of kept-apart runs whose truth lies within the recorded error.
COVERAGE = 0.8
HEADER = "# yaml-language-server: $schema=../schemas/efficiency.schema.json\n"

Run = tuple[Question, int, int, float]


def main() -> None:
    """Read, fit, report, and write when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    runs = read_runs(asked.runs, asked.architecture)
    start = efficiency_of(asked.architecture)
    fitted = fit(start, runs[::2])
    residuals = errors(fitted, runs[1::2])
    sizes = sorted(abs(r) for r in residuals)
    spread = math.expm1(sizes[int(COVERAGE * len(sizes))])
    result = fitted.model_copy(
        update={
            "relative_error": round(spread, 3),
            "source": f"scripts/fit_efficiency.py on {len(runs[::2])} public vLLM runs "
            f"(latency.csv of ai-dynamo/aiconfigurator@095f58a5), error on {len(sizes)} others",
            "date": date.today(),
            "confidence": "medium",
        }
    )
    print(dump_record(result))
    print(f"TPOT on runs not fitted: median error {math.expm1(statistics.median(sizes)):.1%}")
    if asked.write:
        write_whole(
            DATA / "efficiency" / f"{asked.architecture}.yaml", HEADER + dump_record(result)
        )


def read_runs(path: Path, architecture: str) -> list[Run]:
    """The runs that can be used: (question, tp, replicas, measured TPOT in ms)."""
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["engine"] == "vllm"]
    found = []
    for row in rows:
        run = _run(row)
        if run and run[0].cluster.accelerator.architecture == architecture:
            found.append(run)
    return found


def _run(row: dict[str, str]) -> Run | None:
    tp, replicas = int(row["tp"]), int(row["dp"])
    gpu = "-".join(row["gpu"].split())
    try:
        cluster = parse_gpus(f"{tp * replicas}x{gpu}")
        shape = load_model(row["model"])
        wanted = "fp8" if row["precision"] == "fp8" and shape.quantization is None else None
        shape = served_shape(shape, cluster.accelerator, None, wanted)
    except InputError:
        return None
    if shape.experts is not None:
        return None
    load = Workload(
        input_tokens=int(row["input_tokens"]),
        output_tokens=int(row["output_tokens"]),
        concurrency=int(row["concurrency"]),
    )
    question = Question(shape, cluster, load, EngineRules("vllm", 0.92), shape.dtype)
    return question, tp, replicas, float(row["tpot_ms"])


def errors(efficiency: Efficiency, runs: Sequence[Run]) -> list[float]:
    """log(predicted / measured) of the mean TPOT of every run that fits."""
    found = []
    for question, tp, replicas, measured in runs:
        cluster = question.cluster.model_copy(update={"efficiency": efficiency})
        asked = Question(
            question.shape, cluster, question.workload, question.engine, question.kv_cache_dtype
        )
        predicted = evaluate(asked, tp, replicas)
        if isinstance(predicted, Candidate):
            found.append(math.log(predicted.prediction.tpot_distribution.mean / measured))
    return found


def fit(start: Efficiency, runs: Sequence[Run]) -> Efficiency:
    """`start` with its four parameters moved, one at a time, while the error falls."""

    def loss(candidate: Efficiency) -> float:
        return statistics.fmean(abs(e) for e in errors(candidate, runs))

    best, least, factor = start, loss(start), 1.3
    while factor > 1.01:
        improved = False
        for name in PARAMETERS:
            for change in (factor, 1 / factor):
                value = getattr(best, name) * change
                if name in {"matmul", "memory"} and value > 1:
                    continue
                moved = best.model_copy(update={name: float(f"{value:.3g}")})
                error = loss(moved)
                if error < least:
                    best, least, improved = moved, error, True
        if not improved:
            factor = math.sqrt(factor)
    return best


if __name__ == "__main__":
    main()
