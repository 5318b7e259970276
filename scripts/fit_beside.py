# /// script
# requires-python = ">=3.11"
# dependencies = ["scipy"]
# ///
"""Fits what the host of an engine takes whose kernels were not measured, beside another one's.

Usage: python scripts/fit_beside.py RUNS.csv --engine deepspeed-mii --kernels tensorrt-llm
           --architecture ampere [--write]

RUNS.csv is what `tpdeploy backtest` reads. The engine's 16-bit kernels are taken to be those of
`--kernels`, but for what its code shows to be otherwise: heads of Q do not share reads in decode
attention, and there are no CUDA graphs. Four times of the host are fitted to the tokens/s of runs
whose `note` is "fitted", by Nelder-Mead; half of the loss is the error of the ratio between two
widths. Runs whose KV cache does not hold all requests say little about a step and are left out of
the fit. Those "kept aside" are predicted with what was fitted: the recorded error is that of four
of five of them. `--write` writes the record, and one for each other class of `--kernels`.
"""

import argparse
import statistics
from collections.abc import Sequence
from datetime import date
from math import exp, expm1, log
from pathlib import Path

from fit_ranges import COVERAGE
from fit_releases import NOISE, PRIOR, Run, all_at_once, ratios
from fit_serving import save
from scipy.optimize import minimize
from serving_runs import with_efficiency

from tpdeploy.harness.backtest.prediction import Predicted, predict_case
from tpdeploy.harness.backtest.rows import case_of
from tpdeploy.harness.backtest.table import read_rows
from tpdeploy.profiles.devices.accelerator import Efficiency, Errors, Kernels, Serving
from tpdeploy.profiles.devices.catalog import DATA, efficiency_of
from tpdeploy.profiles.record import Provenance

# Where the fit begins, in seconds, and how far it may go.
TIMES = {
    "step_s": (2.5e-3, 1e-5, 2e-2),
    "launch_layer_s": (2.5e-4, 1e-5, 1e-3),
    "sequence_s": (6e-5, 1e-6, 1e-3),
    "group_step_s": (1.5e-3, 1e-5, 1e-2),
}
EVALUATIONS = 250
# A judgement: no run of it states a TTFT.
TTFT_ERROR = 1.0


def main() -> None:
    """Fit, report, and write when asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--kernels", required=True, metavar="ENGINE")
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    fitted, kept = (read(asked.runs, note) for note in ("fitted", "kept aside"))
    start = beside(asked.engine, asked.kernels, asked.architecture)
    serving = fit(start, [r for r in fitted if all_at_once(with_efficiency(r.case, start))])
    found = start.changed(serving=serving)
    for words, runs in (("fitted", fitted), ("kept aside", kept)):
        print(f"{words}: {summary(found, runs)}")
    models = sorted({run.row["model"].rsplit("/", 1)[-1] for run in kept})
    for model in models:
        print(f"{model}: {summary(found, [run for run in kept if model in run.row['model']])}")
    told = f"{len(kept)} public runs of {', '.join(models)}: {summary(found, kept)}"
    result = found.changed(
        serving=described(serving, f"{len(fitted)} public runs", asked.runs.name),
        errors=recorded(found, kept, f"scripts/fit_beside.py, not fitted to {told}"),
    )
    if asked.write:
        save(result, asked.architecture)
        hand_on(result, asked.kernels, asked.architecture)


def beside(engine: str, other: str, architecture: str) -> Efficiency:
    """The engine with the 16-bit kernels of another one, before anything is fitted."""
    known = efficiency_of(architecture, other)
    serving = known.serving.changed(**{name: first for name, (first, _, _) in TIMES.items()})
    return known.changed(engine=engine, kernels=kernels(other, known.kernels), serving=serving)


def kernels(engine: str, known: Kernels) -> Kernels:
    """The 16-bit kernels of `engine`, in decode attention with reads of each head."""
    own = known.decoding(alone_above=0)
    plain = {
        name: {"bf16": getattr(own, name)["bf16"]}
        for name, field in Kernels.model_fields.items()
        if "dict" in str(field.annotation)
    }
    return own.changed(
        **plain,
        source=f"taken over from {engine}",
        confidence="low",
        note="every head of Q reads its K and V by itself in decode attention (blocked_flash of "
        "DeepSpeed-Kernels)",
    )


def read(path: Path, note: str) -> list[Run]:
    """The runs of the table with that note."""
    rows = [row for row in read_rows(path).rows if row.get("note", "") == note]
    cases = [case_of(row) for row in rows]
    return [
        Run(row, case, case.output_tokens_per_s)
        for row, case in zip(rows, cases, strict=True)
        if case.output_tokens_per_s
    ]


def fit(start: Efficiency, runs: Sequence[Run]) -> Serving:
    """The times with the least error."""
    begin = [log(first) for first, _, _ in TIMES.values()]

    def serving(logs: Sequence[float]) -> Serving:
        known = {
            name: float(f"{min(high, max(low, exp(value))):.3g}")
            for value, (name, (_, low, high)) in zip(logs, TIMES.items(), strict=True)
        }
        return start.serving.changed(**known)

    def loss(logs: Sequence[float]) -> float:
        errors = errors_of(start.changed(serving=serving(logs)), runs)
        every = [*errors, *ratios(runs, errors)]
        strayed = sum((a - b) ** 2 for a, b in zip(logs, begin, strict=True))
        return statistics.fmean((e**2 + NOISE**2) ** 0.5 for e in every) + PRIOR * strayed

    simplex = [begin] + [[b + 0.4 * (i == k) for i, b in enumerate(begin)] for k in range(4)]
    options = {"maxfev": EVALUATIONS, "initial_simplex": simplex, "xatol": 0.01, "fatol": 1e-5}
    return serving(minimize(loss, begin, method="Nelder-Mead", options=options).x)


def errors_of(efficiency: Efficiency, runs: Sequence[Run]) -> list[float]:
    """log(predicted / measured) of each run's tokens/s; 0 for one that does not fit."""
    found = [predict_case(with_efficiency(run.case, efficiency)) for run in runs]
    return [
        log(told.output_tokens_per_s.predicted / run.rate) if isinstance(told, Predicted) else 0.0
        for told, run in zip(found, runs, strict=True)
    ]


def summary(efficiency: Efficiency, runs: Sequence[Run]) -> str:
    """Median error and signed median of tokens/s, and of the gain from one width to the next."""
    errors = errors_of(efficiency, runs)
    parts = [f"n {len(runs)}"]
    for name, logs in (("tokens/s", errors), ("gain", ratios(runs, errors))):
        if logs:
            off = [expm1(e) for e in logs]
            size, signed = statistics.median(map(abs, off)), statistics.median(off)
            parts.append(f"{name} {size:.1%} ({signed:+.1%})")
    return " ".join(parts)


def described(serving: Serving, runs: str, table: str) -> Serving:
    """The fitted times with where they come from."""
    source = f"scripts/fit_beside.py on {runs} of argonne-lcf/LLM-Inference-Bench ({table})"
    return serving.changed(source=source, date=date.today(), confidence="medium", note="")


def recorded(efficiency: Efficiency, runs: Sequence[Run], source: str) -> Errors:
    """The error that COVERAGE of `runs` stay under."""
    sizes = sorted(map(abs, errors_of(efficiency, runs)))
    error = float(f"{expm1(sizes[int(COVERAGE * len(sizes))]):.3g}")
    provenance = {"source": source, "date": date.today(), "confidence": "medium", "note": ""}
    return Errors(tpot=error, ttft=TTFT_ERROR, **provenance)


def hand_on(found: Efficiency, other: str, architecture: str) -> None:
    """A record for each other class of the engine with the kernels, with the times found here."""
    origin = f"taken over from {found.engine} on {architecture}: no run on this class was found"
    low: dict[str, object] = {"source": origin, "date": date.today(), "confidence": "low"}
    wide = {"tpot": max(0.6, found.errors.tpot), "source": f"a judgement: {origin}"}
    for path in sorted((DATA / "efficiency" / other).glob("*.yaml")):
        if path.stem == architecture:
            continue
        here = beside(found.engine, other, path.stem)
        taken = found.serving.model_dump(exclude=set(Provenance.model_fields))
        save(
            here.changed(
                serving=here.serving.changed(**taken, **low, note=""),
                errors=found.errors.changed(**low | wide),
            ),
            path.stem,
        )


if __name__ == "__main__":
    main()
