"""One line of each benchmark, from short runs: plan speed, the load generator, the front.

Usage: python -m benchmarks [--times 3]

Each benchmark by itself says more; docs/benchmarks.md tells what they measure.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.front import rounds
from benchmarks.generator import once
from benchmarks.plan_speed import CASES, TOKENS, timed, tpdeploy
from tpdeploy.errors import TpdeployError

STREAMS = 16
ADDED = "{:+.2f} ms"
Line = tuple[str, str, str]


def main() -> None:
    """One table; what cannot be run here is said in its line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=3, help="runs of each")
    asked = parser.parse_args()
    table = Table(
        title=f"Medians of {asked.times} short runs, {STREAMS} streams", title_justify="left"
    )
    for title in ("what", "figure", "least to most"):
        table.add_column(title)
    table.add_row(*plan_speed(asked.times))
    table.add_row(*generator(asked.times))
    table.add_row(*through_front(asked.times))
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def plan_speed(times: int) -> Line:
    """Wall time of a plan in a new process."""
    case = CASES[0]
    with tempfile.TemporaryDirectory() as folder:
        found = timed(tpdeploy("plan", *case.plan, *TOKENS), times, folder)
    what = f"plan of {case.name}"
    return (
        (what, found.failure, "")
        if found.failure
        else line(what, "{:.2f} s", {"wall": found.seconds})
    )


def generator(times: int) -> Line:
    """What the load generator reports beyond what was written, of the median request."""
    added = [once(STREAMS).added for _ in range(times)]
    ttft, itl = [each[0] for each in added], [each[2] for each in added]
    return line("load generator adds", ADDED, {"TTFT": ttft, "ITL": itl})


def through_front(times: int) -> Line:
    """What the front adds to the median request."""
    what = "front adds"
    try:
        added = [each.added for each in rounds(STREAMS, times)]
    except TpdeployError as error:
        return what, f"not run: {error}", ""
    ttft, itl = [each[0] for each in added], [each[2] for each in added]
    return line(what, ADDED, {"TTFT": ttft, "ITL": itl})


def line(what: str, form: str, figures: Mapping[str, Sequence[float]]) -> Line:
    """The median of each of `figures` by its name, and the least and the greatest."""
    medians = (f"{name} {form.format(median(runs))}" for name, runs in figures.items())
    ranges = (f"{form.format(min(r))} to {form.format(max(r))}" for r in figures.values())
    return what, ", ".join(medians), ", ".join(ranges)


if __name__ == "__main__":
    main()
