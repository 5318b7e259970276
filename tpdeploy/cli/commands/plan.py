"""`tpdeploy plan`: which split of these GPUs serves this model best, and why."""

from collections.abc import Callable
from pathlib import Path

import typer

from tpdeploy.backends.base import Backend
from tpdeploy.backends.choice import Choice, ask_one, choose
from tpdeploy.backends.question import pose
from tpdeploy.backends.registry import load_backend, load_backends
from tpdeploy.cli.options import common as options
from tpdeploy.cli.options import plan as given
from tpdeploy.cli.options.plan_request import assumed, load_of, request_of
from tpdeploy.cli.output import out, print_json
from tpdeploy.cli.planfile import write_plan
from tpdeploy.cli.report.write import check_report, write_report
from tpdeploy.cli.views.plan import show_plan
from tpdeploy.cli.views.splits import show_alternatives, telling
from tpdeploy.errors import InfeasibleError
from tpdeploy.planner.plan import DeploymentPlan, Refused
from tpdeploy.planner.question import Question
from tpdeploy.planner.search.pareto import sweep
from tpdeploy.planner.search.remedies import remedies
from tpdeploy.planner.search.search import Solved, alternatives
from tpdeploy.planner.search.search import plan as make_plan
from tpdeploy.planner.search.token_budget import fewest_with_steps, search_steps
from tpdeploy.planner.search.turning_points import turning_points
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model

AUTO = "auto"

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
    everything: given.Everything = False,
    json: given.Json = False,
) -> None:
    """Choose how MODEL is split over these GPUs: TP, pipeline, experts, attention, replicas."""
    check_report(report)
    cluster = parse_gpus(gpus, interconnect, network=network)
    stored = load_model(model)
    request, load = request_of(context.params, stored), load_of(context.params, stored)

    def ask(engine: Backend) -> Question:
        return pose(request, stored, cluster, load, engine)

    solve = fewest_with_steps if options.leaves_count_open(gpus, cluster) else search_steps
    choice = _choose(backend, ask, solve)
    try:
        defaults = assumed(context.params, load)
        made = _made(choice, defaults, output, report, pareto=pareto)
    except InfeasibleError as refusal:
        raise _refused(refusal, choice, solve, as_json=json, everything=everything) from None
    if json:
        print_json(made[0])
    else:
        show_plan(out, *made, report, pareto=pareto, everything=everything)


def _choose(
    backend: str, ask: Callable[[Backend], Question], solve: Callable[[Question], Solved]
) -> Choice:
    """The answer of the engine that was named, or of the best one."""
    if backend != AUTO:
        return ask_one(load_backend(backend), ask, solve)
    return choose(load_backends()[0], ask, solve)


def _made(
    choice: Choice, defaults: str, output: Path | None, report: Path | None, *, pareto: bool
) -> tuple[DeploymentPlan, Path]:
    """The plan, and where it was written.

    Raises:
        InfeasibleError: there is none.
    """
    question, outcome = choice.solved
    chosen = make_plan(question, outcome)
    depends_on = (*turning_points(question, outcome.ranked), *([defaults] if defaults else []))
    chosen = chosen.changed(engines=choice.engines, depends_on=depends_on)
    if pareto:
        chosen = chosen.changed(pareto=sweep(question, outcome.ranked))
    path = write_plan(chosen, output)
    if report:
        write_report(report, question, chosen)
    return chosen, path


def _refused(
    refusal: InfeasibleError,
    choice: Choice,
    solve: Callable[[Question], Solved],
    *,
    as_json: bool,
    everything: bool,
) -> InfeasibleError:
    """Show what each split came to; the refusal with what was found to work instead."""
    question, outcome = choice.solved
    found = remedies(question, outcome, solve)
    works = f"; what would work: {', or '.join(found)}" if found else ""
    rejected = Refused(reason=f"{refusal}{works}", alternatives=alternatives(question, outcome))
    if as_json:
        print_json(rejected)
    else:
        shown = rejected.alternatives if everything else telling(rejected.alternatives)
        show_alternatives(out, shown)
    return InfeasibleError(rejected.reason)
