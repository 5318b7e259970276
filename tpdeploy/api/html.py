"""Plans as tables of a notebook, with the figures that the terminal shows."""

from collections.abc import Iterable, Sequence
from html import escape

from tpdeploy.numbers import duration, in_unit, number
from tpdeploy.planner.plan import DeploymentPlan, Estimate

FIGURES = ("TTFT", "TPOT", "output tokens/s")
GOODPUT = "requests/s on target"


def plan_html(plan: DeploymentPlan) -> str:
    """The answer, its figures with ranges, why, and the splits that were simulated."""
    figures = [(name, *_figure(each, name)) for name, each in _estimates(plan)]
    simulated = [a for a in plan.alternatives if a.output_tokens_per_s is not None]
    others = [
        (f"{a.parallelism.words} x {a.replicas}", number(a.output_tokens_per_s), a.reason)
        for a in simulated
    ]
    warning = f"<p>{escape(plan.overload)}</p>" if plan.overload else ""
    return "".join(
        [
            warning,
            f"<p><b>{escape(plan.answer)}</b></p>",
            _table(("", "expected", "range"), figures),
            f"<p>{escape(' '.join(plan.why))}</p>",
            _table(("instead", "tokens/s", ""), others) if others else "",
            f"<p>{escape(' '.join(plan.depends_on))}</p>",
        ]
    )


def comparison_html(compared: Iterable[tuple[str, DeploymentPlan | None, str]]) -> str:
    """One row for each plan."""
    rows = []
    for name, plan, reason in compared:
        if plan is None:
            rows.append((name, *[""] * len(FIGURES), reason))
        else:
            values = [_figure(each, figure)[0] for figure, each in _estimates(plan)[: len(FIGURES)]]
            rows.append((name, *values, plan.answer))
    return _table(("", *FIGURES, "answer"), rows)


def _estimates(plan: DeploymentPlan) -> list[tuple[str, Estimate]]:
    told = plan.prediction
    found = zip(FIGURES, (told.ttft_ms, told.tpot_ms, told.output_tokens_per_s), strict=True)
    return [*found, (GOODPUT, told.goodput_per_s)] if told.goodput_per_s else list(found)


def _figure(estimate: Estimate, name: str) -> tuple[str, str]:
    """A figure, and its range."""
    unit = "" if name in {FIGURES[-1], GOODPUT} else "ms"
    value = duration(estimate.value) if unit else number(estimate.value)
    return value, f"{in_unit(estimate.low, unit)} to {in_unit(estimate.high, unit)}"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
