"""Learns how far off predictions are, by engine, class of device, kind of model and width.

Usage: python scripts/fit_ranges.py RUNS.csv [MORE.csv ...] [--write]

The tables are what `tpdeploy backtest` reads. Nothing is fitted but ranges: each is the factor that
four of five runs of its kind lie within. With fewer than FEW runs it is the widest of that of these
runs, of all of that engine and class, and of all of that engine, kind of model and width. Runs of
earlier releases do not count. Printed beside it: the share of the runs that lie within the range
that the other sources (column `family`, else the table) tell without them. `--write` writes the
ranges into tpdeploy/profiles/data/efficiency.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import product
from math import expm1, log, log1p
from pathlib import Path
from statistics import fmean

from fit_serving import save

from benchmarks.coverage import Kind, kind_of_run, of_today, source_of
from tpdeploy.harness.backtest.prediction import Predicted, predict_rows
from tpdeploy.harness.backtest.table import read_rows, stated, usable
from tpdeploy.profiles.devices.accelerator import Efficiency, Spread
from tpdeploy.profiles.devices.catalog import DATA, efficiency_of

# Share of runs whose truth lies within the recorded error.
COVERAGE = 0.8
# Of fewer runs, four of five is a guess; of still fewer, it is left out.
FEW, FEWEST = 20, 5
FIGURES = ("ttft", "tpot", "offline")
MODELS = ("dense", "experts", "latent")


@dataclass(frozen=True)
class Run:
    """How far off the figures of one run are: |log(predicted / measured)|."""

    source: str
    kind: Kind
    off: dict[str, float]


def main() -> None:
    """Predict, learn, report, and write when asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    runs = [run for path in asked.runs for run in read(path)]
    for path in sorted((DATA / "efficiency").glob("*/*.yaml")):
        engine, architecture = path.parent.name, path.stem
        mine = [r for r in runs if (r.kind.engine, r.kind.architecture) == (engine, architecture)]
        if len(mine) < FEWEST:
            continue
        found = with_ranges(efficiency_of(architecture, engine), runs, mine)
        print(f"{engine} on {architecture}: {found.errors.source}")
        if asked.write:
            save(found, architecture)
    print(f"Of all figures, {share_left_out(runs, runs):.0%} are within what other sources tell")


def read(path: Path) -> Iterator[Run]:
    """The runs of today's releases that can be predicted."""
    rows = [row for row in read_rows(path).rows if usable(row) and of_today(row)]
    for row, told in zip(rows, predict_rows(rows), strict=True):
        if isinstance(told, Predicted):
            figures = {"ttft": told.ttft, "tpot": told.tpot}
            if stated(row, "server").lower() == "no":
                figures["offline"] = told.output_tokens_per_s
            off = {n: abs(log(f.predicted / f.measured)) for n, f in figures.items() if f.measured}
            yield Run(source_of(row, path.stem), kind_of_run(row), off)


def with_ranges(known: Efficiency, runs: Sequence[Run], mine: Sequence[Run]) -> Efficiency:
    """The record with the ranges that `runs` tell, of which `mine` are of its engine and class."""
    whole = {name: spread(mine, name, FEWEST) for name in ("tpot", "ttft")}
    sources, share = len({run.source for run in mine}), share_left_out(runs, mine)
    left_out = f"; {share:.0%} of them within what other sources tell" if share else ""
    errors = known.errors.changed(
        **{name: found for name, found in whole.items() if found},
        source=f"scripts/fit_ranges.py: four of five of {len(mine)} public runs of {sources} "
        f"source{'s' * (sources > 1)}{left_out}",
        date=date.today(),
        note="",
    )
    kinds = [
        Kind(known.engine, mine[0].kind.architecture, model, joined)
        for model, joined in product(MODELS, (False, True))
    ]
    parts = tuple(part(errors.tpot, errors.ttft, runs, kind) for kind in kinds)
    return known.changed(errors=errors.changed(parts=parts))


def part(tpot: float, ttft: float, runs: Sequence[Run], kind: Kind) -> Spread:
    """The ranges of one kind; where nothing tells, those of its class.

    What other classes tell does not make that of TPOT narrower than a class's with few runs.
    """
    found = {name: learned(name, runs, kind) for name in FIGURES}
    own = found["tpot"] or tpot
    of_class = [run for run in runs if run.kind.beside(kind)]
    if spread(of_class, "tpot", FEW) is None:
        own = max(own, tpot)
    return Spread(
        model=kind.model,
        joined=kind.joined,
        tpot=own,
        ttft=found["ttft"] or ttft,
        offline=found["offline"] or own,
        rows=sum(run.kind == kind for run in runs),
    )


def learned(name: str, runs: Sequence[Run], kind: Kind) -> float | None:
    """The range of a figure of one kind of runs, from them or from what they are part of."""
    same = [run for run in runs if run.kind.engine == kind.engine]
    own = [run for run in same if run.kind == kind]
    if found := spread(own, name, FEW):
        return found
    of_class = [run for run in same if run.kind.beside(kind)]
    alike = [r for r in same if (r.kind.model, r.kind.joined) == (kind.model, kind.joined)]
    wider = spread(own, name, FEWEST), spread(of_class, name, FEW), spread(alike, name, FEW)
    return max((each for each in wider if each), default=None)


def spread(runs: Sequence[Run], name: str, least: int) -> float | None:
    """What COVERAGE of `runs` lie within, as a share; None of fewer than `least`."""
    sizes = sorted(run.off[name] for run in runs if name in run.off)
    return float(f"{expm1(sizes[int(COVERAGE * len(sizes))]):.3g}") if len(sizes) >= least else None


def share_left_out(runs: Sequence[Run], mine: Sequence[Run]) -> float | None:
    """The share of `mine` within the ranges that the other sources in `runs` tell of their kind.

    None where no other source tells.
    """
    inside = []
    for source in {run.source for run in mine}:
        others = [run for run in runs if run.source != source]
        left = [run for run in mine if run.source == source]
        for kind, name in product({run.kind for run in left}, FIGURES):
            if range_told := learned(name, others, kind):
                off = [run.off[name] for run in left if run.kind == kind and name in run.off]
                inside += [each <= log1p(range_told) for each in off]
    return fmean(inside) if inside else None


if __name__ == "__main__":
    main()
