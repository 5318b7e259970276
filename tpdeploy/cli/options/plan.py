"""The arguments of `tpdeploy plan` and their help."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tpdeploy.api.options import DEFAULT_CONCURRENCY
from tpdeploy.cli.options import completion
from tpdeploy.harness.traces.reading import BadLines
from tpdeploy.planner.daily import HEADROOM, START_UP_S
from tpdeploy.planner.request import Router
from tpdeploy.planner.workload import DRAFT_COST, INPUT_TOKENS, LENGTH_SPREAD, OUTPUT_TOKENS

ModelName = Annotated[
    str,
    typer.Argument(
        help="Alias, local folder or hub id, e.g. llama-70b.", autocompletion=completion.models
    ),
]
Gpus = Annotated[
    str,
    typer.Option(
        help="8xH100, 2x8xH200 (machines), p5.48xlarge, 1x3090+1x3070, auto; H100: as few as the "
        "load needs; kubernetes:CONTEXT, slurm:PARTITION: the GPUs that it has.",
        autocompletion=completion.gpus,
    ),
]
InputTokens = Annotated[
    str | None,
    typer.Option(
        help="Prompt tokens of a request: a mean, 512..4096 (evenly between), or "
        f"mean=1200,p95=6000 (log-normal). [default: {INPUT_TOKENS}]"
    ),
]
OutputTokens = Annotated[
    str | None,
    typer.Option(help=f"Answer tokens of a request, in the same forms. [default: {OUTPUT_TOKENS}]"),
]
LengthSpread = Annotated[
    float | None,
    typer.Option(
        help="Lengths lie within this share of the mean, to either side; 0: all are equal. "
        f"[default: {LENGTH_SPREAD}]"
    ),
]
WorkloadName = Annotated[
    str | None,
    typer.Option(
        "--workload",
        help="Lengths of public data: chat, sharegpt, rag, summarize, code, agent, reasoning, "
        "batch; see tpdeploy workloads.",
        autocompletion=completion.workloads,
    ),
]
LengthsFile = Annotated[
    Path | None,
    typer.Option(
        "--lengths",
        help="Lengths of real requests: CSV or JSON Lines with input_tokens and output_tokens, or "
        "with prompts.",
    ),
]
TraceFile = Annotated[
    Path | None,
    typer.Option(
        "--trace",
        help="Requests as they were recorded: Mooncake's JSON Lines, CSV of Azure or BurstGPT, "
        "results of vLLM and aiperf, or columns arrival_s, input_tokens, output_tokens.",
    ),
]
TraceSpeed = Annotated[float | None, typer.Option(help="2: replay the trace twice as fast.")]
TraceWindow = Annotated[
    str | None, typer.Option(help="Part of the trace, from its first request on, as 10m..20m.")
]
TraceBad = Annotated[
    BadLines | None,
    typer.Option(help="Bad lines of the trace: stop at the first, or skip and name them."),
]
Daily = Annotated[
    Path | None,
    typer.Option(
        help="A day of traffic: CSV with hour and requests_per_second, or a trace. Replicas by the "
        "hour, GPU-hours, and what an autoscaler saves; needs --ttft or --tpot.",
    ),
]
Headroom = Annotated[
    float | None,
    typer.Option(
        help=f"With --daily: replicas for so much more than comes on average. [default: {HEADROOM}]"
    ),
]
StartUp = Annotated[
    float | None,
    typer.Option(
        "--start-up",
        help=f"With --daily: seconds until a new replica answers. [default: {START_UP_S:g}]",
    ),
]
RouterName = Annotated[
    Router | None,
    typer.Option(
        "--router",
        help="How the requests of the trace are shared out among replicas; cache-aware: by the "
        "longest beginning that one holds. [default: least-in-flight, as tpdeploy's own front]",
    ),
]
Concurrency = Annotated[
    int | None, typer.Option(help=f"Requests in flight. [default: {DEFAULT_CONCURRENCY}]")
]
Rate = Annotated[float | None, typer.Option(help="Requests per second, instead of --concurrency.")]
Ttft = Annotated[str | None, typer.Option(help="Target time to first token, ms: 500, 500@p99.")]
Tpot = Annotated[str | None, typer.Option(help="Target time per output token, ms: 30, 30@p99.")]
DtypeName = Annotated[str, typer.Option(help="auto, bf16, fp16 or fp32.")]
QuantizationName = Annotated[
    str | None, typer.Option(help="fp8 (while loading), or the checkpoint's own.")
]
KvCacheDtype = Annotated[str, typer.Option("--kv-cache-dtype", help="auto or fp8.")]
MaxModelLen = Annotated[
    int | None, typer.Option(help="Longest request in tokens. [default: the longest that fits]")
]
MaxNumBatchedTokens = Annotated[
    int | None,
    typer.Option(
        help="Tokens in one step: fewer let the first answers begin earlier, more read prompts "
        "faster. [default: 2048, 8192 or 16384 by memory; fewer if a target needs it]"
    ),
]
MaxNumSeqs = Annotated[
    int | None,
    typer.Option(
        help="Requests in one step. [default: 256, or as many as are in flight; 16 on CPUs; fewer "
        "if nothing fits otherwise]"
    ),
]
MemoryFraction = Annotated[
    float | None,
    typer.Option(
        help="Share of a device's memory for the engine, as it defines it: vLLM of the whole, "
        "others of what is free after the weights. [default: the engine's]"
    ),
]
EnforceEager = Annotated[
    bool, typer.Option("--enforce-eager", help="Without CUDA graphs: less memory, slower steps.")
]
Tp = Annotated[int | None, typer.Option(help="Only this tensor-parallel width.")]
Pp = Annotated[int | None, typer.Option(help="Only this many pipeline stages.")]
Dp = Annotated[
    int | None,
    typer.Option(
        "--dp",
        "--data-parallel",
        help="Only this many data-parallel attention ranks of a model with experts: each has its "
        "own requests and KV cache, all share the experts. 1: none. [default: what serves better]",
    ),
]
Ep = Annotated[
    bool | None,
    typer.Option(
        "--ep/--no-ep",
        help="Use expert parallelism (EP), or do not. Default: whichever serves better.",
    ),
]
PrefixHits = Annotated[
    float, typer.Option(help="Share of prompt tokens found in the prefix cache, 0 to 1.")
]
SpeculativeTokens = Annotated[int | None, typer.Option(help="Tokens drafted per step.")]
AcceptanceRate = Annotated[
    float | None, typer.Option(help="Probability that a drafted token is accepted, 0 to 1.")
]
DraftCost = Annotated[
    float | None,
    typer.Option(help=f"Time to draft a token / time of a decode step. [default: {DRAFT_COST}]"),
]
GpuPrice = Annotated[float | None, typer.Option(help="Dollars per hour for one GPU.")]
Pareto = Annotated[
    bool,
    typer.Option("--pareto", help="Compare low latency with high throughput over several loads."),
]
Replicas = Annotated[int | None, typer.Option(help="Only this many replicas.")]
Interconnect = Annotated[
    str | None,
    typer.Option(
        help="pcie, nvlink, nvswitch, or pcie-gen4-x8 and the like.",
        autocompletion=completion.interconnects,
    ),
]
NetworkName = Annotated[
    str | None,
    typer.Option(
        "--network",
        help="Between machines: infiniband-ndr, efa-3200g, ...",
        autocompletion=completion.networks,
    ),
]
BackendName = Annotated[
    str,
    typer.Option(
        help="Engine the plan is for; auto: the best of those that can run it.",
        autocompletion=completion.backends,
    ),
]
Optimize = Annotated[
    Literal["throughput", "latency", "cost", "goodput"],
    typer.Option(help="What to rank by; goodput: the highest rate within --ttft and --tpot."),
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Plan file. [default: remembered as current plan]"),
]
Report = Annotated[
    Path | None, typer.Option("--report", help="Write the plan as one HTML page, with figures.")
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        help="Draw tokens/s against TPOT of the splits, over several loads, or the day of "
        "--daily: .svg or .png.",
    ),
]
Everything = Annotated[
    bool,
    typer.Option(
        *("-v", "--all", "--verbose"),
        help="Show memory, every split and engine, all reasons and assumptions too.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")]
