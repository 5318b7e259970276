"""How right the planner is on the published runs, held against the figures that are committed.

Usage: python -m benchmarks.accuracy [--write [--others RUNS.csv]]

Predicts every run of benchmarks/published/*.csv, a minute or two. Fails where an error is larger,
or a share smaller, than accuracy.yaml beside the tables says, and where of a class of runs too few
or too many lie in their ranges (`benchmarks/coverage.py`). `--write` commits to what is found: it
writes that file and the rows of docs/backtest.md that show it. `--others` does so for runs that are
not in the repository; without it, their figures stay.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.blind import usable
from benchmarks.choice import Case, cases, ours, usable_runs
from benchmarks.coverage import Covered, Pair, covered, lines, out_of_band
from tpdeploy.files import write_whole
from tpdeploy.harness.backtest.doubling import Doubling, doublings
from tpdeploy.harness.backtest.prediction import Predicted, Result, predict_rows
from tpdeploy.harness.backtest.summary import Errors, summarise
from tpdeploy.harness.backtest.table import Row, read_rows
from tpdeploy.profiles.record import Record
from tpdeploy.records import dump_record, read_record

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "benchmarks" / "published"
COMMITTED = PUBLISHED / "accuracy.yaml"
PAGE = ROOT / "docs" / "backtest.md"
# Each table, and every how many of its rows one is in the sample that the fast tests predict.
TABLES: Mapping[str, int] = {
    "serving.csv": 16,
    "tensorrt-llm-offline.csv": 6,
    "tensorrt-llm-static.csv": 1,
    "deepspeed-mii.csv": 4,
}
BEGIN, END = "<!-- classes -->", "<!-- end of classes -->"
DIGITS = 2
ROUNDING_PERCENT = 0.05  # rounding of the figures, and of arithmetic on other processors
MEANT_IN_RANGE_PERCENT = 80.0  # a range is meant to hold four of five


class Error(Record):
    """Errors of one quantity, |predicted / measured - 1|."""

    median_percent: float
    in_range_percent: float


class Figures(Record):
    """What some rows of a table show; nothing where nothing was measured."""

    rows: int
    predicted: int
    ttft: Error | None = None
    tpot: Error | None = None
    output_tokens_per_s: Error | None = None


class Choice(Record):
    """How often the pick was within 5 % of the measured best (`benchmarks/choice.py`)."""

    cases: int
    right_percent: float


class Doubled(Record):
    """Errors of the gain in tokens/s from a width to its double, predicted / measured - 1."""

    pairs: int
    median_percent: float
    signed_percent: float


class Shown(Record):
    """What one table shows: all rows and those of each engine and GPU, by name."""

    groups: dict[str, Figures]
    sample: dict[str, Figures]
    doubled: Doubled | None = None
    choice: Choice | None = None
    choice_under_limit: Choice | None = None


class Accuracy(Record):
    """The figures of every table, and how often ranges held, by class."""

    tables: dict[str, Shown]
    classes: dict[str, Covered]
    others: dict[str, Covered]  # of runs that are not in the repository


def main() -> None:
    """Predict, then compare or write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--others", type=Path, metavar="RUNS.csv", help="with --write")
    asked = parser.parse_args()
    told = {name: predicted(PUBLISHED / name) for name in TABLES}
    committed = read_record(COMMITTED, Accuracy)
    others = committed.others
    if asked.others:
        others = covered({asked.others.stem: pairs(*predicted(asked.others))})
    found = Accuracy(
        tables={name: shown(*told[name], every) for name, every in TABLES.items()},
        classes=covered({name: pairs(*both) for name, both in told.items()}),
        others=others,
    )
    for name, figures_of in found.tables.items():
        print(row(name, figures_of))
    problems = list(out_of_band(found.classes))
    if asked.write:
        write_whole(COMMITTED, dump_record(found))
        write_whole(PAGE, page(PAGE.read_text(encoding="utf-8"), found))
    else:
        for name, figures_of in found.tables.items():
            was = committed.tables[name]
            problems += [f"{name}: {problem}" for problem in worse_table(figures_of, was)]
    if problems:
        words = "\n".join(f"  {problem}" for problem in problems)
        sys.exit(
            f"Error: worse than {COMMITTED.name} says, or ranges that do not hold:\n{words}\n"
            "If errors are meant to grow, say why in the changelog and run: "
            "python -m benchmarks.accuracy --write\n"
            "Ranges are learned by: python scripts/fit_ranges.py"
        )


def predicted(path: Path) -> tuple[list[Row], Sequence[Result]]:
    """The rows of a table that nothing speaks against, and their predictions."""
    rows = _rows(path)
    return rows, predict_rows(rows)


def pairs(rows: Sequence[Row], results: Sequence[Result]) -> list[Pair]:
    """The rows that could be predicted, each with its prediction."""
    both = zip(rows, results, strict=True)
    return [(row, told) for row, told in both if isinstance(told, Predicted)]


def shown(rows: Sequence[Row], results: Sequence[Result], every: int) -> Shown:
    """The figures of a table, and of a sample of it."""
    free, limited = cases(usable_runs(rows, results))
    return Shown(
        groups=figures(rows, results),
        sample=figures(rows[::every], results[::every]),
        doubled=_doubled(doublings(rows, results)),
        choice=_choice(free),
        choice_under_limit=_choice(limited),
    )


def sampled(name: str) -> dict[str, Figures]:
    """The figures of the sample alone."""
    rows = _rows(PUBLISHED / name)[:: TABLES[name]]
    return figures(rows, predict_rows(rows))


def figures(rows: Sequence[Row], results: Sequence[Result]) -> dict[str, Figures]:
    """What `results`, the predictions of `rows`, show: in all, by engine and by GPU."""
    return {
        group.name: Figures(
            rows=group.rows,
            predicted=group.predicted,
            ttft=_error(group.ttft),
            tpot=_error(group.tpot),
            output_tokens_per_s=_error(group.output_tokens_per_s),
        )
        for group in summarise("", rows, results).groups
        if group.by in {"all", "engine", "gpu"}
    }


def worse_table(now: Shown, was: Shown) -> Iterator[str]:
    """Each figure of all rows of a table that is worse than it was."""
    yield from worse(now.groups, was.groups)
    if was.doubled and now.doubled:
        error, before = now.doubled.median_percent, was.doubled.median_percent
        if error > before + ROUNDING_PERCENT:
            yield f"gain from doubled TP: median error {error} %, was {before} %"
    for name in ("choice", "choice_under_limit"):
        share, before = getattr(now, name), getattr(was, name)
        right = share.right_percent if share else 0.0
        if before and right < before.right_percent - ROUNDING_PERCENT:
            yield f"{name}: {right} % right, were {before.right_percent} %"


def worse(now: Mapping[str, Figures], was: Mapping[str, Figures]) -> Iterator[str]:
    """Each figure of a group in `now` that is worse than in `was`."""
    for group, before in was.items():
        if group not in now:
            yield f"{group}: no rows"
            continue
        yield from (f"{group}: {problem}" for problem in _worse_group(now[group], before))


def page(text: str, accuracy: Accuracy) -> str:
    """`text`, with the row of each table and the table of classes that say what `accuracy` says."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    classes = "\n".join(lines(accuracy.classes, accuracy.others))
    text = f"{before}{BEGIN}\n\n{classes}\n\n{END}{after}"
    rows = {f"| `{name}` |": row(name, shown) for name, shown in accuracy.tables.items()}
    return "\n".join(rows.get(line[: line.find("|", 1) + 1], line) for line in text.split("\n"))


def row(name: str, shown: Shown) -> str:
    """The line of docs/backtest.md for one table."""
    every = shown.groups["all"]
    errors = (every.ttft, every.tpot, every.output_tokens_per_s)
    cells = [f"{e.median_percent:.0f} %" if e else "" for e in (*errors, shown.doubled)]
    picks = (("", shown.choice), (" under a limit", shown.choice_under_limit))
    right = (f"{c.right_percent:.0f} % of {c.cases}{words}" for words, c in picks if c)
    told = (f"`{name}`", *cells, ", ".join(right))
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in told)


def _rows(path: Path) -> list[Row]:
    return [row for row in read_rows(path).rows if usable(row)]


def _worse_group(now: Figures, was: Figures) -> Iterator[str]:
    if now.predicted < was.predicted:
        yield f"{now.predicted} rows predicted of {now.rows}, were {was.predicted}"
    for name in ("ttft", "tpot", "output_tokens_per_s"):
        error, before = getattr(now, name), getattr(was, name)
        if before and not error:
            yield f"{name}: not predicted any more"
        elif before:
            yield from _worse_error(name, error, before)


def _worse_error(name: str, now: Error, was: Error) -> Iterator[str]:
    """A range may become narrower as long as it holds four of five."""
    if now.median_percent > was.median_percent + ROUNDING_PERCENT:
        yield f"{name}: median error {now.median_percent} %, was {was.median_percent} %"
    least = min(was.in_range_percent, MEANT_IN_RANGE_PERCENT)
    if now.in_range_percent < least - ROUNDING_PERCENT:
        yield f"{name}: {now.in_range_percent} % in range, were {was.in_range_percent} %"


def _error(errors: Errors | None) -> Error | None:
    if errors is None:
        return None
    return Error(
        median_percent=round(errors.median_absolute_percent, DIGITS),
        in_range_percent=round(errors.in_range_percent, DIGITS),
    )


def _doubled(found: Sequence[Doubling]) -> Doubled | None:
    if not found:
        return None
    return Doubled(
        pairs=found[-1].pairs,
        median_percent=round(found[-1].median_absolute_percent, DIGITS),
        signed_percent=round(found[-1].median_signed_percent, DIGITS),
    )


def _choice(found: Sequence[Case]) -> Choice | None:
    if not found:
        return None
    right = sum(case.right(ours) for case in found)
    return Choice(cases=len(found), right_percent=round(100 * right / len(found), DIGITS))


if __name__ == "__main__":
    main()
