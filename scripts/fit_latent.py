# /// script
# requires-python = ">=3.11"
# dependencies = ["scipy"]
# ///
"""Fits what attention on a latent adds to a layer, on one class of device, to measured runs.

Usage: python scripts/fit_latent.py RUNS.csv [MORE.csv ...] --engine vllm --architecture hopper
           [--write]

The tables have the columns of `tpdeploy backtest`. Block `latent` of the files in
tpdeploy/profiles/data/efficiency is one time per layer and step. It is fitted to the TPOT of runs
with few requests in flight, where it is most of a step. `--write` writes it, and into the classes
that take over the other times of this one and have no such time of their own.
"""

import argparse
import statistics
from collections.abc import Sequence
from datetime import date
from math import log
from pathlib import Path

from fit_serving import save, taking_over
from scipy.optimize import minimize_scalar
from serving_runs import with_efficiency

from tpdeploy.errors import InputError
from tpdeploy.harness.backtest.prediction import Predicted, predict_case
from tpdeploy.harness.backtest.rows import Case, case_of
from tpdeploy.harness.backtest.table import Row, read_rows, usable
from tpdeploy.planner.model.attention.kinds import main_attention
from tpdeploy.profiles.devices.accelerator import Efficiency, LatentLayers
from tpdeploy.profiles.devices.catalog import efficiency_of

FEW_REQUESTS = 16
MOST_S = 1e-3

Run = tuple[Row, Case]


def main() -> None:
    """Read, fit, report, and write when asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    runs = [run for path in asked.runs for run in read(path, asked.engine, asked.architecture)]
    if not runs:
        parser.error(f"no usable run of {asked.engine} on {asked.architecture} in these tables")
    # A class without a record of the engine has that of the default engine.
    engine = efficiency_of(asked.architecture, asked.engine).engine
    start = efficiency_of(asked.architecture, engine)
    latent = fit(start, runs)
    print(latent)
    if asked.write:
        save(start.changed(latent=latent), asked.architecture)
        hand_on(latent, engine, asked.architecture)


def read(path: Path, engine: str, architecture: str) -> list[Run]:
    """The usable rows of one engine on one class: models with a latent, few requests in flight."""
    found = []
    for row in filter(usable, read_rows(path).rows):
        try:
            case = case_of(row)
        except InputError:
            continue
        inputs = case.readings[0].inputs
        asked = inputs.engine.name, inputs.cluster.accelerator.architecture
        few = 0 < (inputs.workload.concurrency or 0) <= FEW_REQUESTS
        latent = main_attention(inputs.shape).on_latent
        if asked == (engine, architecture) and few and latent and case.tpot_ms:
            found.append((row, case))
    return found


def fit(start: Efficiency, runs: Sequence[Run]) -> LatentLayers:
    """The time with the least mean error of TPOT."""

    def loss(seconds: float) -> float:
        return statistics.fmean(map(abs, errors(start, runs, seconds)))

    found = minimize_scalar(loss, bounds=(0.0, MOST_S), method="bounded", options={"xatol": 1e-6})
    seconds = float(f"{found.x:.2g}")
    before, after = (statistics.median(errors(start, runs, each)) for each in (0.0, seconds))
    sources = ", ".join(sorted({row["source"] for row, _ in runs}))
    models = ", ".join(sorted({row["model"].rsplit("/", 1)[-1] for row, _ in runs}))
    gpus = ", ".join(sorted({row["gpu"] for row, _ in runs}))
    return LatentLayers(
        layer_s=seconds,
        source=f"scripts/fit_latent.py on {len(runs)} public runs: {sources}",
        date=date.today(),
        confidence="low",
        note=f"fitted to {models} on {gpus}; log(predicted / measured) of TPOT in the median "
        f"{before:.2f} without it, {after:.2f} with it",
    )


def errors(start: Efficiency, runs: Sequence[Run], seconds: float) -> list[float]:
    """log(predicted / measured) of TPOT of each run that can be predicted."""
    latent = LatentLayers(layer_s=seconds, source="tried", date=date.today(), confidence="low")
    found = []
    for _, case in runs:
        efficiency = start.changed(latent=latent)
        told = predict_case(with_efficiency(case, efficiency))
        if isinstance(told, Predicted) and case.tpot_ms:
            found.append(log(told.tpot.predicted / case.tpot_ms))
    return found


def hand_on(latent: LatentLayers, engine: str, architecture: str) -> None:
    """Give the time to the classes that take over the engine's other times from this one."""
    origin = f"taken over from {engine} on {architecture}"
    taken = latent.changed(source=f"{origin}: {latent.source}")
    for name, other in taking_over(engine, architecture):
        if other.latent is None or other.latent.source.startswith(origin):
            save(other.changed(latent=taken), name)


if __name__ == "__main__":
    main()
