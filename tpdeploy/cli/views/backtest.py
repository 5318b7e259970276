"""A backtest as a person reads it."""

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table

from tpdeploy.harness.backtest.doubling import Doubling
from tpdeploy.harness.backtest.summary import Errors, Group, Summary
from tpdeploy.planner.search.ranking import TIE

TITLES = {"all": "", "engine": "Engine", "gpu": "GPU", "model": "Model", "tp": "TP"}
FIGURES = ("median", "mean", "signed")
REASONS_SHOWN = 5
LONGEST_NAME = 26


def show_summary(console: Console, summary: Summary) -> None:
    """Print the errors of every group, and why rows were not predicted."""
    console.print(
        "How to read this: an error is predicted / measured - 1. median and mean are of its size; "
        "signed is its median, above 0 when more was predicted; in range: rows measured within the "
        "predicted range."
    )
    for by, groups in groupby(summary.groups, key=lambda group: group.by):
        console.print()
        console.print(_table(TITLES[by], list(groups)))
    if summary.doublings:
        console.print()
        console.print(_doublings(summary.doublings))
    _show_unpredicted(console, summary)


def _table(title: str, groups: list[Group]) -> Table:
    table = _columns(title, "predicted", "in range")
    for group in groups:
        name, counted = group.name, f"{group.predicted:,}/{group.rows:,}"
        for what, errors in _measured(group):
            table.add_row(name, counted, what, *_figures(errors))
            name = counted = ""
    return table


def _doublings(doublings: Sequence[Doubling]) -> Table:
    """The errors of what a doubled width gains under the same load."""
    table = _columns("Gain from doubled TP", "pairs", f"in {TIE:.0%}")
    for each in doublings:
        figures = (
            f"{each.median_absolute_percent:,.0f}%",
            f"{each.mean_absolute_percent:,.0f}%",
            f"{each.median_signed_percent:+,.0f}%",
            f"{each.within_tie_percent:.0f}%",
        )
        table.add_row(each.name, f"{each.pairs:,}", "tok/s", *figures)
    return table


def _columns(title: str, counted: str, last: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(title, overflow="fold", width=LONGEST_NAME)
    table.add_column(counted, justify="right", no_wrap=True, min_width=12)
    table.add_column("", min_width=5)
    for figure in (*FIGURES, last):
        table.add_column(figure, justify="right", no_wrap=True, min_width=7)
    return table


def _measured(group: Group) -> list[tuple[str, Errors | None]]:
    """What any row of the group states; a line of dashes where none states anything."""
    everything = (
        ("TTFT", group.ttft),
        ("TPOT", group.tpot),
        ("tok/s", group.output_tokens_per_s),
    )
    return [each for each in everything if each[1]] or [("", None)]


def _figures(errors: Errors | None) -> tuple[str, ...]:
    if errors is None:
        return ("-",) * (len(FIGURES) + 1)
    return (
        f"{errors.median_absolute_percent:,.0f}%",
        f"{errors.mean_absolute_percent:,.0f}%",
        f"{errors.median_signed_percent:+,.0f}%",
        f"{errors.in_range_percent:.0f}%",
    )


def _show_unpredicted(console: Console, summary: Summary) -> None:
    rows = sum(each.rows for each in summary.unpredicted)
    if not rows:
        return
    console.print(f"\nNot predicted: {rows:,} rows", style="bold")
    for each in summary.unpredicted[:REASONS_SHOWN]:
        console.print(f"  {each.rows:,}: {each.reason}")
    more = len(summary.unpredicted) - REASONS_SHOWN
    if more > 0:
        console.print(f"  and {more} more reasons; --out FILE gives each row's")
