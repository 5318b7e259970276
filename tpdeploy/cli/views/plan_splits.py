"""The chosen split beside those that could be had instead, with a bar each."""

from dataclasses import dataclass, replace

from rich.console import Console
from rich.text import Text

from tpdeploy.cli.views.splits import split_words
from tpdeploy.cli.views.text import GAP, aligned, bar
from tpdeploy.numbers import in_ms, number
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.plan import Alternative, DeploymentPlan

MOST_OTHERS = 3
# Characters of a bar: fewer say nothing, more say no more.
LEAST_BAR, MOST_BAR = 6, 24
CHOSEN = "chosen"


@dataclass(frozen=True)
class SplitRow:
    """A split with its figures, the tokens/s of its bar, and the bar's share of the longest."""

    split: Parallelism | Alternative
    ttft_ms: float | None
    tpot_ms: float | None
    shown: float
    verdict: str
    share: float = 0.0

    @property
    def chosen(self) -> bool:
        """Whether it is the plan's."""
        return self.verdict == CHOSEN


def show_splits(console: Console, plan: DeploymentPlan) -> None:
    """One row per split that was simulated; nothing where there is no other."""
    rows = split_rows(plan)
    if len(rows) == 1:
        return
    lines = [_cells(row) for row in rows]
    head = ["split x replicas", shown_unit(plan), "TTFT ms", "TPOT ms", ""]
    right = [1, 2, 3]
    room = console.width - max(map(len, aligned([head, *lines], right=right))) - len(GAP)
    if room >= LEAST_BAR:
        for line, row in zip(lines, rows, strict=True):
            line.insert(2, bar(console, row.share, min(room, MOST_BAR)))
        head.insert(2, "")
        right = [1, 3, 4]
    titles, *shown = aligned([head, *lines], right=right)
    console.print(Text(titles, style="dim"))
    for text, row in zip(shown, rows, strict=True):
        console.print(Text(text, style="bold" if row.chosen else ""))


def split_rows(plan: DeploymentPlan) -> list[SplitRow]:
    """The chosen split, and the best of those that were simulated."""
    told, split = plan.prediction, plan.parallelism
    tokens = told.output_tokens_per_s.value
    shown = tokens / _devices(plan, split)
    rows = [SplitRow(split, told.ttft_ms.value, told.tpot_ms.value, shown, CHOSEN)]
    for other in plan.alternatives:
        if other.output_tokens_per_s is not None:
            shown = other.output_tokens_per_s / _devices(plan, other)
            lacks = "too few GPUs" if plan.daily else "misses a target"
            verdict = lacks if other.feasible is False else ""
            rows.append(SplitRow(other, other.ttft_ms, other.tpot_ms, shown, verdict))
    rows = rows[: 1 + MOST_OTHERS]
    most = max(row.shown for row in rows) or 1.0
    return [replace(row, share=row.shown / most) for row in rows]


def _per_device(plan: DeploymentPlan) -> bool:
    return plan.request is not None and plan.request.optimize in {"cost", "fewest", "daily"}


def shown_unit(plan: DeploymentPlan) -> str:
    """What the bars count."""
    if not _per_device(plan):
        return "tokens/s"
    return "tokens/s per " + ("share" if plan.cluster.platform == "cpu" else "GPU")


def _devices(plan: DeploymentPlan, split: Parallelism | Alternative) -> int:
    """What tokens/s are divided by: devices where the plan was asked for few, else nothing."""
    each = split.tensor * split.data * split.pipeline * split.replicas
    return each if _per_device(plan) else 1


def _cells(row: SplitRow) -> list[str]:
    return [
        split_words(row.split),
        number(row.shown),
        in_ms(row.ttft_ms),
        in_ms(row.tpot_ms),
        row.verdict,
    ]
