"""All that a plan holds, as it looks in a terminal with `--all`."""

from collections.abc import Sequence

from rich.columns import Columns
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tpdeploy.cli.views.splits import INDENT, show_alternatives, show_engines
from tpdeploy.cli.views.timeline import over_time, show_timeline
from tpdeploy.numbers import duration, in_unit, number
from tpdeploy.planner.memory.footprint import GIB
from tpdeploy.planner.plan import DeploymentPlan, Estimate, MemoryPerGpu
from tpdeploy.planner.workload import Target, Workload

BAR_WIDTH = 60
# What the parts of the memory bar are drawn with where the terminal knows ASCII alone.
IN_ASCII = str.maketrans("█▓▒░", "#=+.")
SMALLEST_SHOWN = 0.05 * GIB


def show_details(console: Console, plan: DeploymentPlan) -> None:
    """The split, the prediction, the reasons, memory, other splits, engines, what was assumed."""
    console.print(_headline(plan))
    console.print(_prediction(plan))
    if plan.prediction.timeline:
        _section(console, "Over time")
        show_timeline(console, plan.prediction.timeline, None)
        _bullets(console, [over_time(plan.prediction.timeline)])
    _section(console, "Why")
    _bullets(console, plan.reasons)
    if plan.depends_on:
        _section(console, "Depends on")
        _bullets(console, plan.depends_on)
    device = "CPU share" if plan.cluster.platform == "cpu" else "GPU"
    total = plan.memory_per_gpu.total_bytes / GIB
    deep = ", fullest stage" if plan.parallelism.pipelined else ""
    _section(console, f"Memory per {device}{deep}: {total:.1f} GiB")
    _memory(console, plan.memory_per_gpu)
    if plan.alternatives:
        _section(console, "Other splits")
        show_alternatives(console, plan.alternatives)
    if plan.engines:
        _section(console, "Engines")
        show_engines(console, plan.engines)
    _section(console, "Assumed")
    _bullets(console, [*plan.cluster.assumptions, *assumptions(plan)])


def _headline(plan: DeploymentPlan) -> Text:
    split, cluster = plan.parallelism, plan.cluster
    replicas = f"{split.replicas} replica{'s' if split.replicas > 1 else ''}"
    return Text.assemble(
        (f"{plan.model.id} on {cluster.count}x {cluster.gpu}: ", ""),
        (f"{split.words} x {replicas}", "bold green"),
    )


def _prediction(plan: DeploymentPlan) -> Padding:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    prediction, load = plan.prediction, plan.workload
    table.add_row("workload", _load(load))
    table.add_row("TTFT", _estimate(prediction.ttft_ms, "ms", load.ttft) + _rests_on(load))
    table.add_row("TPOT", _estimate(prediction.tpot_ms, "ms", load.tpot))
    table.add_row("throughput", _estimate(prediction.output_tokens_per_s, "output tokens/s", None))
    if prediction.goodput_per_s:
        table.add_row("goodput", _estimate(prediction.goodput_per_s, "requests/s on target", None))
    if plan.cost:
        table.add_row("cost", _cost(plan))
    table.add_row("source", Text(prediction.tpot_ms.source, style="dim"))
    return Padding(table, INDENT)


def _load(load: Workload) -> str:
    if load.lengths:
        return f"{load.sizes}, {load.arriving}"
    lengths = "equal lengths"
    if load.length_spread:
        lengths = f"lengths within {load.length_spread:.0%}"
    return f"{load.sizes}, {lengths}, {load.arriving}"


def _rests_on(load: Workload) -> str:
    """What a TTFT rests on most."""
    if load.recording:
        return "; arrivals as recorded"
    if load.rate is not None:
        return "; arrivals at random, in steady state"
    if load.concurrency == 1:
        return "; nothing else in flight"
    return "; requests out of step" if load.differs else "; equal requests run in lockstep"


def _cost(plan: DeploymentPlan) -> str:
    assert plan.cost is not None  # noqa: S101 - the caller asked
    cost, devices = plan.cost.per_million_output_tokens, plan.parallelism.devices
    return (
        f"${cost.value:,.2f} a million output tokens (expected {cost.low:,.2f} to "
        f"{cost.high:,.2f}), {devices} at ${plan.cost.device_price_per_hour:g} an hour"
    )


def _estimate(estimate: Estimate, unit: str, target: Target | None) -> str:
    statistic = f"{target.at} " if target else "p50 " if unit == "ms" else ""
    goal = f", target {target.ms:g}" if target else ""
    low, high = in_unit(estimate.low, unit), in_unit(estimate.high, unit)
    value = duration(estimate.value) if unit == "ms" else f"{number(estimate.value)} {unit}"
    return f"{statistic}{value} (expected {low} to {high}{goal})"


def _memory(console: Console, memory: MemoryPerGpu) -> None:
    parts = [
        ("weights", memory.weights_bytes, "█", "blue"),
        ("KV cache", memory.kv_cache_bytes, "▓", "green"),
        ("activations", memory.activation_bytes, "▒", "yellow"),
        ("graphs", memory.graph_bytes, "▒", "yellow"),
        ("communicators", memory.communicator_bytes, "▒", "yellow"),
        ("engine", memory.context_bytes, "▒", "yellow"),
        ("not used", memory.reserved_bytes, "░", "dim"),
    ]
    bar, drawn, so_far = Text(), 0, 0
    legend: list[Text] = []
    for name, size, block, style in parts:
        glyph = block.translate(IN_ASCII) if console.options.ascii_only else block
        so_far += size
        end = round(BAR_WIDTH * so_far / memory.total_bytes)
        bar.append(glyph * (end - drawn), style)
        drawn = end
        if size >= SMALLEST_SHOWN:
            legend.append(Text.assemble((glyph, style), f" {name} {size / GIB:.1f}"))
    console.print(Padding(bar, INDENT))
    console.print(Padding(Columns(legend, padding=(0, 2)), INDENT))


def assumptions(plan: DeploymentPlan) -> list[str]:
    """What was taken for granted: number formats, limits, prompts, drafting."""
    limits, model = plan.limits, plan.model
    weights = model.quantization or "as the checkpoint is"
    ranks = " of each data rank" if plan.parallelism.data_parallel else ""
    return [
        f"Activations {model.dtype}, weights {weights}, KV cache {model.kv_cache_dtype}.",
        f"Requests up to {limits.max_model_len:,} tokens; {limits.max_num_seqs:,} sequences and "
        f"{limits.max_num_batched_tokens:,} tokens per step{ranks}; "
        f"{limits.memory_fraction:.0%} of memory for {plan.backend}"
        f"{'; no CUDA graphs' if limits.enforce_eager else ''}.",
        *_encoders(plan),
        _prompts(plan.workload),
        *_speculation(plan.workload),
    ]


TEXT_ALONE = "Requests are taken to be text: reading images or sound is not in the predicted TTFT."


def _encoders(plan: DeploymentPlan) -> list[str]:
    """What is counted of the encoders of a multimodal model."""
    size, uncounted = plan.memory_per_gpu.encoder_bytes, plan.model.uncounted
    if size:
        return [
            f"{size / GIB:.1f} GiB of the weights are encoders of images and sound. {TEXT_ALONE}"
        ]
    if uncounted:
        return [
            f"The text model alone is counted: what config.json describes as "
            f"{', '.join(uncounted)} takes memory besides. {TEXT_ALONE}"
        ]
    return []


def _prompts(load: Workload) -> str:
    cached = "no prefix-cache hits"
    if load.recording and load.recording.block_tokens:
        cached = "prefix-cache hits by the hashes of the trace"
    elif load.prefix_hit_rate:
        cached = (
            f"{load.prefix_hit_rate:.0%} of prompt tokens found in the prefix cache, "
            f"{load.computed_tokens:,} computed"
        )
    return f"TPOT = (end-to-end - TTFT) / (output tokens - 1); {cached}."


def _speculation(load: Workload) -> list[str]:
    draft = load.speculation
    if draft is None:
        return []
    return [
        f"{draft.tokens} tokens drafted a step, each accepted with probability "
        f"{draft.acceptance:g}: {draft.tokens_per_step:.2f} tokens per step. Drafting one takes "
        f"{draft.draft_cost:.0%} of a decode step. Launch does not choose a drafter: pass the "
        "engine's own arguments for it with --engine-arg."
    ]


def _section(console: Console, title: str) -> None:
    console.print(f"\n{title}", style="bold")


def _bullets(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_row("-", line)
        console.print(Padding(table, INDENT))
