"""How often the predicted choice of a width is the measured best, or within 5 % of it.

Usage: python benchmarks/choice.py RUNS.csv [--misses]

RUNS.csv is what `tpdeploy backtest` reads. A case: G GPUs (8, or the widest group measured) serve
C requests at a time, as G/t replicas of width t with C t/G requests each, every one of at least
two widths measured under the same engine, model, precision, GPU and tokens. Of several runs of the
same width and load the fastest counts. A width's tokens/s: requests in flight x output tokens /
(TTFT + TPOT x (output tokens - 1)), times replicas. We pick the most predicted tokens/s; under a
TPOT limit, of those predicted to keep it (none: the least TPOT). A pick is right when what was
measured for it is within 5 % of the most that was measured, and of the limit. Limits are the
quartiles of the TPOT measured for that engine, model, precision, GPU and tokens; a case counts
under those that some width kept. Runs that state tokens/s alone were given all requests at once:
each is under its share of any load, and there is no limit.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tpdeploy.errors import InputError
from tpdeploy.harness.backtest.doubling import SAME
from tpdeploy.harness.backtest.prediction import Predicted, Result, predict_rows
from tpdeploy.harness.backtest.table import Row, read_rows

GPUS = 8
TOLERANCE = 0.05


@dataclass(frozen=True)
class Run:
    """One width under one load, on one replica."""

    same: tuple[str, ...]
    width: int
    clients: int
    measured_per_s: float
    measured_tpot_ms: float | None
    predicted_per_s: float
    predicted_tpot_ms: float


@dataclass(frozen=True)
class Option:
    """One width of a case: tokens/s of all replicas and TPOT, measured and predicted."""

    width: int
    measured_per_s: float
    measured_tpot_ms: float | None  # None only where there is no limit
    predicted_per_s: float
    predicted_tpot_ms: float


@dataclass(frozen=True)
class Case:
    """What `clients` requests at a time may be served by, under a limit of TPOT or none."""

    same: tuple[str, ...]
    clients: int
    options: tuple[Option, ...]
    limit_ms: float | None = None

    def right(self, pick: Callable[["Case"], Option]) -> bool:
        """Whether what was measured for the pick is as good as the best, within TOLERANCE."""
        chosen = pick(self)
        kept = _under(chosen.measured_tpot_ms, self.limit_ms, 1 + TOLERANCE)
        return kept and chosen.measured_per_s >= (1 - TOLERANCE) * self.best.measured_per_s

    @property
    def best(self) -> Option:
        """The most measured tokens/s among those that keep the limit."""
        keep = [o for o in self.options if _under(o.measured_tpot_ms, self.limit_ms)]
        return max(keep, key=lambda o: o.measured_per_s)

    @property
    def possible(self) -> bool:
        """Whether any option kept the limit."""
        return any(_under(o.measured_tpot_ms, self.limit_ms) for o in self.options)


def ours(case: Case) -> Option:
    """The most predicted tokens/s among those predicted to keep the limit."""
    keep = [o for o in case.options if _under(o.predicted_tpot_ms, case.limit_ms)]
    if not keep:
        return min(case.options, key=lambda o: o.predicted_tpot_ms)
    return max(keep, key=lambda o: o.predicted_per_s)


def widest(case: Case) -> Option:
    """One group of all GPUs, whatever the load."""
    return max(case.options, key=lambda o: o.width)


def narrowest(case: Case) -> Option:
    """As many replicas as fit, whatever the load."""
    return min(case.options, key=lambda o: o.width)


def main() -> None:
    """Read, predict, choose, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--misses", action="store_true", help="list the wrong picks")
    asked = parser.parse_args()
    try:
        rows = read_rows(asked.runs).rows
    except InputError as error:
        sys.exit(f"Error: {error}")
    free, limited = cases(usable_runs(rows, predict_rows(rows)))
    if not free:
        sys.exit(f"Error: {asked.runs} has no load that two widths of the same GPUs were run under")
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(_table(free, limited))
    if asked.misses:
        for case in (*free, *limited):
            if not case.right(ours):
                console.print(_miss(case), soft_wrap=True)


def usable_runs(rows: Sequence[Row], results: Sequence[Result]) -> list[Run]:
    """The rows of one engine on one tensor-parallel group that were measured and predicted."""
    found = []
    for row, told in zip(rows, results, strict=True):
        if not isinstance(told, Predicted) or not _one_group(row):
            continue
        ttft, tpot = told.ttft.measured, told.tpot.measured
        width, clients = int(float(row["tp"])), int(float(row["concurrency"]))
        per_s = told.output_tokens_per_s.measured
        if ttft is not None and tpot is not None:
            tokens = int(float(row["output_tokens"]))
            per_s = clients * tokens / (ttft + tpot * (tokens - 1)) * 1000
        elif per_s is not None:
            clients = width  # all requests at once: its share, whatever the load
        else:
            continue
        run = Run(
            same=tuple(row[name].strip() for name in SAME),
            width=width,
            clients=clients,
            measured_per_s=per_s,
            measured_tpot_ms=tpot,
            predicted_per_s=told.output_tokens_per_s.predicted,
            predicted_tpot_ms=told.tpot.predicted,
        )
        found.append(run)
    return found


def cases(runs: Iterable[Run]) -> tuple[list[Case], list[Case]]:
    """The cases without a limit, and those under each limit that some width kept."""
    groups: defaultdict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.same].append(run)
    free, limited = [], []
    for same, members in groups.items():
        if len(members) < 2:
            continue
        tpots = [run.measured_tpot_ms for run in members if run.measured_tpot_ms is not None]
        quartiles = statistics.quantiles(tpots, n=4, method="inclusive") if len(tpots) > 1 else []
        limits = sorted(set(quartiles))
        for case in _cases(same, members):
            free.append(case)
            under = [Case(same, case.clients, case.options, limit) for limit in limits]
            limited += [each for each in under if each.possible]
    return free, limited


def _cases(same: tuple[str, ...], runs: Sequence[Run]) -> Iterator[Case]:
    fastest: dict[tuple[int, int], Run] = {}
    for run in sorted(runs, key=lambda run: run.measured_per_s):
        fastest[run.width, run.clients] = run
    widths = sorted({width for width, _ in fastest})
    gpus = GPUS if GPUS in widths else widths[-1]
    for clients in sorted(_totals(fastest, gpus)):
        options = tuple(_options(fastest, widths, gpus, clients))
        if len(options) > 1:
            yield Case(same, clients, options)


def _totals(fastest: Mapping[tuple[int, int], Run], gpus: int) -> set[int]:
    return {clients * gpus // width for width, clients in fastest if gpus % width == 0}


def _options(
    fastest: Mapping[tuple[int, int], Run], widths: Sequence[int], gpus: int, clients: int
) -> Iterator[Option]:
    for width in widths:
        share, odd = divmod(clients * width, gpus)
        run = fastest.get((width, share))
        if run is None or odd or gpus % width:
            continue
        copies = gpus // width
        yield Option(
            width,
            copies * run.measured_per_s,
            run.measured_tpot_ms,
            copies * run.predicted_per_s,
            run.predicted_tpot_ms,
        )


def _one_group(row: Row) -> bool:
    return all(row[name].strip() in {"", "1", "1.0"} for name in ("pp", "dp"))


def _under(tpot_ms: float | None, limit_ms: float | None, slack: float = 1.0) -> bool:
    return limit_ms is None or (tpot_ms is not None and tpot_ms <= limit_ms * slack)


def _table(free: Sequence[Case], limited: Sequence[Case]) -> Table:
    table = Table(title="Picks within 5 % of the measured best", title_justify="left")
    for name in ("engine", "model", "GPU"):
        table.add_column(name, overflow="fold")
    for name in ("free", "cases", "TPOT limit", "cases"):
        table.add_column(name, justify="right")
    groups = sorted({(c.same[0], c.same[1], c.same[3]) for c in free})
    for engine, model, gpu in groups:
        parts = [
            [c for c in part if (c.same[0], c.same[1], c.same[3]) == (engine, model, gpu)]
            for part in (free, limited)
        ]
        table.add_row(engine, model, gpu, *_shares(parts, ours))
    table.add_section()
    for words, pick in (("all", ours), ("always widest", widest), ("always narrowest", narrowest)):
        table.add_row(words, "", "", *_shares((free, limited), pick))
    return table


def _shares(parts: Iterable[Sequence[Case]], pick: Callable[[Case], Option]) -> list[str]:
    cells = []
    for part in parts:
        right = sum(case.right(pick) for case in part)
        cells += [f"{right / len(part):.1%}" if part else "-", str(len(part))]
    return cells


def _miss(case: Case) -> str:
    chosen, best = ours(case), case.best
    limit = "" if case.limit_ms is None else f", TPOT limit {case.limit_ms:.1f} ms"
    load = f"{case.clients} requests" if best.measured_tpot_ms else "all requests at once"
    return f"{' '.join(case.same)}, {load}{limit}: {_figures(chosen)}; best {_figures(best)}"


def _figures(option: Option) -> str:
    tpot = "" if option.measured_tpot_ms is None else f" at {option.measured_tpot_ms:.1f} ms"
    return (
        f"TP {option.width} {option.measured_per_s:,.0f} tokens/s{tpot} (predicted "
        f"{option.predicted_per_s:,.0f} at {option.predicted_tpot_ms:.1f})"
    )


if __name__ == "__main__":
    main()
