"""The page: everything a report tells, laid out by page.html."""

import platform
from dataclasses import dataclass, replace
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from tpdeploy import __version__
from tpdeploy.cli.report import plots, tables
from tpdeploy.cli.report.content import Content
from tpdeploy.cli.views.daily import scale_words
from tpdeploy.cli.views.plan import warnings
from tpdeploy.cli.views.plan_details import assumptions
from tpdeploy.cli.views.plan_splits import shown_unit, split_rows
from tpdeploy.cli.views.splits import split_words
from tpdeploy.cli.views.sweep import findings
from tpdeploy.harness.measure.comparison import Metric
from tpdeploy.harness.measure.metrics import DEFINITIONS
from tpdeploy.harness.measure.sweep import in_range
from tpdeploy.numbers import in_ms, number
from tpdeploy.planner.performance.communication import decoding
from tpdeploy.planner.plan import Estimate
from tpdeploy.planner.workload import Target, Workload


@dataclass(frozen=True)
class Key:
    """One figure at the head of the page."""

    name: str
    value: str
    unit: str
    note: str


def render(content: Content, made_at: datetime) -> str:
    """The whole page as HTML."""
    environment = Environment(
        loader=PackageLoader("tpdeploy.cli.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plan = content.plan
    return environment.get_template("page.html").render(
        plan=plan,
        sweep=content.sweep,
        device=content.device,
        headline=headline(content),
        load=in_words(plan.workload),
        warnings=list(warnings(plan)),
        keys=keys(content),
        splits=split_rows(plan),
        splits_unit=shown_unit(plan),
        split_words=split_words,
        scale_words=scale_words,
        number=number,
        in_ms=in_ms,
        legend=plots.legend(content),
        day_plot=plots.day_plot(content),
        load_plots=plots.load_plots(content),
        memory_plot=plots.memory_plot(content),
        communication_plots=plots.communication_plots(content),
        tables=tables,
        content=content,
        assumptions=[*plan.cluster.assumptions, *assumptions(plan), *_lengths(plan.workload)],
        batch=decoding(plan),
        findings=findings(content.sweep) if content.sweep else [],
        environment=surroundings(content, made_at),
        definitions=content.sweep.definitions if content.sweep else PREDICTED,
    )


VERDICTS = {
    "pass": "Every target is met",
    "fail": "A target is missed or a request failed",
    "unknown": "Too few requests tell whether every target is met",
}
# What matters where nothing was measured.
PREDICTED = {name: DEFINITIONS[name] for name in ("TTFT", "TPOT", "ITL", "end-to-end")}


def headline(content: Content) -> str:
    """What to do or, where something was measured, whether it is as fast as it should be."""
    plan, sweep = content.plan, content.sweep
    if sweep is None:
        return plan.answer or f"Use {split_words(plan.parallelism)}."
    held, figures = in_range(sweep.points)
    return VERDICTS.get(sweep.verdict, f"{held} of {figures} figures are in the predicted range")


def in_words(load: Workload) -> str:
    """What is sent."""
    return f"{load.sizes}, {load.arriving}"


def _lengths(load: Workload) -> list[str]:
    """Where the requests or their lengths come from, unless they are means."""
    source = load.recording or load.lengths
    return [source.words] if source else []


def keys(content: Content) -> list[Key]:
    """The figures that most readers came for, predicted and, where it was, measured."""
    plan, load = content.plan, content.plan.workload
    prediction, own = plan.prediction, _measured(content)
    found = [
        _latency("Time to first token", load.ttft, prediction.ttft_ms, own.get("TTFT")),
        _latency("Time per output token", load.tpot, prediction.tpot_ms, own.get("TPOT")),
        _key("Output tokens per second", "", prediction.output_tokens_per_s, own.get("throughput")),
    ]
    if prediction.goodput_per_s:
        good = prediction.goodput_per_s
        found.append(_key("Requests per second on target", "", good, own.get("goodput")))
    if plan.cost:
        price = plan.cost.per_million_output_tokens
        found.append(_price(price))
    return found


def surroundings(content: Content, made_at: datetime) -> dict[str, str]:
    """Devices, engine and versions."""
    plan, sweep = content.plan, content.sweep
    cluster = plan.cluster
    found = {
        "Model": f"{plan.model.id}, {plan.model.parameters:,} parameters",
        "Architecture": plan.model.architecture,
        "Devices": f"{cluster.count} x {cluster.gpu}, {cluster.nodes} machine"
        f"{'s' if cluster.nodes > 1 else ''}, {cluster.fabric}",
        "Engine": plan.backend,
        "Prediction": plan.prediction.tpot_ms.source,
    }
    if sweep:
        found["Endpoint"] = sweep.endpoint
        seed = "" if sweep.seed is None else f", seed {sweep.seed}"
        found["Measured"] = f"{sweep.started_at:%Y-%m-%d %H:%M} UTC{seed}"
        found |= {f"Version of {name}": version for name, version in sweep.versions.items()}
    else:
        found["Version of tpdeploy"] = __version__
        found["Version of python"] = platform.python_version()
    return {**found, "Written": f"{made_at:%Y-%m-%d %H:%M} UTC"}


def _measured(content: Content) -> dict[Metric, float]:
    """What was measured at the plan's own load, by its metric."""
    planned = content.plan.workload
    own = [point for point in content.points if point.workload == planned]
    return {row.metric: row.measured for point in own for row in point.rows}


def _latency(name: str, target: Target | None, expected: Estimate, measured: float | None) -> Key:
    key = _key(f"{name}, {tables.statistic(target)}", "ms", expected, measured)
    return replace(key, note=f"{key.note}; target {target.ms:,g}") if target else key


def _key(name: str, unit: str, expected: Estimate, measured: float | None) -> Key:
    if measured is None:
        return Key(name, number(expected.value), unit, f"expected {_range(expected)}")
    note = f"measured; predicted {number(expected.value)}, range {_range(expected)}"
    return Key(name, number(measured), unit, note)


def _price(price: Estimate) -> Key:
    note = f"expected ${price.low:,.2f} to ${price.high:,.2f}"
    return Key("A million output tokens", f"${price.value:,.2f}", "", note)


def _range(estimate: Estimate) -> str:
    return f"{number(estimate.low)} to {number(estimate.high)}"
