"""How right the planner is on runs that nothing was fitted to, and on comparisons of widths.

Usage: python -m benchmarks.blind RUNS.csv [--apart NAME ...] [--record TITLE]

RUNS.csv is what `tpdeploy backtest` reads. Rows whose `note` begins with "impossible" or "doubtful"
are left out. Runs are compared by GPU and engine, and widths as `benchmarks/choice.py` does it,
each with the source (column `family`) and version of its run: two widths are a case only if one
source measured both. `scaling` is the predicted gain in tokens/s when the width doubles and the
load of a group stays the same, divided by the measured one. `--apart` shows the rows of these
families, models or GPUs by themselves: those that were kept out of a fit. `--record` adds the score
to benchmarks/published/blind.yaml and prints its row for docs/backtest.md.
"""

import argparse
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from math import expm1, log
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.choice import SAME, TOLERANCE, Case, Run, cases, narrowest, ours, widest
from tpdeploy import __version__
from tpdeploy.files import write_whole
from tpdeploy.harness.backtest.prediction import Compared, Predicted, predict_rows
from tpdeploy.harness.backtest.table import Row, is_of, read_rows, usable
from tpdeploy.profiles.record import Record
from tpdeploy.records import dump_record, read_record

SCORES = Path(__file__).resolve().parent / "published" / "blind.yaml"
# What else is the same in two runs that compare widths.
SETTING = ("engine_version", "server", "family")

Pair = tuple[Row, Predicted]


class Median(Record):
    """The median size of errors, and their median with the sign."""

    percent: float
    signed_percent: float


class Score(Record):
    """How the predictions of one version compare with runs that it had not seen."""

    title: str
    date: date
    version: str
    rows: int
    ttft: Median | None
    tpot: Median | None
    output_tokens_per_s: Median | None
    scaling: Median | None
    cases: int
    right: int
    too_wide: int
    too_narrow: int

    @property
    def row(self) -> str:
        """The line of docs/backtest.md."""
        errors = (self.ttft, self.tpot, self.output_tokens_per_s, self.scaling)
        cells = [f"{e.percent:.0f} % ({e.signed_percent:+.0f})" if e else "" for e in errors]
        choice = f"{self.right} of {self.cases}, {self.too_wide} too wide"
        told = (self.date.isoformat(), self.version, self.title, str(self.rows), *cells, choice)
        return f"| {' | '.join(told)} |"


class Scores(Record):
    """Every blind score, the oldest first."""

    scores: tuple[Score, ...] = ()


def main() -> None:
    """Predict, and print three tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--apart", nargs="+", default=(), metavar="NAME")
    parser.add_argument("--record", metavar="TITLE", help="add the score to blind.yaml")
    asked = parser.parse_args()
    pairs = predicted(asked.runs)
    if asked.record:
        found = score(asked.record, pairs).changed(version=f"{__version__} ({_commit()})")
        kept = read_record(SCORES, Scores).scores if SCORES.exists() else ()
        write_whole(SCORES, dump_record(Scores(scores=(*kept, found))))
        print(found.row)
    console = Console(width=110)
    for words, mine in _parts(pairs, asked.apart):
        console.print(_errors_table(words, mine))
        console.print(_choice_line(mine))
        console.print(_scaling_line(mine))


def predicted(path: Path) -> list[Pair]:
    """The usable rows that can be predicted, each with its prediction."""
    rows = [row for row in read_rows(path).rows if usable(row)]
    results = predict_rows(rows)
    return [(row, r) for row, r in zip(rows, results, strict=True) if isinstance(r, Predicted)]


def _commit() -> str:
    """The commit that predicts; releases are too far apart to tell."""
    argv = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(
        argv, cwd=Path(__file__).parent, capture_output=True, check=True, text=True
    ).stdout.strip()


def score(title: str, pairs: Sequence[Pair]) -> Score:
    """The figures of `pairs`, of today's version."""
    found = runs(pairs)
    free, _ = cases(found)
    wide, narrow = misses(free)
    return Score(
        title=title,
        date=date.today(),
        version=__version__,
        rows=len(pairs),
        ttft=_median(_errors(told.ttft for _, told in pairs)),
        tpot=_median(_errors(told.tpot for _, told in pairs)),
        output_tokens_per_s=_median(_errors(_rate(told) for _, told in pairs)),
        scaling=_median([expm1(gain) for group in scaling(found).values() for gain in group]),
        cases=len(free),
        right=sum(case.right(ours) for case in free),
        too_wide=wide,
        too_narrow=narrow,
    )


def runs(pairs: Iterable[Pair]) -> list[Run]:
    """The runs of one group each, as comparisons of widths take them; by tokens/s where stated."""
    found = []
    for row, told in pairs:
        per_s = tokens_per_s(row, told)
        if per_s is None or any(row[name].strip() not in {"", "1"} for name in ("pp", "dp")):
            continue
        if not row["concurrency"].strip():  # at a rate every width serves as much
            continue
        found.append(
            Run(
                same=tuple(row.get(name, "").strip() for name in (*SAME, *SETTING)),
                width=int(row["tp"]),
                clients=int(row["concurrency"]),
                measured_per_s=per_s,
                measured_tpot_ms=told.tpot.measured,
                predicted_per_s=told.output_tokens_per_s.predicted,
                predicted_tpot_ms=told.tpot.predicted,
            )
        )
    return found


def tokens_per_s(row: Row, told: Predicted) -> float | None:
    """What was measured, from the latencies where only these are stated."""
    ttft, tpot, stated = (each.measured for each in (told.ttft, told.tpot, _rate(told)))
    if stated is not None or ttft is None or tpot is None or not row["concurrency"].strip():
        return stated
    clients, tokens = int(row["concurrency"]), int(row["output_tokens"])
    return clients * tokens / (ttft + tpot * (tokens - 1)) * 1000


def scaling(found: Iterable[Run]) -> dict[tuple[int, int], list[float]]:
    """log(predicted gain / measured gain) of each doubling of a width under one load of a group."""
    by_load: defaultdict[tuple[object, ...], dict[int, Run]] = defaultdict(dict)
    for run in found:
        by_load[(*run.same, run.clients)][run.width] = run
    gains: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
    for widths in by_load.values():
        for width, run in widths.items():
            if wide := widths.get(2 * width):
                gain = wide.predicted_per_s / run.predicted_per_s
                was = wide.measured_per_s / run.measured_per_s
                gains[width, 2 * width].append(log(gain / was))
    return gains


def misses(found: Sequence[Case]) -> tuple[int, int]:
    """How many wrong picks are wider, and how many narrower, than the best."""
    wrong = [(ours(case).width, case.best.width) for case in found if not case.right(ours)]
    return sum(p > b for p, b in wrong), sum(p < b for p, b in wrong)


def _errors(compared: Iterable[Compared]) -> list[float]:
    return [each.relative_error for each in compared if each.relative_error is not None]


def _median(errors: Sequence[float]) -> Median | None:
    if not errors:
        return None
    size, signed = statistics.median(map(abs, errors)), statistics.median(errors)
    return Median(percent=round(100 * size, 1), signed_percent=round(100 * signed, 1))


def _rate(told: Predicted) -> Compared:
    return told.output_tokens_per_s


def _parts(pairs: Sequence[Pair], apart: Sequence[str]) -> list[tuple[str, list[Pair]]]:
    if not apart:
        return [("all", list(pairs))]
    kept = [is_of(row, apart) for row, _ in pairs]
    return [
        (words, [pair for pair, k in zip(pairs, kept, strict=True) if k is wanted])
        for words, wanted in (("the others", False), ("kept apart", True))
    ]


def _errors_table(words: str, pairs: Sequence[Pair]) -> Table:
    table = Table(title=f"Errors, {words}: median size (signed), in range", title_justify="left")
    table.add_column("GPU")
    table.add_column("engine")
    for name in ("rows", "TTFT", "TPOT", "tokens/s"):
        table.add_column(name, justify="right")
    groups: defaultdict[tuple[str, str], list[Predicted]] = defaultdict(list)
    for row, told in pairs:
        groups[row["gpu"], row["engine"]].append(told)
    for (gpu, engine), mine in sorted(groups.items()):
        table.add_row(gpu, engine, str(len(mine)), *_cells(mine))
    table.add_section()
    table.add_row("all", "", str(len(pairs)), *_cells([told for _, told in pairs]))
    return table


def _cells(mine: Sequence[Predicted]) -> list[str]:
    figures: Mapping[str, Callable[[Predicted], Compared]] = {
        "ttft": lambda told: told.ttft,
        "tpot": lambda told: told.tpot,
        "rate": _rate,
    }
    return [_cell([figure(told) for told in mine]) for figure in figures.values()]


def _cell(compared: Sequence[Compared]) -> str:
    errors = [(c.relative_error, c.in_range) for c in compared if c.relative_error is not None]
    if not errors:
        return ""
    signed = [100 * error for error, _ in errors]
    size, inside = statistics.median(map(abs, signed)), statistics.fmean(i for _, i in errors)
    return f"{size:.0f} % ({statistics.median(signed):+.0f}), {inside:.0%}"


def _choice_line(pairs: Sequence[Pair]) -> str:
    free, _ = cases(runs(pairs))
    if not free:
        return "No width was compared with another."
    shares = [
        f"{name} {sum(c.right(pick) for c in free)}"
        for name, pick in (("ours", ours), ("narrowest", narrowest), ("widest", widest))
    ]
    wide, narrow = misses(free)
    return (
        f"Within {TOLERANCE:.0%} of the best of {len(free)} cases: {', '.join(shares)}; of our "
        f"misses {wide} are too wide, {narrow} too narrow"
    )


def _scaling_line(pairs: Sequence[Pair]) -> str:
    gains = scaling(runs(pairs))
    every = [gain for group in gains.values() for gain in group]
    if not every:
        return "No width was doubled."
    parts = [
        f"{a} to {b}: {statistics.median(group):+.1%} of {len(group)}"
        for (a, b), group in sorted(gains.items())
    ]
    return (
        f"Scaling a doubling, predicted/measured: {statistics.median(map(abs, every)):.1%} "
        f"({statistics.median(every):+.1%}); {'; '.join(parts)}"
    )


if __name__ == "__main__":
    main()
