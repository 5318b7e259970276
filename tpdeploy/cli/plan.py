"""`tpdeploy plan`: which split of these GPUs serves this model best, and why."""

from pathlib import Path

import typer

from tpdeploy.backends.registry import load_backend
from tpdeploy.backends.rules import engine_rules
from tpdeploy.cli import options
from tpdeploy.cli import plan_options as given
from tpdeploy.cli.output import out, print_json
from tpdeploy.cli.plan_view import show_plan
from tpdeploy.cli.planfile import write_plan
from tpdeploy.cli.splits_view import show_alternatives
from tpdeploy.errors import InfeasibleError
from tpdeploy.planner.fleet import fewest_devices
from tpdeploy.planner.pareto import sweep
from tpdeploy.planner.plan import Refused
from tpdeploy.planner.precision import kv_cache_dtype, served_shape
from tpdeploy.planner.question import Question
from tpdeploy.planner.search import Outcome, alternatives, search
from tpdeploy.planner.search import plan as make_plan
from tpdeploy.profiles.catalog import with_engine
from tpdeploy.profiles.gpus_spec import parse_gpus
from tpdeploy.profiles.models import load_model

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def plan(
    model: given.ModelName,
    *,
    gpus: given.Gpus = "auto",
    input_tokens: given.InputTokens = 1024,
    output_tokens: given.OutputTokens = 256,
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
    tp: given.Tp = None,
    pp: given.Pp = None,
    ep: given.Ep = None,
    replicas: given.Replicas = None,
    interconnect: given.Interconnect = None,
    network: given.NetworkName = None,
    backend: given.BackendName = "vllm",
    optimize: given.Optimize = "throughput",
    gpu_price: given.GpuPrice = None,
    pareto: given.Pareto = False,
    output: given.Output = None,
    json: given.Json = False,
) -> None:
    """Choose how MODEL is split over these GPUs: TP width, pipeline stages, experts, replicas."""
    cluster = with_engine(parse_gpus(gpus, interconnect, network=network), backend)
    shape = served_shape(load_model(model), cluster.accelerator, options.dtype(dtype), quantization)
    load = options.workload(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        concurrency=concurrency,
        rate=rate,
        ttft=ttft,
        tpot=tpot,
        prefix_cache_hit_rate=prefix_cache_hit_rate,
        speculative_tokens=speculative_tokens,
        acceptance_rate=acceptance_rate,
        draft_cost=draft_cost,
    )
    question = Question(
        shape=shape,
        cluster=cluster,
        workload=load,
        engine=engine_rules(load_backend(backend), shape, cluster),
        kv_cache_dtype=kv_cache_dtype(kv_cache, shape),
        quantization=quantization,
        max_model_len=options.positive("--max-model-len", max_model_len),
        tensor=options.positive("--tp", tp),
        pipeline=options.positive("--pp", pp),
        whole_experts=options.experts(shape, asked=ep),
        replicas=options.positive("--replicas", replicas),
        optimize=optimize,
        gpu_price_per_hour=options.positive_number("--gpu-price", gpu_price),
    )
    if options.leaves_count_open(gpus, cluster) and (load.rate or load.ttft or load.tpot):
        fleet = fewest_devices(question)
        question, outcome = fleet.question, fleet.outcome
    else:
        outcome = search(question)
    _answer(question, outcome, output, as_json=json, pareto=pareto)


def _answer(
    question: Question, outcome: Outcome, output: Path | None, *, as_json: bool, pareto: bool
) -> None:
    """Write and show the plan, or show why there is none."""
    try:
        chosen = make_plan(question, outcome)
    except InfeasibleError as refusal:
        rejected = Refused(reason=str(refusal), alternatives=alternatives(question, outcome))
        if as_json:
            print_json(rejected)
        else:
            show_alternatives(out, rejected.alternatives)
        raise
    if pareto:
        chosen = chosen.model_copy(update={"pareto": sweep(question, outcome.ranked)})
    path = write_plan(chosen, output)
    if as_json:
        print_json(chosen)
    else:
        show_plan(out, chosen, path, pareto=pareto)
