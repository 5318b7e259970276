"""How right the planner is on runs that nothing was fitted to, and on comparisons of widths.

Usage: python -m benchmarks.blind RUNS.csv [--apart NAME ...] [--record TITLE]

RUNS.csv is what `tpdeploy backtest` reads. Rows whose `note` begins with "impossible" or "doubtful"
are left out. Runs are compared by GPU and engine, and widths as `benchmarks/choice.py` does it,
each with the source (column `family`) and version of its run: two widths are a case only if one
source measured both. Scaling is what `tpdeploy backtest` calls the gain from doubled TP. `--apart`
shows the rows of these families, models or GPUs by themselves: those that were kept out of a fit.
`--record` adds the score to benchmarks/published/blind.yaml and prints its row for
docs/backtest.md.
"""

import argparse
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.choice import TOLERANCE, Case, Run, cases, narrowest, ours, widest
from tpdeploy import __version__
from tpdeploy.files import write_whole
from tpdeploy.harness.backtest.doubling import SAME, doublings, is_group, tokens_per_s
from tpdeploy.harness.backtest.doubling import errors as gains
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
    ttft: Median | None = None
    tpot: Median | None = None
    output_tokens_per_s: Median | None = None
    scaling: Median | None = None
    cases: int
    right: int
    too_wide: int
    too_narrow: int

    @property
    def row(self) -> str:
        """The line of docs/backtest.md."""
        errors = (self.ttft, self.tpot, self.output_tokens_per_s, self.scaling)
        cells = [f"{e.percent:.0f} % ({e.signed_percent:+.0f})" if e else "" for e in errors]
        choice = f"{self.right} of {self.cases}, {self.too_wide} too wide" if self.cases else ""
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
        ttft=median(_errors(told.ttft for _, told in pairs)),
        tpot=median(_errors(told.tpot for _, told in pairs)),
        output_tokens_per_s=median(_errors(_rate(told) for _, told in pairs)),
        scaling=median([gain for _, gain in gains(pairs)]),
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
        if per_s is None or not is_group(row):
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


def misses(found: Sequence[Case]) -> tuple[int, int]:
    """How many wrong picks are wider, and how many narrower, than the best."""
    wrong = [(ours(case).width, case.best.width) for case in found if not case.right(ours)]
    return sum(p > b for p, b in wrong), sum(p < b for p, b in wrong)


def _errors(compared: Iterable[Compared]) -> list[float]:
    return [each.relative_error for each in compared if each.relative_error is not None]


def median(errors: Sequence[float]) -> Median | None:
    """Both medians of `errors`; None if there are none."""
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
    found = doublings([row for row, _ in pairs], [told for _, told in pairs])
    if not found:
        return "No width was doubled."
    *widths, every = found
    parts = [f"{w.name}: {w.median_signed_percent:+.1f}% of {w.pairs}" for w in widths]
    return (
        f"Scaling a doubling, predicted/measured: {every.median_absolute_percent:.1f}% "
        f"({every.median_signed_percent:+.1f}%); {'; '.join(parts)}"
    )


if __name__ == "__main__":
    main()
