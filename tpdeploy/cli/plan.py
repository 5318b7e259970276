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


@app.command()
def plan(
    model: Annotated[str, typer.Argument(help="Alias, local folder or hub id, e.g. llama-70b.")],
    *,
    gpus: Annotated[str, typer.Option(help="8xH100, 4xL40S, 2x8xH200 (nodes), auto.")] = "auto",
    input_tokens: Annotated[int, typer.Option(help="Prompt tokens of a request.")] = 1024,
    output_tokens: Annotated[int, typer.Option(help="Answer tokens of a request.")] = 256,
    concurrency: Annotated[
        int | None,
        typer.Option(
            help=f"Requests in flight. [default: {options.DEFAULT_CONCURRENCY}]",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Requests a second, instead of --concurrency.")
    ] = None,
    ttft: Annotated[
        str | None, typer.Option(help="Target time to first token, ms: 500 or 500@p99.")
    ] = None,
    tpot: Annotated[
        str | None, typer.Option(help="Target time per output token, ms: 30 or 30@p99.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto, bf16, fp16 or fp32.")] = "auto",
    quantization: Annotated[
        str | None, typer.Option(help="fp8 (while loading), or what the checkpoint is.")
    ] = None,
    kv_cache: Annotated[str, typer.Option("--kv-cache-dtype", help="auto or fp8.")] = "auto",
    max_model_len: Annotated[
        int | None,
        typer.Option(help="Longest request in tokens. [default: the longest that fits]"),
    ] = None,
    tp: Annotated[int | None, typer.Option(help="Only this tensor-parallel width.")] = None,
    replicas: Annotated[int | None, typer.Option(help="Only this many replicas.")] = None,
    interconnect: Annotated[
        str | None, typer.Option(help="pcie, nvlink, nvswitch or a fabric's name.")
    ] = None,
    backend: Annotated[str, typer.Option(help="Engine the plan is for.")] = "vllm",
    optimize: Annotated[Objective, typer.Option(help="What to rank by.")] = "throughput",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Plan file. [default: remembered as current plan]"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
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
