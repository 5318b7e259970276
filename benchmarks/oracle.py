"""How right predictions could be that knew the constants of each machine, or were as sure as they.

Usage: python -m benchmarks.oracle RUNS.csv

RUNS.csv is what `benchmarks.blind` reads. First, what is left of the errors if every prediction
were divided by the median of predicted / measured of the other runs of its group: those of one
source on one GPU with one release of an engine; of these, those of one model; of these, those of
one width. What is left even then depends on the load, or is noise. Second, how many widths would be
chosen within 5 % of the best: by such predictions, and by what was measured with an unbiased error.
"""

import argparse
import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from math import exp, expm1, log
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.blind import Pair, predicted, runs
from benchmarks.choice import Case, Run, cases, ours
from tpdeploy.harness.backtest.prediction import Compared, Predicted

SETTING = ("family", "gpu", "engine", "engine_version")
LEVELS = {
    "source, GPU, release": SETTING,
    "and model": (*SETTING, "model", "precision"),
    "and width": (*SETTING, "model", "precision", "tp", "pp", "dp"),
}
FIGURES: dict[str, Callable[[Predicted], Compared]] = {
    "TTFT": lambda told: told.ttft,
    "TPOT": lambda told: told.tpot,
    "tokens/s": lambda told: told.output_tokens_per_s,
}
NOISES = (0.03, 0.05, 0.08, 0.1, 0.15)
DRAWS = 20


def main() -> None:
    """Read, predict, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    pairs = predicted(parser.parse_args().runs)
    console = Console()
    console.print(_errors(pairs))
    console.print(_choices(runs(pairs)))


def left(logs: Sequence[tuple[Hashable, float]]) -> list[float]:
    """Of the log error of each run, by its group, what the median of the group's others leaves.

    A run that is alone in its group is left out: nothing would tell its constant.
    """
    groups: defaultdict[Hashable, list[float]] = defaultdict(list)
    for group, error in logs:
        groups[group].append(error)
    found = []
    for group, error in logs:
        others = list(groups[group])
        others.remove(error)
        if others:
            found.append(error - statistics.median(others))
    return found


def corrected(found: Sequence[Run]) -> list[Run]:
    """The runs with tokens/s and TPOT corrected by those of the same width with other tokens."""
    groups: defaultdict[Hashable, list[Run]] = defaultdict(list)
    for run in found:
        groups[_setting(run)].append(run)
    return [
        _corrected(run, [r for r in groups[_setting(run)] if r.same != run.same]) for run in found
    ]


def _setting(run: Run) -> Hashable:
    """The engine, model, precision, GPU and width of a run, and whose it is, without its tokens."""
    return run.same[:4], run.same[6:], run.width


def _corrected(run: Run, others: Sequence[Run]) -> Run:
    rates = [log(r.predicted_per_s / r.measured_per_s) for r in others]
    tpots = [log(r.predicted_tpot_ms / r.measured_tpot_ms) for r in others if r.measured_tpot_ms]
    return replace(
        run,
        predicted_per_s=run.predicted_per_s / exp(statistics.median(rates or [0.0])),
        predicted_tpot_ms=run.predicted_tpot_ms / exp(statistics.median(tpots or [0.0])),
    )


def noisy(found: Iterable[Run], size: float, draw: random.Random) -> list[Run]:
    """The runs, predicted as they were measured but for an unbiased error of log size `size`."""
    return [
        replace(
            run,
            predicted_per_s=run.measured_per_s * draw.lognormvariate(0, size),
            predicted_tpot_ms=(run.measured_tpot_ms or 1.0) * draw.lognormvariate(0, size),
        )
        for run in found
    ]


def _errors(pairs: Sequence[Pair]) -> Table:
    table = Table(title="Median size of errors, of so many runs", title_justify="left")
    table.add_column("")
    for title in ("as predicted", *LEVELS):
        table.add_column(title, justify="right")
    for name, figure in FIGURES.items():
        known = [
            (row, log(told.predicted / told.measured))
            for row, told in ((row, figure(whole)) for row, whole in pairs)
            if told.measured
        ]
        cells = [_cell([error for _, error in known])]
        for fields in LEVELS.values():
            grouped = [(tuple(row.get(f, "") for f in fields), error) for row, error in known]
            cells.append(_cell(left(grouped)))
        table.add_row(name, *cells)
    return table


def _cell(logs: Sequence[float]) -> str:
    if not logs:
        return ""
    return f"{statistics.median(abs(expm1(e)) for e in logs):.0%} of {len(logs)}"


def _choices(found: Sequence[Run]) -> Table:
    table = Table(title="Picks within 5 % of the measured best", title_justify="left")
    table.add_column("predictions")
    for title in ("free", "under a limit"):
        table.add_column(title, justify="right")
    for words, made in (("ours", found), ("with a constant of each width", corrected(found))):
        table.add_row(words, *map(_share, cases(made)))
    for size in NOISES:
        draw = random.Random(1)  # noqa: S311 - reproducible, not cryptography
        drawn = [cases(noisy(found, size, draw)) for _ in range(DRAWS)]
        together = ([c for part in parts for c in part] for parts in zip(*drawn, strict=True))
        table.add_row(f"as measured, error of {size:.0%}", *map(_share, together))
    return table


def _share(found: Sequence[Case]) -> str:
    right = statistics.fmean(case.right(ours) for case in found) if found else None
    return "-" if right is None else f"{right:.1%}"


if __name__ == "__main__":
    main()
