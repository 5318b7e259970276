"""How long a plan takes: wall time of cold processes, beside aiconfigurator if it is there.

Usage: python benchmarks/plan_speed.py [--times 7] [--aiconfigurator PATH]

Every run is a new process with an empty TPDEPLOY_HOME; the first of each command, which may have
to compile bytecode, is not counted. Both tools get the same model, GPUs and tokens. aiconfigurator
also compares disaggregated serving unless told not to, so both ways are timed. Last, the rows a
second of `tpdeploy backtest`.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.table import Table

COLUMNS = (
    "model,gpu,gpu_count,tp,pp,dp,precision,engine,"
    "input_tokens,output_tokens,concurrency,ttft_ms,tpot_ms"
)
TOKENS = ("--input-tokens", "1024", "--output-tokens", "256")
ISL = ("--isl", "1024", "--osl", "256")


@dataclass(frozen=True)
class Case:
    """A question, in the words of each tool; no `model` where aiconfigurator cannot be asked it."""

    name: str
    plan: tuple[str, ...]
    model: str = ""
    system: str = ""
    gpus: int = 0
    why_not: str = "GPU not known"  # to aiconfigurator


CASES = (
    Case(
        "Llama 70B, 8x H100",
        ("llama-70b", "--gpus", "8xH100"),
        "meta-llama/Meta-Llama-3.1-70B",
        "h100_sxm",
        8,
    ),
    Case(
        "DeepSeek-V3, 2x 8x H200",
        ("deepseek-v3", "--gpus", "2x8xH200"),
        "deepseek-ai/DeepSeek-V3",
        "h200_sxm",
        16,
    ),
    Case(
        "Qwen3-32B, 4x L40S",
        ("qwen3-32b", "--gpus", "4xL40S"),
        "Qwen/Qwen3-32B",
        "l40s",
        4,
    ),
    Case("Llama 70B, 4x RTX 6000 Ada", ("llama-70b", "--gpus", "4xRTX-6000-Ada")),
    Case(
        "Llama 70B, 8x H100, 4 requests/s",
        ("llama-70b", "--gpus", "8xH100", "--rate", "4"),
        why_not="takes no rate",
    ),
    Case(
        "DeepSeek-V3, 8x H200, 4 requests/s",
        ("deepseek-v3", "--gpus", "8xH200", "--rate", "4"),
        why_not="takes no rate",
    ),
)


@dataclass(frozen=True)
class Timed:
    """Wall seconds of one command's runs, or why there are none."""

    seconds: tuple[float, ...] = ()
    failure: str = ""

    def __str__(self) -> str:
        if self.failure:
            return self.failure
        return f"{statistics.median(self.seconds):.2f} s ({min(self.seconds):.2f})"


def main() -> None:
    """Time every case and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=7, help="counted runs of tpdeploy")
    parser.add_argument("--aiconfigurator", default=shutil.which("aiconfigurator"), metavar="PATH")
    parser.add_argument("--aiconfigurator-times", type=int, default=3, metavar="TIMES")
    asked = parser.parse_args()
    table = Table(title="Wall time of a cold process: median (fastest)", title_justify="left")
    table.add_column("question")
    table.add_column("tpdeploy plan", justify="right")
    if asked.aiconfigurator:
        table.add_column("aiconfigurator", justify="right")
        table.add_column("--serving-mode agg", justify="right")
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            cells = [str(timed(tpdeploy("plan", *case.plan, *TOKENS), asked.times, folder))]
            if asked.aiconfigurator:
                cells += [
                    str(_peer(asked.aiconfigurator, case, mode, asked.aiconfigurator_times, folder))
                    for mode in ((), ("--serving-mode", "agg"))
                ]
            table.add_row(case.name, *cells)
        rows = _write_runs(Path(folder) / "runs.csv")
        backtest = timed(tpdeploy("backtest", f"{folder}/runs.csv"), asked.times, folder)
    console = Console(width=100 if not sys.stdout.isatty() else None)
    console.print(table)
    if backtest.failure:
        console.print(f"backtest: {backtest.failure}")
    else:
        median = statistics.median(backtest.seconds)
        console.print(f"backtest: {rows / median:,.0f} rows/s ({rows:,} rows in {median:.2f} s)")
    console.print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")


def tpdeploy(*args: str) -> list[str]:
    """A tpdeploy command of this interpreter."""
    return [sys.executable, "-m", "tpdeploy", *args]


def timed(command: Sequence[str], times: int, folder: str) -> Timed:
    """Wall seconds of `times` runs after one that is not counted."""
    environment = {**os.environ, "TPDEPLOY_HOME": folder, "PYTHONWARNINGS": "ignore"}
    seconds = []
    for _ in range(times + 1):
        spent, failure = _once(command, environment)
        if failure:
            return Timed(failure=failure)
        seconds.append(spent)
    return Timed(tuple(seconds[1:]))


def _once(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, str]:
    start = time.perf_counter()
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    spent = time.perf_counter() - start
    if ended.returncode == 0:
        return spent, ""
    said = (ended.stderr or ended.stdout).strip().splitlines() or ["no message"]
    return spent, f"failed: {said[-1][:80]}"


def _peer(path: str, case: Case, mode: Sequence[str], times: int, folder: str) -> Timed:
    if not case.model:
        return Timed(failure=case.why_not)
    command = [path, "cli", "default", "--model-path", case.model, "--system", case.system]
    command += ["--total-gpus", str(case.gpus), "--backend", "vllm", *ISL, *mode]
    return timed(command, times, folder)


def _write_runs(path: Path) -> int:
    """A table of made-up runs over models, GPUs, widths and loads; the number of its rows."""
    models = ("meta-llama/Llama-3.1-70B", "Qwen/Qwen3-32B", "openai/gpt-oss-120b")
    loads = product((1, 8, 32, 64, 128, 256), ((1024, 256), (1024, 1024), (8192, 1024)))
    rows = [
        f"{model},{gpu},{tp},{tp},1,1,{precision},vllm,{tokens[0]},{tokens[1]},{clients},1000,10"
        for (clients, tokens), model, gpu, tp, precision in product(
            loads, models, ("H100", "H200", "B200"), (2, 4, 8), ("", "fp8")
        )
    ]
    path.write_text("\n".join([COLUMNS, *rows]) + "\n", encoding="utf-8")
    return len(rows)


if __name__ == "__main__":
    main()
