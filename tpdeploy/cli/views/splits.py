"""How splits look in a terminal: those that were not chosen, and those that nothing beats."""

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tpdeploy.cli.views.text import GAP, aligned
from tpdeploy.numbers import in_ms, number
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import Alternative, DeploymentPlan, EngineAnswer

INDENT = (0, 0, 0, 2)
MOST_ROWS = 10
MOST_TELLING = 4
FIGURES = ("tokens/s", "TTFT ms", "TPOT ms")
# Columns of a terminal that prose needs beside figures.
LEAST_REASON = 24


def telling(alternatives: Sequence[Alternative]) -> Sequence[Alternative]:
    """Those that say most where nothing can be had: that run, or the widest that lack memory."""
    able = [a for a in alternatives if a.tpot_ms is not None]
    lacking = [a for a in alternatives if a.lacks_memory]
    plain = [a for a in lacking if a.pipeline == a.data == a.expert == 1]
    widest = sorted(plain or lacking, key=lambda a: a.tensor)[-MOST_TELLING:]
    return able[:MOST_TELLING] or widest or alternatives[:MOST_TELLING]


def show_alternatives(console: Console, alternatives: Sequence[Alternative]) -> None:
    """One row per split: what it would do, or why it cannot run."""
    shown = alternatives[:MOST_ROWS]
    rows = [
        (
            split_words(row),
            number(row.output_tokens_per_s),
            in_ms(row.ttft_ms),
            in_ms(row.tpot_ms),
            row.reason,
        )
        for row in shown
    ]
    _show_reasoned(console, ("split", *FIGURES, "why not"), rows)
    if len(alternatives) > len(shown):
        more = f"and {len(alternatives) - len(shown)} more, all with --json"
        console.print(Padding(Text(more, style="dim"), INDENT))


def show_engines(console: Console, engines: Sequence[EngineAnswer]) -> None:
    """One row per engine: what it would do at its best split, and what speaks for or against it."""
    rows = [
        (
            engine.name,
            split_words(engine.parallelism) if engine.parallelism else "-",
            number(engine.output_tokens_per_s),
            in_ms(engine.ttft_ms),
            in_ms(engine.tpot_ms),
            engine.reason,
        )
        for engine in engines
    ]
    _show_reasoned(console, ("engine", "split", *FIGURES, ""), rows)


def _show_reasoned(console: Console, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table whose last column is prose, which stands below its row where it has no room."""
    right = [at for at, title in enumerate(titles) if title in FIGURES]
    head, *lines = aligned([titles[:-1], *(row[:-1] for row in rows)], right=right)
    beside = console.width - max(map(len, (head, *lines))) - len(GAP)
    if beside < LEAST_REASON:
        console.print(Text(head, style="bold"))
        for line, row in zip(lines, rows, strict=True):
            console.print(Text(line))
            console.print(Padding(Text(row[-1]), (0, 0, 0, 2 * len(GAP))))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(head, no_wrap=True)
    table.add_column(titles[-1])
    for line, row in zip(lines, rows, strict=True):
        table.add_row(line, Text(row[-1]))
    console.print(table)


def show_pareto(console: Console, plan: DeploymentPlan) -> None:
    """One row per point: quick answers first, most tokens/s per device last."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    device = "share" if plan.cluster.platform == "cpu" else "GPU"
    for title in ("split", "load"):
        table.add_column(title, no_wrap=True)
    for title in ("TPOT ms", "TTFT ms", f"tokens/s a {device}"):
        table.add_column(title, justify="right", no_wrap=True)
    has_targets = bool(plan.workload.ttft or plan.workload.tpot)
    table.add_column("targets" if has_targets else "")
    for point in plan.pareto:
        met = "met" if point.meets_targets else "missed"
        table.add_row(
            split_words(point.parallelism),
            point.load,
            in_ms(point.tpot_ms),
            in_ms(point.ttft_ms),
            number(point.output_tokens_per_s_per_device),
            met if has_targets else "",
        )
    console.print(Padding(table, INDENT))


def split_words(split: Alternative | Parallelism) -> str:
    """A split in few characters: `TP 4 x 2`, `TP 8 x PP 2 x 1`."""
    parallelism = split.parallelism if isinstance(split, Alternative) else split
    return f"{parallelism.words} x {parallelism.replicas}"
