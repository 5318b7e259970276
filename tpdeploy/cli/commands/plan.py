"""`tpdeploy plan`: which split of these GPUs serves this model best, and why."""

from collections.abc import Mapping
from typing import Any

import typer

from tpdeploy.api.daily import StatedDay
from tpdeploy.api.decision import AUTO, Decision, decide
from tpdeploy.cli.options import plan as given
from tpdeploy.cli.options.devices import cluster_of, is_open
from tpdeploy.cli.options.plan_request import assumed, day_of, load_of, request_of, trace_of
from tpdeploy.cli.options.quiet import Quiet
from tpdeploy.cli.output import err, out, print_json
from tpdeploy.cli.planfile import keep_previous, write_plan
from tpdeploy.cli.report.write import check_picture, check_report, write_plot, write_report
from tpdeploy.cli.views.daily import show_daily
from tpdeploy.cli.views.plan import show_plan
from tpdeploy.cli.views.splits import show_alternatives, telling
from tpdeploy.cli.views.timeline import over_time, show_timeline
from tpdeploy.errors import InfeasibleError
from tpdeploy.planner.trace import Trace
from tpdeploy.planner.workload import Workload
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.models.shape import ModelShape

NO_GPU = "no GPU was found on this machine; --gpus 8xH100 and the like plan for others"

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def plan(
    context: typer.Context,
    model: given.ModelName,
    *,
    gpus: given.Gpus = "auto",
    input_tokens: given.InputTokens = None,
    output_tokens: given.OutputTokens = None,
    length_spread: given.LengthSpread = None,
    workload: given.WorkloadName = None,
    lengths: given.LengthsFile = None,
    trace: given.TraceFile = None,
    trace_speed: given.TraceSpeed = None,
    trace_window: given.TraceWindow = None,
    trace_bad: given.TraceBad = None,
    daily: given.Daily = None,
    headroom: given.Headroom = None,
    start_up_s: given.StartUp = None,
    router: given.RouterName = None,
    concurrency: given.Concurrency = None,
    rate: given.Rate = None,
    ttft: given.Ttft = None,
    tpot: given.Tpot = None,
    prefix_cache_hit_rate: given.PrefixHits = 0.0,
    speculative_tokens: given.SpeculativeTokens = None,
    acceptance_rate: given.AcceptanceRate = None,
    draft_cost: given.DraftCost = None,
    dtype: given.DtypeName = "auto",
    quantization: given.QuantizationName = None,
    kv_cache: given.KvCacheDtype = "auto",
    max_model_len: given.MaxModelLen = None,
    max_num_batched_tokens: given.MaxNumBatchedTokens = None,
    max_num_seqs: given.MaxNumSeqs = None,
    memory_fraction: given.MemoryFraction = None,
    enforce_eager: given.EnforceEager = False,
    tp: given.Tp = None,
    pp: given.Pp = None,
    dp: given.Dp = None,
    ep: given.Ep = None,
    replicas: given.Replicas = None,
    interconnect: given.Interconnect = None,
    network: given.NetworkName = None,
    backend: given.BackendName = "auto",
    optimize: given.Optimize = "throughput",
    gpu_price: given.GpuPrice = None,
    pareto: given.Pareto = False,
    output: given.Output = None,
    report: given.Report = None,
    plot: given.Plot = None,
    everything: given.Everything = False,
    json: given.Json = False,
    quiet: Quiet = False,
) -> None:
    """Choose how MODEL is split over these GPUs: TP, pipeline, experts, attention, replicas."""
    check_report(report)
    check_picture("--plot", plot)
    cluster, stored = cluster_of(gpus, interconnect, network), load_model(model)
    no_gpu = gpus.strip().lower() == AUTO and cluster.accelerator.platform == "cpu"
    recorded, day = trace_of(context.params, stored), day_of(context.params, stored)
    load = load_of(context.params, stored, recorded, day)
    decision = _decide(context.params, stored, cluster, load, trace=recorded, day=day)
    try:
        made = decision.plan(assumed=assumed(context.params, load), pareto=pareto)
    except InfeasibleError as refusal:
        reason = _show_refused(decision, refusal, as_json=json, everything=everything)
        raise InfeasibleError(reason + (f"; {NO_GPU}" if no_gpu else "")) from None
    replaced = "" if output else keep_previous(made)
    path = write_plan(made, output)
    if report:
        write_report(report, decision.choice.solved[0], made)
    if plot:
        write_plot(plot, decision.choice.solved[0], made)
    if json:
        print_json(made)
    else:
        if no_gpu:
            out.print(f"Planned for the CPU: {NO_GPU}.", style="yellow")
        show_plan(out, made, path, report, pareto=pareto, everything=everything)
    if replaced:
        err.print(replaced, soft_wrap=True, style="dim")


def _decide(
    asked: Mapping[str, Any],
    stored: ModelShape,
    cluster: Cluster,
    load: Workload,
    *,
    trace: Trace | None,
    day: StatedDay | None,
) -> Decision:
    """The answer of the engine that was named, or of the best one."""
    return decide(
        request_of(asked, stored),
        stored,
        cluster=cluster,
        count_is_open=is_open(asked["gpus"], cluster),
        load=load,
        backend=asked["backend"],
        trace=trace,
        day=day.load if day else None,
    )


def _show_refused(
    decision: Decision, refusal: InfeasibleError, *, as_json: bool, everything: bool
) -> str:
    """What each split came to, and the closest one over time; the reason with what would work."""
    refused = decision.refused(refusal)
    if as_json:
        print_json(refused)
        return refused.reason
    show_alternatives(out, refused.alternatives if everything else telling(refused.alternatives))
    if refused.daily:
        show_daily(out, refused.daily, decision.choice.solved[0].gpu_price_per_hour)
    closest = decision.outcome.ranked[:1]
    if closest and (told := closest[0].prediction.timeline):
        show_timeline(out, told, None)
        out.print(over_time(told))
    return refused.reason
