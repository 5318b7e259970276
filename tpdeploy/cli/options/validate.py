"""The options of `tpdeploy validate`."""

from pathlib import Path
from typing import Annotated

import typer

from tpdeploy.harness.load.loops import Arrivals as ArrivalKind

Plan = Annotated[Path | None, typer.Argument(help="Plan file. [default: the running deployment's]")]
Url = Annotated[str | None, typer.Option(help="Endpoint, instead of the running deployment's.")]
Inside = Annotated[
    bool,
    typer.Option(
        "--inside",
        help="Send from where the replicas are: of launch --on slurm, ssh or kubernetes.",
    ),
]
ClientImage = Annotated[
    str | None,
    typer.Option(
        help="Image with this release of tpdeploy, for --inside on Kubernetes; "
        "by default Python's, which installs it from PyPI."
    ),
]
Requests = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Requests to measure, in whole rounds of those in flight. "
        "[default: 4 rounds, 32 or more, as many as a target needs]",
    ),
]
Duration = Annotated[
    float | None, typer.Option(min=0.1, help="Seconds to measure; with --requests, the first.")
]
Warmup = Annotated[
    int | None,
    typer.Option(min=0, help="Maximum of warm-up requests. [default: 3 rounds, fewer if settled]"),
]
Concurrency = Annotated[
    int | None, typer.Option(min=1, help="Requests in flight, instead of the plan's load.")
]
Rate = Annotated[
    float | None, typer.Option(help="Requests per second, instead of the plan's load.")
]
Arrivals = Annotated[ArrivalKind, typer.Option(help="How requests arrive at a rate.")]
LengthSpread = Annotated[
    float | None,
    typer.Option(
        min=0, max=0.9, help="Lengths within this share of their mean. [default: the plan's]"
    ),
]
SharedPrefix = Annotated[
    int, typer.Option(min=0, help="First tokens that all prompts have in common.")
]
Prompts = Annotated[
    Path | None, typer.Option(help='Real prompts: lines of {"prompt": ..., "output_tokens": 64}.')
]
Seed = Annotated[
    int | None,
    typer.Option(
        min=0, help="Of the prompts and arrivals: the same asks the same again. [default: another]"
    ),
]
Sweep = Annotated[
    str | None, typer.Option(help="Loads to measure one after the other, e.g. 1,2,4,8,16.")
]
From = Annotated[
    Path | None,
    typer.Option("--from", help="Result of vllm bench serve, aiperf or genai-perf; sends nothing."),
]
Report = Annotated[Path | None, typer.Option("--report", help="Write the report as one HTML page.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="Report file. [default: kept, and named]")
]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say what each figure means.")]
