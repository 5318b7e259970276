"""The answer of `tpdeploy plan` in a terminal: one screen, and all else with `--all`."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tpdeploy.cli.planfile import current_plan_path
from tpdeploy.cli.views.daily import show_daily
from tpdeploy.cli.views.plan_details import show_details
from tpdeploy.cli.views.plan_splits import show_splits
from tpdeploy.cli.views.splits import show_pareto
from tpdeploy.cli.views.text import aligned
from tpdeploy.cli.views.timeline import over_time
from tpdeploy.numbers import duration, in_unit, number
from tpdeploy.planner.plan import DeploymentPlan, Estimate
from tpdeploy.planner.workload import Target

# Below this width names of figures are their short ones.
NARROW = 60


def show_plan(
    console: Console,
    plan: DeploymentPlan,
    path: Path,
    report: Path | None,
    *,
    pareto: bool,
    everything: bool,
) -> None:
    """Warnings, then the answer in one screen or, with `everything`, all that the plan holds."""
    if everything:
        _show_headline(console, plan)
        show_details(console, plan)
        _show_day(console, plan)
    else:
        show_answer(console, plan)
    if pareto:
        console.print(
            "\nPareto: quick answers against throughput, over several loads", style="bold"
        )
        show_pareto(console, plan)
    if report:
        console.print(f"Report in {report}.", soft_wrap=True)
    _show_next(console, path, everything=everything)


def _show_next(console: Console, path: Path, *, everything: bool) -> None:
    """What to do with the plan; the path that it is kept in is never broken."""
    current = path == current_plan_path()
    launch = "tpdeploy launch" if current else f"tpdeploy launch {path}"
    if everything:
        console.print(f"\nPlan kept in {path}. Next: {launch}", soft_wrap=True)
        return
    more = ". All details: the same command with --all."
    console.print(Text.assemble("Next: ", (launch, "bold"), more), soft_wrap=not current)


def warnings(plan: DeploymentPlan) -> Iterator[str]:
    """What a reader has to know first, each with what helps."""
    chosen = plan.engines[0] if plan.engines else None
    if plan.overload:
        yield plan.overload
    if chosen and chosen.unbuilt:
        why = chosen.unbuilt[0].upper() + chosen.unbuilt[1:]
        yield f"{why}. What helps: a build of your own (launch --executable), or other GPUs."
    if plan.prediction.confidence == "low":
        yield (
            f"Figures of {plan.cluster.gpu} are estimates (low confidence). What helps: tpdeploy "
            "calibrate on that machine."
        )
    if plan.cluster.kinds:
        yield (
            f"{', '.join(plan.cluster.kinds)}: every GPU counts as the weakest, "
            f"{plan.cluster.gpu}. What helps: a plan for each kind by itself."
        )
    if plan.model.uncounted:
        yield (
            f"{', '.join(plan.model.uncounted)} of config.json is not counted in memory. What "
            "helps: a lower --memory-fraction leaves room for it."
        )
    if plan.router == "cache-aware" and plan.parallelism.replicas > 1:
        yield (
            "The front that tpdeploy launch starts does not know what caches hold: it sends each "
            "request to the replica with the fewest in flight. What helps: a router with a "
            "cache-aware policy before the replicas, as those of SGLang, vLLM, NVIDIA Dynamo or "
            "llm-d."
        )
    if chosen and chosen.legacy:
        yield f"{chosen.name} is legacy: {chosen.legacy}. What helps: --backend vllm."


def _show_headline(console: Console, plan: DeploymentPlan) -> None:
    for warning in warnings(plan):
        console.print(warning, style="yellow")
    console.print(plan.answer, style="bold green")


def show_answer(console: Console, plan: DeploymentPlan) -> None:
    """Warnings, the answer, three figures, why, the alternatives, and what it depends on."""
    _show_headline(console, plan)
    console.print(_subject(plan), style="dim")
    for line in aligned(_figures(plan, short=console.width < NARROW), right=[1]):
        console.print(line)
    if plan.prediction.timeline:
        console.print(over_time(plan.prediction.timeline))
    _show_day(console, plan)
    console.print(Text.assemble(("\nWhy: ", "bold"), " ".join(plan.why)))
    show_splits(console, plan)
    for line in plan.depends_on:
        console.print(line)


def _show_day(console: Console, plan: DeploymentPlan) -> None:
    if plan.daily:
        price = plan.cost.device_price_per_hour if plan.cost else None
        show_daily(console, plan.daily, price)


def _subject(plan: DeploymentPlan) -> str:
    """The model, the engine, the devices and what joins them."""
    cluster = plan.cluster
    machines = f" in {cluster.nodes} machines" if cluster.nodes > 1 else ""
    between = f" and {cluster.network}" if cluster.network else ""
    return (
        f"{plan.model.id} with {plan.backend} on {cluster.count}x {cluster.gpu}{machines} "
        f"({cluster.fabric}{between})"
    )


def _figures(plan: DeploymentPlan, *, short: bool) -> list[tuple[str, ...]]:
    """Name, value and range of each figure."""
    told, load = plan.prediction, plan.workload
    names = (
        ("TTFT", "TPOT", "tokens/s")
        if short
        else (
            "Time to first token (TTFT)",
            "Time per output token (TPOT)",
            "Output tokens per second",
        )
    )
    rows: list[tuple[str, ...]] = [
        (names[0], *_estimate(told.ttft_ms, "ms", load.ttft)),
        (names[1], *_estimate(told.tpot_ms, "ms", load.tpot)),
        (names[2], *_estimate(told.output_tokens_per_s, "", None)),
    ]
    if told.goodput_per_s:
        name = "goodput" if short else "Goodput: requests/s on target"
        rows.append((name, *_estimate(told.goodput_per_s, "", None)))
    if plan.cost:
        cost = plan.cost.per_million_output_tokens
        value, low, high = (f"${figure:,.2f}" for figure in (cost.value, cost.low, cost.high))
        rows.append(("Million output tokens", value, f"expected {low} to {high}"))
    return rows


def _estimate(estimate: Estimate, unit: str, target: Target | None) -> tuple[str, str]:
    """A figure, and its range, statistic and target."""
    low, high = in_unit(estimate.low, unit), in_unit(estimate.high, unit)
    value = duration(estimate.value) if unit == "ms" else number(estimate.value)
    if target:  # all of it has room in 80 columns
        return value, f"{target.at}, range {low} to {high}, target {target.ms:,g}"
    statistic = "p50, " if unit == "ms" else ""
    return value, f"{statistic}expected {low} to {high}"
