"""`tpdeploy plan`: which split of these GPUs serves this model best, and why."""

from pathlib import Path
from typing import Annotated

import typer

from tpdeploy.backends.registry import load_backend
from tpdeploy.cli import options
from tpdeploy.cli.output import out, print_json
from tpdeploy.cli.plan_view import show_alternatives, show_plan
from tpdeploy.cli.planfile import write_plan
from tpdeploy.errors import InfeasibleError
from tpdeploy.planner.plan import Refused
from tpdeploy.planner.precision import kv_cache_dtype, served_shape
from tpdeploy.planner.question import EngineRules, Objective, Question
from tpdeploy.planner.search import Outcome, alternatives, search
from tpdeploy.planner.search import plan as make_plan
from tpdeploy.profiles.gpus_spec import parse_gpus
from tpdeploy.profiles.models import load_model

app = typer.Typer(add_completion=False, rich_markup_mode=None)


ModelName = Annotated[str, typer.Argument(help="Alias, local folder or hub id, as llama-70b.")]
Gpus = Annotated[str, typer.Option(help="8xH100, 4xL40S, 2x8xH200 (nodes), auto.")]
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
Replicas = Annotated[int | None, typer.Option(help="Only this many replicas.")]
Interconnect = Annotated[
    str | None, typer.Option(help="pcie, nvlink, nvswitch or a fabric's name.")
]
BackendName = Annotated[str, typer.Option(help="Engine the plan is for.")]
Optimize = Annotated[Objective, typer.Option(help="What to rank by.")]
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
    dtype: DtypeName = "auto",
    quantization: QuantizationName = None,
    kv_cache: KvCacheDtype = "auto",
    max_model_len: MaxModelLen = None,
    tp: Tp = None,
    replicas: Replicas = None,
    interconnect: Interconnect = None,
    backend: BackendName = "vllm",
    optimize: Optimize = "throughput",
    output: Output = None,
    json: Json = False,
) -> None:
    """Choose the tensor-parallel width and the replica count for MODEL on these GPUs."""
    cluster = parse_gpus(gpus, interconnect)
    shape = served_shape(load_model(model), cluster.accelerator, options.dtype(dtype), quantization)
    engine = load_backend(backend)
    question = Question(
        shape=shape,
        cluster=cluster,
        workload=options.workload(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            concurrency=concurrency,
            rate=rate,
            ttft=ttft,
            tpot=tpot,
        ),
        engine=EngineRules(
            engine.name,
            engine.memory_rule(cluster.accelerator.platform).default_fraction,
            engine.widths(shape, cluster.count).refused,
        ),
        kv_cache_dtype=kv_cache_dtype(kv_cache, shape),
        quantization=quantization,
        max_model_len=options.positive("--max-model-len", max_model_len),
        tensor=options.positive("--tp", tp),
        replicas=options.positive("--replicas", replicas),
        optimize=optimize,
    )
    _answer(question, search(question), output, as_json=json)


def _answer(question: Question, outcome: Outcome, output: Path | None, *, as_json: bool) -> None:
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
    path = write_plan(chosen, output)
    if as_json:
        print_json(chosen)
    else:
        show_plan(out, chosen, path)
