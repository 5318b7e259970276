# /// script
# requires-python = ">=3.11"
# dependencies = ["scipy"]
# ///
"""Fits what earlier releases of an engine took longer for, to measured runs of them.

Usage: python scripts/fit_releases.py RUNS.csv --engine vllm --before 0.6 --platform cuda
           [--factors] [--apart NAME ...] [--most 120] [--write]

RUNS.csv is what `tpdeploy backtest` reads, with `engine_version`. The entry of `--before` in
tpdeploy/profiles/data/releases must exist; a fit begins at its values. Times of the host are
fitted, with `--factors` also factors on the rates of the kernels, by Nelder-Mead. The loss counts
the error of each run's tokens/s (TPOT where these are not stated), and, as often, the error of the
ratio between two widths of one machine under the same load of a group. Runs whose KV cache does not
hold all requests say little about a step and are left out. `--apart` keeps families, models or GPUs
out of the fit; their errors are shown by themselves.
"""

import argparse
import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from math import exp, expm1, log, sqrt
from pathlib import Path

from fit_ranges import COVERAGE
from scipy.optimize import minimize

from tpdeploy.backends.base import Release
from tpdeploy.errors import TpdeployError
from tpdeploy.files import write_whole
from tpdeploy.harness.backtest.prediction import Failed, predict_case
from tpdeploy.harness.backtest.rows import Case, adapter_of, case_of
from tpdeploy.harness.backtest.table import Row, is_of, read_rows, usable
from tpdeploy.profiles import DATA
from tpdeploy.profiles.devices.releases import Earlier, History, earlier_releases
from tpdeploy.records import dump_record, read_record

TIMES = {
    "step_s": (1e-5, 1e-2),
    "group_step_s": (1e-5, 5e-3),
    "sequence_s": (1e-6, 5e-4),
    "context_s": (1e-10, 2e-7),
}
FACTORS = {"memory": (0.2, 1.2), "compute": (0.02, 1.2), "communication": (0.5, 8.0)}
# Errors below this are noise, and count alike.
NOISE = 0.03
# Weight of a parameter's squared log distance from where the fit begins.
PRIOR = 0.001
EVALUATIONS = 400
SEED = 1
SAME = ("model", "gpu", "precision", "input_tokens", "output_tokens", "concurrency", "family")
HEADER = "# yaml-language-server: $schema=../schemas/releases.schema.json\n"


@dataclass(frozen=True)
class Run:
    """A run, the question without what its release adds, and what was measured (1/s or 1/ms)."""

    row: Row
    case: Case
    rate: float


def main() -> None:
    """Read, fit, report, and write when asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--before", required=True, help="MAJOR.MINOR")
    parser.add_argument("--platform", required=True, choices=("cuda", "rocm"))
    parser.add_argument("--factors", action="store_true")
    parser.add_argument("--apart", nargs="+", default=(), metavar="NAME")
    parser.add_argument("--most", type=int, default=120, help="runs drawn at random to fit")
    parser.add_argument("--evaluations", type=int, default=EVALUATIONS, help="of the loss, at most")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    start = entry(asked.engine, asked.before, asked.platform)
    runs = read(asked.runs, asked.engine, start)
    kept = [run for run in runs if is_of(run.row, asked.apart)]
    known = [run for run in runs if run not in kept]
    drawn = random.Random(SEED).sample(known, min(asked.most, len(known)))  # noqa: S311
    ranges = TIMES | FACTORS if asked.factors else TIMES
    found = fit(start, drawn, ranges, asked.evaluations)
    for words, mine in (("fitted", known), ("kept apart", kept)):
        for told, each in (("today's", None), ("fit", found)):
            print(f"{words}, {told}: {summary(each, mine)}")
    result = described(found, known, asked.runs.name, within(found, kept or known))
    print(dump_record(result))
    if asked.write:
        save(asked.engine, start, result)


def release(text: str) -> Release:
    """The release called MAJOR.MINOR."""
    major, minor = text.split(".")
    return Release(int(major), int(minor))


def entry(engine: str, before: str, platform: str) -> Earlier:
    """The recorded releases that ended with `before`."""
    wanted = release(before)
    for each in earlier_releases(engine, platform):
        if (each.major, each.minor) == (wanted.major, wanted.minor):
            return each
    raise SystemExit(f"Error: no entry before {before} on {platform} in releases/{engine}.yaml")


def read(path: Path, engine: str, ended: Earlier) -> list[Run]:
    """The usable runs of one engine on one platform whose release lies in between."""
    end, since = Release(ended.major, ended.minor), Release(*ended.since)
    found = []
    for row in read_rows(path).rows:
        version = row.get("engine_version", "").strip()
        inside = version and end.is_after(version) and not since.is_after(version)
        if not (inside and usable(row)):
            continue
        try:
            case = case_of({**row, "engine_version": "", "date": ""})
            mine = adapter_of(row["engine"]) == engine
        except TpdeployError:
            continue
        device = case.readings[0].inputs.cluster.accelerator
        rate = case.output_tokens_per_s or (1 / case.tpot_ms if case.tpot_ms else None)
        if mine and device.platform == ended.platform and rate and all_at_once(case):
            found.append(Run(row, case, rate))
    return found


def all_at_once(case: Case) -> bool:
    """Whether no request waits for others to end: TTFT is a small part of the whole."""
    told = predict_case(case)
    if isinstance(told, Failed):
        return False
    tokens = case.readings[0].inputs.workload.output_tokens
    return told.ttft.predicted < 0.35 * told.tpot.predicted * tokens


def fit(
    start: Earlier, runs: Sequence[Run], ranges: dict[str, tuple[float, float]], evaluations: int
) -> Earlier:
    """The values with the least error."""
    names = list(ranges)
    begin = [log(min(high, max(low, getattr(start, n)))) for n, (low, high) in ranges.items()]

    def values(logs: Sequence[float]) -> Earlier:
        pairs = zip(names, logs, ranges.values(), strict=True)
        known = {name: min(high, max(low, exp(v))) for name, v, (low, high) in pairs}
        return start.model_copy(update={n: float(f"{v:.3g}") for n, v in known.items()})

    def loss(logs: Sequence[float]) -> float:
        errors = errors_of(values(logs), runs)
        every = [*errors, *ratios(runs, errors)]
        strayed = sum((a - b) ** 2 for a, b in zip(logs, begin, strict=True))
        return statistics.fmean(sqrt(e**2 + NOISE**2) for e in every) + PRIOR * strayed

    simplex = [begin] + [
        [b + 0.5 * (i == k) for i, b in enumerate(begin)] for k in range(len(names))
    ]
    options = {"maxfev": evaluations, "initial_simplex": simplex, "xatol": 0.01, "fatol": 1e-5}
    return values(minimize(loss, begin, method="Nelder-Mead", options=options).x)


def errors_of(earlier: Earlier | None, runs: Sequence[Run]) -> list[float]:
    """log(predicted / measured) of each run's rate, with today's times or an earlier release's."""
    return [error_of(earlier, run) for run in runs]


def error_of(earlier: Earlier | None, run: Run) -> float:
    """The same of one run; 0 for one that does not fit any more."""
    readings = run.case.readings
    if earlier:
        readings = tuple(
            replace(
                r,
                inputs=replace(
                    r.inputs,
                    cluster=r.inputs.cluster.model_copy(
                        update={"efficiency": earlier.of(r.inputs.cluster.efficiency)}
                    ),
                ),
            )
            for r in readings
        )
    told = predict_case(replace(run.case, readings=readings))
    if isinstance(told, Failed):
        return 0.0
    by_rate = run.case.output_tokens_per_s is not None
    predicted = told.output_tokens_per_s.predicted if by_rate else 1 / told.tpot.predicted
    return log(predicted / run.rate)


def ratios(runs: Sequence[Run], errors: Sequence[float]) -> list[float]:
    """The log error of the gain of each wider group over the next narrower one."""
    groups: dict[tuple[str, ...], list[tuple[int, float]]] = defaultdict(list)
    for run, error in zip(runs, errors, strict=True):
        groups[tuple(run.row.get(n, "") for n in SAME)].append((int(run.row["tp"]), error))
    found = []
    for group in groups.values():
        ordered = [error for _, error in sorted(group)]
        found += [wide - narrow for narrow, wide in pairwise(ordered)]
    return found


def summary(earlier: Earlier | None, runs: Sequence[Run]) -> str:
    """Median error and signed median of tokens/s, and of the gain from one width to the next."""
    errors = errors_of(earlier, runs)
    parts = [f"{len(runs)} runs"]
    for name, logs in (("tokens/s", errors), ("gain", ratios(runs, errors))):
        if logs:
            off = [exp(e) - 1 for e in logs]
            size, signed = statistics.median(map(abs, off)), statistics.median(off)
            parts.append(f"{name} {size:.1%} ({signed:+.1%})")
    return ", ".join(parts)


def within(earlier: Earlier, runs: Sequence[Run]) -> float:
    """The error that four of five of `runs` stay under."""
    sizes = sorted(map(abs, errors_of(earlier, runs)))
    return float(f"{expm1(sizes[int(COVERAGE * len(sizes))]):.3g}")


def described(found: Earlier, runs: Sequence[Run], table: str, error: float) -> Earlier:
    """The values with where they come from."""
    models = sorted({run.row["model"].rsplit("/", 1)[-1] for run in runs})
    gpus = sorted({run.row["gpu"] for run in runs})
    sources = sorted({run.row.get("source", table).split(" ")[0] for run in runs})
    return found.model_copy(
        update={
            "source": f"scripts/fit_releases.py on {len(runs)} public runs of {', '.join(sources)}",
            "date": date.today(),
            "error": error,
            "note": f"fitted to {', '.join(models)} on {', '.join(gpus)}; {summary(found, runs)}",
        }
    )


def save(engine: str, old: Earlier, new: Earlier) -> None:
    """Put `new` where `old` stood."""
    path = DATA / "releases" / f"{engine}.yaml"
    known = read_record(path, History)
    changed = tuple(new if each == old else each for each in known.earlier)
    write_whole(path, HEADER + dump_record(known.model_copy(update={"earlier": changed})))


if __name__ == "__main__":
    main()
