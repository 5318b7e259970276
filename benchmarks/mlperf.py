"""Predictions of MLPerf Inference submissions, which vendors tune, beside what was submitted.

Usage: python -m benchmarks.mlperf [--model MODEL] [--gpu GPU] [--write]

benchmarks/published/mlperf.csv has the median of the submissions on one machine. Each is predicted
as its vendor runs it: TensorRT-LLM on NVIDIA with FP4 weights where the GPU has FP4 units and FP8
elsewhere, vLLM with FP8 on AMD; without a server in front; as many sequences in a step as memory
holds. The width is the one that the planner picks. Offline is a full replica; server and
interactive are the highest rate with p99 of TTFT and TPOT within MLPerf's limits. `--write`
renews the table of docs/backtest.md. It takes half an hour.
"""

import argparse
import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.accuracy import PAGE
from tpdeploy.files import write_whole
from tpdeploy.harness.backtest.gpu_names import find_gpu
from tpdeploy.harness.backtest.rows import Reading, case_of
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.protocol import FULL
from tpdeploy.planner.search.evaluation import Candidate, Prepared, prepare, simulate
from tpdeploy.planner.search.highest_rate import at_highest_rate
from tpdeploy.planner.workload import Target

SUBMITTED = Path(__file__).parent / "published" / "mlperf.csv"
# Lengths of each data set: a bundled workload, with the means that MLPerf's reference has.
DATA_SETS = {
    "llama-2-70b": ("batch", 222, 294),
    "mixtral-8x7b": ("batch", 427, 145),
    "llama-8b": ("summarize", 871, 82),
    "llama-405b": ("rag", 9429, 685),
    "deepseek-r1": ("reasoning", 804, 4043),
}
# p99 of TTFT and of TPOT, in ms (mlcommons/inference, language benchmarks of rounds 5.0 and 5.1).
LIMITS_MS = {
    ("llama-2-70b", "server"): (2000, 200),
    ("llama-2-70b", "interactive"): (450, 40),
    ("llama-405b", "server"): (6000, 175),
    ("llama-405b", "interactive"): (4500, 80),
    ("mixtral-8x7b", "server"): (2000, 200),
    ("llama-8b", "server"): (2000, 100),
    ("llama-8b", "interactive"): (500, 30),
    ("deepseek-r1", "server"): (2000, 80),
}
MOST_SEQUENCES = 2048  # of a step: memory decides
STEP_TOKENS = 8192
IN_FLIGHT = 4096  # requests in flight of each GPU: more than fit
BEGIN, END = "<!-- mlperf -->", "<!-- end of mlperf -->"


@dataclass(frozen=True)
class Submitted:
    """The submissions of one benchmark on machines of one kind."""

    round: str
    model: str
    scenario: str
    gpu: str
    gpu_count: int
    submissions: int
    output_tokens_per_s: float

    @property
    def engine(self) -> str:
        """Of its vendor."""
        return "vllm" if self._amd else "tensorrt-llm"

    @property
    def precision(self) -> str:
        """The narrowest of its vendor's on that GPU."""
        narrow = "fp4" in find_gpu(self.gpu).peaks.flops_per_s and not self._amd
        return "nvfp4" if narrow else "fp8"

    @property
    def _amd(self) -> bool:
        return self.gpu.startswith("MI")

    @property
    def limits_ms(self) -> tuple[int, int] | None:
        """p99 of TTFT and TPOT; None where there are none."""
        return LIMITS_MS.get((self.model, self.scenario))


@dataclass(frozen=True)
class Held:
    """A submission beside the best split that was found for it, if any."""

    submitted: Submitted
    found: Candidate | None
    why: str = ""

    @property
    def ratio(self) -> float:
        """Predicted / submitted tokens/s."""
        assert self.found  # noqa: S101 - asked of those that were predicted
        return self.found.tokens_per_s / self.submitted.output_tokens_per_s


def main() -> None:
    """Predict, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model")
    parser.add_argument("--gpu")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    rows = [
        row
        for row in read(SUBMITTED)
        if asked.model in {None, row.model} and asked.gpu in {None, row.gpu}
    ]
    console = Console(width=None if sys.stdout.isatty() else 110)
    held = [hold(row) for row in track(rows, console=Console(stderr=True))]
    console.print(table(held))
    if asked.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        shown = "\n".join([BEGIN, "", *markdown(held), "", END])
        write_whole(PAGE, f"{before}{shown}{after}")


def read(path: Path) -> Iterator[Submitted]:
    """The rows of the table."""
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            yield Submitted(
                round=row["round"],
                model=row["model"],
                scenario=row["scenario"],
                gpu=row["gpu"],
                gpu_count=int(row["gpu_count"]),
                submissions=int(row["submissions"]),
                output_tokens_per_s=float(row["output_tokens_per_s"]),
            )


def hold(submitted: Submitted) -> Held:
    """A row and what is predicted, which is the same for each round."""
    return Held(
        submitted, *_best(replace(submitted, round="", submissions=0, output_tokens_per_s=0))
    )


@cache
def _best(submitted: Submitted) -> tuple[Candidate | None, str]:
    """The best of all widths that fit and keep the limits; else why there is none."""
    found: list[Candidate] = []
    reasons = []
    for width in (1, 2, 4, 8):
        if submitted.gpu_count % width:
            continue
        reading = _reading(submitted, width)
        # A model with experts is also tried as replicas, which do not exchange tokens.
        replicas = Parallelism(tensor=width, replicas=submitted.gpu_count // width)
        for parallelism in dict.fromkeys([reading.parallelism, replicas]):
            prepared = prepare(reading.inputs, parallelism)
            if not isinstance(prepared, Prepared):
                reasons.append(prepared.reason)
                continue
            tried = _served(submitted, reading, prepared)
            if not tried.missed:
                found.append(tried)
            reasons += tried.missed
    best = max(found, key=lambda c: c.tokens_per_s, default=None)
    return best, "" if best else reasons[-1]


def _served(submitted: Submitted, reading: Reading, prepared: Prepared) -> Candidate:
    if submitted.limits_ms is None:
        return simulate(replace(reading.inputs, protocol=FULL), prepared)
    ttft, tpot = (Target(ms=ms, at="p99") for ms in submitted.limits_ms)
    load = reading.inputs.workload.at_rate(1.0).changed(ttft=ttft, tpot=tpot)
    return at_highest_rate(replace(reading.inputs, workload=load), prepared)


def _reading(submitted: Submitted, width: int) -> Reading:
    """A row of measured runs that says the same."""
    workload, inputs, outputs = DATA_SETS[submitted.model]
    row = {
        "model": submitted.model,
        "gpu": submitted.gpu,
        "gpu_count": str(submitted.gpu_count),
        "tp": str(width),
        "pp": "1",
        "dp": str(submitted.gpu_count // width),
        "precision": submitted.precision,
        "engine": submitted.engine,
        "input_tokens": str(inputs),
        "output_tokens": str(outputs),
        "workload": workload,
        "concurrency": str(IN_FLIGHT * submitted.gpu_count),
        "server": "no",
        "max_num_seqs": str(MOST_SEQUENCES),
        "max_num_batched_tokens": str(STEP_TOKENS),
    }
    return case_of(row).readings[0]


def table(held: Sequence[Held]) -> Table:
    """Every row, and the medians of each GPU."""
    shown = Table(box=None, header_style="bold")
    for name in ("round", "model", "scenario", "GPUs", "submitted", "predicted", "ratio", "split"):
        shown.add_column(name)
    for each in held:
        shown.add_row(*_cells(each))
    for line in _medians(held):
        shown.add_row(*line)
    return shown


def _cells(held: Held) -> tuple[str, ...]:
    row, found = held.submitted, held.found
    cells = (row.round, row.model, row.scenario, f"{row.gpu_count}x {row.gpu}")
    submitted = f"{row.output_tokens_per_s:,.0f}"
    if found is None:
        return (*cells, submitted, "-", "-", held.why)
    split = f"{found.parallelism.words} x {found.replicas}"
    return (*cells, submitted, f"{found.tokens_per_s:,.0f}", f"{held.ratio:.2f}", split)


def _medians(held: Iterable[Held]) -> Iterator[tuple[str, ...]]:
    """Of each GPU and scenario: the median ratio and the median size of the error."""
    groups: dict[tuple[str, str], list[float]] = {}
    for each in held:
        if each.found:
            key = each.submitted.gpu, each.submitted.scenario
            groups.setdefault(key, []).append(each.ratio)
    for (gpu, scenario), ratios in sorted(groups.items()):
        error = median(abs(ratio - 1) for ratio in ratios)
        yield (
            *("", f"{len(ratios)} rows", scenario, gpu, "", ""),
            *(f"{median(ratios):.2f}", f"{error:.0%}"),
        )


def markdown(held: Sequence[Held]) -> Iterator[str]:
    """The medians as the page shows them."""
    yield "| GPU | scenario | rows | predicted / submitted | median error |"
    yield "|---|---|---:|---:|---:|"
    for _, rows, scenario, gpu, _, _, ratio, error in _medians(held):
        yield f"| {gpu} | {scenario} | {rows.split()[0]} | {ratio} | {error} |"


if __name__ == "__main__":
    main()
