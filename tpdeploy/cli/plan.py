"""`tpdeploy plan`: which split of these GPUs serves this model best, and why."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tpdeploy.backends.registry import load_backend
from tpdeploy.backends.rules import engine_rules
from tpdeploy.cli import options
from tpdeploy.cli.output import out, print_json
from tpdeploy.cli.plan_view import show_alternatives, show_plan
from tpdeploy.cli.planfile import write_plan
from tpdeploy.errors import InfeasibleError
from tpdeploy.planner.fleet import fewest_devices
from tpdeploy.planner.pareto import sweep
from tpdeploy.planner.plan import Refused
from tpdeploy.planner.precision import kv_cache_dtype, served_shape
from tpdeploy.planner.question import Question
from tpdeploy.planner.search import Outcome, alternatives, search
from tpdeploy.planner.search import plan as make_plan
from tpdeploy.planner.workload import DRAFT_COST
from tpdeploy.profiles.gpus_spec import parse_gpus
from tpdeploy.profiles.models import load_model

app = typer.Typer(add_completion=False, rich_markup_mode=None)


ModelName = Annotated[str, typer.Argument(help="Alias, local folder or hub id, as llama-70b.")]
Gpus = Annotated[
    str,
    typer.Option(
        help="8xH100, 4xL40S, 2x8xH200 (nodes), auto; H100: as few as the rate or targets need."
    ),
]
InputTokens = Annotated[int, typer.Option(help="Prompt tokens of a request.")]
OutputTokens = Annotated[int, typer.Option(help="Answer tokens of a request.")]
Concurrency = Annotated[
    int | None, typer.Option(help=f"Requests in flight. [default: {options.DEFAULT_CONCURRENCY}]")
]
Rate = Annotated[float | None, typer.Option(help="Requests a second, not --concurrency.")]
Ttft = Annotated[str | None, typer.Option(help="Target time to first token, ms: 500, 500@p99.")]
Tpot = Annotated[str | None, typer.Option(help="Target time per output token, ms: 30, 30@p99.")]
DtypeName = Annotated[str, typer.Option(help="auto, bf16, fp16 or fp32.")]
QuantizationName = Annotated[
    str | None, typer.Option(help="fp8 (while loading), or what the checkpoint is.")
]
KvCacheDtype = Annotated[str, typer.Option("--kv-cache-dtype", help="auto or fp8.")]
MaxModelLen = Annotated[
    int | None, typer.Option(help="Longest request in tokens. [default: the longest that fits]")
]
Tp = Annotated[int | None, typer.Option(help="Only this tensor-parallel width.")]
Pp = Annotated[int | None, typer.Option(help="Only this many pipeline stages.")]
Ep = Annotated[
    bool | None, typer.Option("--ep/--no-ep", help="Only whole experts a rank, or only split ones.")
]
PrefixHits = Annotated[
    float, typer.Option(help="Share of prompt tokens found in the prefix cache, 0 to 1.")
]
SpeculativeTokens = Annotated[int | None, typer.Option(help="Tokens drafted a step.")]
AcceptanceRate = Annotated[
    float | None, typer.Option(help="Probability that a drafted token is accepted, 0 to 1.")
]
DraftCost = Annotated[
    float | None,
    typer.Option(help=f"Time to draft a token / time of a decode step. [default: {DRAFT_COST}]"),
]
GpuPrice = Annotated[float | None, typer.Option(help="Dollars an hour for one GPU.")]
Pareto = Annotated[
    bool, typer.Option("--pareto", help="Show answers against throughput over several loads.")
]
Replicas = Annotated[int | None, typer.Option(help="Only this many replicas.")]
Interconnect = Annotated[
    str | None, typer.Option(help="pcie, nvlink, nvswitch or a fabric's name.")
]
NetworkName = Annotated[
    str | None, typer.Option("--network", help="Between machines: infiniband-ndr, efa-3200g, ...")
]
BackendName = Annotated[str, typer.Option(help="Engine the plan is for.")]
Optimize = Annotated[
    Literal["throughput", "latency", "cost"], typer.Option(help="What to rank by.")
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Plan file. [default: remembered as current plan]"),
]
Json = Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")]


@app.command()
def plan(
    model: ModelName,
    *,
    gpus: Gpus = "auto",
    input_tokens: InputTokens = 1024,
    output_tokens: OutputTokens = 256,
    concurrency: Concurrency = None,
    rate: Rate = None,
    ttft: Ttft = None,
    tpot: Tpot = None,
    prefix_cache_hit_rate: PrefixHits = 0.0,
    speculative_tokens: SpeculativeTokens = None,
    acceptance_rate: AcceptanceRate = None,
    draft_cost: DraftCost = None,
    dtype: DtypeName = "auto",
    quantization: QuantizationName = None,
    kv_cache: KvCacheDtype = "auto",
    max_model_len: MaxModelLen = None,
    tp: Tp = None,
    pp: Pp = None,
    ep: Ep = None,
    replicas: Replicas = None,
    interconnect: Interconnect = None,
    network: NetworkName = None,
    backend: BackendName = "vllm",
    optimize: Optimize = "throughput",
    gpu_price: GpuPrice = None,
    pareto: Pareto = False,
    output: Output = None,
    json: Json = False,
) -> None:
    """Choose how MODEL is split over these GPUs: TP width, pipeline stages, experts, replicas."""
    cluster = parse_gpus(gpus, interconnect, network=network)
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
