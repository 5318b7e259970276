"""Fits the efficiency of one class of GPUs to measured serving runs.

Usage: python scripts/fit_efficiency.py RUNS.csv --architecture hopper [--write]

RUNS.csv has the columns engine, model, precision, gpu, tp, dp, input_tokens, output_tokens,
concurrency, ttft_ms and tpot_ms. Dense models that are bundled here are used, in runs of vLLM.
The four parameters are fitted to TPOT by coordinate descent on the mean absolute log error, on
every second run; the errors reported, and written, are those of the other runs.
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
from tpdeploy.planner.parallelism import Parallelism
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

Run = tuple[Question, int, int, float, float]


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
    kept_apart = [(abs(t), abs(p)) for t, p in errors(fitted, runs[1::2])]
    ttft, tpot = (sorted(sizes) for sizes in zip(*kept_apart, strict=True))
    result = fitted.model_copy(
        update={
            "tpot_relative_error": _within(tpot),
            "ttft_relative_error": _within(ttft),
            "source": f"scripts/fit_efficiency.py on {len(runs[::2])} public vLLM runs "
            f"(latency.csv of ai-dynamo/aiconfigurator@095f58a5), error on {len(tpot)} others",
            "date": date.today(),
            "confidence": "medium",
        }
    )
    print(dump_record(result))
    for name, sizes in (("TPOT", tpot), ("TTFT", ttft)):
        median = math.expm1(statistics.median(sizes))
        print(f"{name} on runs not fitted: median error {median:.1%}")
    if asked.write:
        write_whole(
            DATA / "efficiency" / f"{asked.architecture}.yaml", HEADER + dump_record(result)
        )


def _within(sizes: Sequence[float]) -> float:
    """The relative error that COVERAGE of the ascending log errors stay under."""
    return round(math.expm1(sizes[int(COVERAGE * len(sizes))]), 3)


def read_runs(path: Path, architecture: str) -> list[Run]:
    """The runs that can be used: (question, tp, replicas, measured TTFT and TPOT in ms)."""
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
    return question, tp, replicas, float(row["ttft_ms"]), float(row["tpot_ms"])


def errors(efficiency: Efficiency, runs: Sequence[Run]) -> list[tuple[float, float]]:
    """log(predicted / measured) of the mean TTFT and TPOT of every run that fits."""
    found = []
    for question, tp, replicas, ttft_ms, tpot_ms in runs:
        cluster = question.cluster.model_copy(update={"efficiency": efficiency})
        asked = Question(
            question.shape, cluster, question.workload, question.engine, question.kv_cache_dtype
        )
        predicted = evaluate(asked, Parallelism(tensor=tp, replicas=replicas))
        if isinstance(predicted, Candidate):
            told = predicted.prediction
            ttft = math.log(told.ttft_distribution.mean / ttft_ms)
            found.append((ttft, math.log(told.tpot_distribution.mean / tpot_ms)))
    return found


def fit(start: Efficiency, runs: Sequence[Run]) -> Efficiency:
    """`start` with its four parameters moved, one at a time, while the error falls."""

    def loss(candidate: Efficiency) -> float:
        return statistics.fmean(abs(tpot) for _, tpot in errors(candidate, runs))

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
