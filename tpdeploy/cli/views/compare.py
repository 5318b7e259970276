"""Several plans side by side in a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from tpdeploy.api.results import Compared, Comparison
from tpdeploy.cli.views.plan_splits import LEAST_BAR, MOST_BAR
from tpdeploy.cli.views.splits import split_words
from tpdeploy.cli.views.text import GAP, aligned, bar
from tpdeploy.numbers import in_ms, number
from tpdeploy.planner.plan import DeploymentPlan
from tpdeploy.planner.search.ranking import TIE

FIGURES, COST = ("tokens/s", "per GPU", "TTFT ms", "TPOT ms"), "$/M tokens"
# Left out where a terminal is narrow.
LESS_WANTED = ("per GPU", "engine")


def show_comparison(console: Console, comparison: Comparison) -> None:
    """Which serves most, one row for each, why the others cannot, and where the answer turns."""
    able = [(each.name, each.plan) for each in comparison.compared if each.plan]
    if comparison.best:
        console.print(_verdict(comparison, comparison.best), style="bold green")
        _show_rows(console, able)
    for each in comparison.compared:
        if each.plan is None:
            console.print(f"{each.name}: {each.reason}", style="yellow")
        elif each.plan.overload:
            console.print(f"{each.name}: {each.plan.overload}", style="yellow")
    if comparison.turns:
        console.print(comparison.turns)
    if comparison.best:
        console.print(_load(able[0][1]))


def _verdict(comparison: Comparison, best: Compared) -> str:
    """Which has the most tokens/s, and how many more than the next; alike within their ranges."""
    ranked = sorted(
        (each.plan for each in comparison.compared if each.plan and each is not best),
        key=_tokens,
        reverse=True,
    )
    if not ranked or best.plan is None:
        return f"Only {best.name} is feasible."
    more = _tokens(best.plan) / _tokens(ranked[0]) - 1
    within = (
        ", which is within the error of the predictions" if _alike(best.plan, ranked[0]) else ""
    )
    return f"{best.name} serves most: {more:.0%} more tokens/s than the next{within}."


def _alike(best: DeploymentPlan, other: DeploymentPlan) -> bool:
    """Whether a difference may be an error; splits of the same are told apart more finely."""
    same = (best.model.id, best.cluster.gpu, best.backend)
    if same == (other.model.id, other.cluster.gpu, other.backend):
        return _tokens(best) <= (1 + TIE) * _tokens(other)
    return other.prediction.output_tokens_per_s.high >= _tokens(best)


def _show_rows(console: Console, plans: Sequence[tuple[str, DeploymentPlan]]) -> None:
    cells = [_cells(name, plan) for name, plan in plans]
    head = ["", "engine", "split", *FIGURES]
    if any(plan.cost for _, plan in plans):
        head.append(COST)
    for title in LESS_WANTED:
        if _room(console, head, cells) < 0:
            at = head.index(title)
            for line in (head, *cells):
                del line[at]
    right = _right(head)
    room = _room(console, head, cells) - len(GAP)
    if room >= LEAST_BAR:
        most = max(_tokens(plan) for _, plan in plans)
        for line, (_, plan) in zip(cells, plans, strict=True):
            line.append(bar(console, _tokens(plan) / most, min(room, MOST_BAR)))
        head.append("")
    titles, *rows = aligned([head, *cells], right=right)
    console.print(Text(titles, style="dim"))
    for row in rows:
        console.print(Text(row))


def _room(console: Console, head: list[str], cells: Sequence[list[str]]) -> int:
    """Columns of the terminal that the table leaves."""
    return console.width - max(map(len, aligned([head, *cells], right=_right(head))))


def _right(head: Sequence[str]) -> list[int]:
    return [at for at, title in enumerate(head) if title in {*FIGURES, COST}]


def _cells(name: str, plan: DeploymentPlan) -> list[str]:
    told = plan.prediction
    cells = [
        name,
        plan.backend,
        split_words(plan.parallelism),
        number(_tokens(plan)),
        number(_tokens(plan) / plan.parallelism.devices),
        in_ms(told.ttft_ms.value),
        in_ms(told.tpot_ms.value),
    ]
    if plan.cost:
        cells.append(f"{plan.cost.per_million_output_tokens.value:,.2f}")
    return cells


def _tokens(plan: DeploymentPlan) -> float:
    return plan.prediction.output_tokens_per_s.value


def _load(plan: DeploymentPlan) -> str:
    load = plan.workload
    kind = f" of {load.lengths.name}" if load.lengths else ""
    return (
        f"For {load.arriving}{kind}, {load.input_tokens:,} tokens in and {load.output_tokens:,} "
        "out. More of one: tpdeploy plan."
    )
