"""Lists of what is known, and one of them in full."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from tpdeploy.numbers import in_gib, number
from tpdeploy.profiles.listing import (
    Known,
    KnownGpu,
    KnownGpus,
    KnownInterconnect,
    KnownMachine,
    KnownModel,
)
from tpdeploy.profiles.record import Dtype, Provenance
from tpdeploy.profiles.workloads import Side, WorkloadProfile

Facts = Iterable[tuple[str, str]]


def show_models(console: Console, models: Sequence[KnownModel]) -> None:
    """One row per model, the smallest first."""
    rows = [
        (m.name, in_billions(m.parameters), m.weights.value, f"{m.max_context:,}") for m in models
    ]
    titles = ("model", "size", "weights", "context")
    _table(console, titles, rows, right={1, 3})
    console.print("More of one: tpdeploy show MODEL. Others: a folder or a hub id.", style="dim")


def show_gpus(console: Console, known: KnownGpus) -> None:
    """One row per device, then one per machine."""
    if known.gpus:
        _show_devices(console, known.gpus)
    if known.machines:
        rows = [(m.name, f"{m.machines * m.count} x {m.gpu}", m.provider) for m in known.machines]
        _table(console, ("machine", "GPUs", "of"), rows, right=set())
    console.print("More of one: tpdeploy show NAME.", style="dim")


def _show_devices(console: Console, gpus: Sequence[KnownGpu]) -> None:
    rows = [
        (
            g.name,
            in_gib(g.memory_bytes),
            number(g.memory_bytes_per_s / 1e9),
            number(_product_rate(g) / 1e12),
            g.architecture,
            f"{g.error.tpot:.0%}",
        )
        for g in gpus
    ]
    titles = ("GPU", "memory", "GB/s", "TFLOP/s", "class", "error")
    _table(console, titles, rows, right={1, 2, 3, 5})
    console.print(
        "TFLOP/s: dense, 16-bit. Error: four of five TPOT predictions of this class lie within it.",
        style="dim",
    )


def show_interconnects(console: Console, links: Sequence[KnownInterconnect]) -> None:
    """One row per fabric or network."""
    rows = [
        (
            link.name,
            _joined(link),
            number(link.bytes_per_s / 1e9),
            number(link.latency_s * 1e6),
            ", ".join(link.measured_on) or "-",
        )
        for link in links
    ]
    titles = ("interconnect", "joins", "GB/s", "us a hop", "measured on")
    _table(console, titles, rows, right={2, 3})
    console.print(
        "GB/s: achieved, of one GPU or adapter. More of one: tpdeploy show NAME.", style="dim"
    )


def _joined(link: KnownInterconnect) -> str:
    return f"{link.domain} GPU{'s' * (link.domain > 1)}" if link.domain else "machines"


def show_workloads(console: Console, workloads: Sequence[WorkloadProfile]) -> None:
    """One row per workload."""
    rows = [(w.name, _short(w.input), _short(w.output), w.description) for w in workloads]
    titles = ("workload", "tokens in", "tokens out", "requests of")
    _table(console, titles, rows, right={1, 2})
    console.print(
        "Tokens: mean, p95. Plan for one: tpdeploy plan MODEL --workload NAME. More of one: "
        "tpdeploy show NAME.",
        style="dim",
    )


def show_known(console: Console, known: Known) -> None:
    """Everything that is known of one, with its sources."""
    match known:
        case KnownModel():
            title, facts = known.id, _model(known)
        case KnownGpu():
            title, facts = known.name, _gpu(known)
        case KnownInterconnect():
            title, facts = known.name, _interconnect(known)
        case KnownMachine():
            title, facts = known.name, _machine(known)
        case WorkloadProfile():
            title, facts = known.name, _workload(known)
    console.print(title, style="bold")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(f"  {name}", value)
    console.print(table)


def in_billions(parameters: int) -> str:
    """A number of parameters as names of models have it.

    >>> in_billions(70_553_706_496), in_billions(134_515_008)
    ('70.6B', '135M')
    """
    if parameters < 1e9:
        return f"{parameters / 1e6:,.0f}M"
    return f"{parameters / 1e9:,.1f}B"


def _model(model: KnownModel) -> Facts:
    yield "also called", ", ".join(model.aliases) or "-"
    if model.same_config:
        yield "planned alike", ", ".join(model.same_config)
    yield "architecture", model.architecture
    yield "parameters", f"{in_billions(model.parameters)} in {model.layers} layers"
    if model.experts:
        yield "experts", f"{model.experts} in a layer"
    stored = f" ({model.stored_as})" if model.stored_as else ""
    yield "weights", f"{model.weights.value}{stored}"
    yield "context", f"{model.max_context:,} tokens"
    yield from _source(model)
    yield "plan it", f"tpdeploy plan {model.name} --gpus 8xH100"


def _gpu(gpu: KnownGpu) -> Facts:
    yield "also called", ", ".join(gpu.aliases) or "-"
    yield "class", gpu.architecture
    yield "memory", f"{in_gib(gpu.memory_bytes)}, {number(gpu.memory_bytes_per_s / 1e9)} GB/s"
    rates = ", ".join(f"{number(rate / 1e12)} {name}" for name, rate in gpu.flops_per_s.items())
    yield "TFLOP/s", f"{rates} (dense)"
    yield "interconnect", " or ".join(gpu.fabrics) + "; the first is assumed"
    yield from _source(gpu)
    error = gpu.error
    yield (
        "predictions",
        f"four of five within {error.tpot:.0%} for TPOT, {error.ttft:.0%} for TTFT "
        f"({error.confidence} confidence)",
    )
    yield "known from", f"{error.source} ({error.date})"


def _interconnect(link: KnownInterconnect) -> Facts:
    yield "is", link.description
    yield "joins", f"{link.domain} GPUs directly" if link.domain else "machines"
    yield "speed", f"{number(link.bytes_per_s / 1e9)} GB/s of each GPU or adapter, as achieved"
    yield "latency", f"{number(link.latency_s * 1e6)} us a hop"
    yield "measured on", ", ".join(link.measured_on) or "nothing: the link model is used"
    yield from _source(link)


def _machine(machine: KnownMachine) -> Facts:
    yield "of", machine.provider
    if machine.also:
        yield "planned alike", ", ".join(machine.also)
    rack = f"{machine.machines} machines of " if machine.machines > 1 else ""
    yield "has", f"{rack}{machine.count} x {machine.gpu}"
    yield "interconnect", machine.fabric
    yield "network", f"{machine.network} between several"
    yield from _source(machine)
    yield "plan it", f"tpdeploy plan llama-70b --gpus {machine.name}"


def _workload(workload: WorkloadProfile) -> Facts:
    yield "is", workload.description
    yield "tokens in", _in_full(workload.input)
    yield "tokens out", _in_full(workload.output)
    yield "correlation", f"{workload.correlation:g} of the normal scores of prompt and answer"
    yield "known from", f"{workload.requests:,} requests"
    yield from _source(workload)
    if workload.note:
        yield "note", workload.note
    yield "plan it", f"tpdeploy plan llama-70b --gpus 8xH100 --workload {workload.name}"


def _short(side: Side) -> str:
    return f"{side.mean:,.0f}, {side.quantiles[95]:,}"


def _in_full(side: Side) -> str:
    shown = {0: "shortest", 50: "p50", 90: "p90", 95: "p95", 99: "p99", 100: "longest"}
    parts = [f"{word} {side.quantiles[at]:,}" for at, word in shown.items()]
    return f"mean {side.mean:,.0f}; {', '.join(parts)}"


def _source(block: Provenance) -> Facts:
    yield "source", f"{block.source} ({block.date}, {block.confidence} confidence)"


def _product_rate(gpu: KnownGpu) -> float:
    """Dense 16-bit FLOP/s, else those of the widest format there is."""
    for dtype in (Dtype.BF16, Dtype.FP16):
        if dtype in gpu.flops_per_s:
            return gpu.flops_per_s[dtype]
    return min(gpu.flops_per_s.values())


def _table(
    console: Console, titles: Sequence[str], rows: Iterable[Sequence[str]], *, right: set[int]
) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for at, title in enumerate(titles):
        table.add_column(
            title, justify="right" if at in right else "left", overflow="fold", no_wrap=at == 0
        )
    for row in rows:
        table.add_row(*row)
    console.print(table)
