"""`tpdeploy compare`: several models, GPUs, engines or widths side by side."""

from typing import Annotated

import typer

from tpdeploy.api.functions import compared
from tpdeploy.api.options import Options
from tpdeploy.cli.options import plan as given
from tpdeploy.cli.output import out, print_json
from tpdeploy.cli.views.compare import show_comparison
from tpdeploy.errors import InfeasibleError, InputError, shown

app = typer.Typer(add_completion=False, rich_markup_mode=None)

SEVERAL = "one or several, separated by commas"


@app.command()
def compare(
    model: Annotated[str, typer.Argument(help=f"Models: {SEVERAL}, as llama-8b,qwen3-8b.")],
    *,
    gpus: Annotated[str, typer.Option(help=f"GPUs: {SEVERAL}, as 8xH100,8xH200.")] = "auto",
    backend: Annotated[str, typer.Option(help=f"Engines: {SEVERAL}.")] = "auto",
    tp: Annotated[str | None, typer.Option(help=f"Widths: {SEVERAL}, as 4,8.")] = None,
    input_tokens: given.InputTokens = None,
    output_tokens: given.OutputTokens = None,
    workload: given.WorkloadName = None,
    lengths: given.LengthsFile = None,
    concurrency: given.Concurrency = None,
    rate: given.Rate = None,
    quantization: given.QuantizationName = None,
    gpu_price: given.GpuPrice = None,
    json: Annotated[bool, typer.Option("--json", help="Print every plan as JSON.")] = False,
) -> None:
    """Plan every combination of models, GPUs, engines and widths, and show them side by side."""
    stated = {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "workload": workload,
        "lengths": lengths,
        "concurrency": concurrency,
        "rate": rate,
        "quantization": quantization.lower() if quantization else None,
        "gpu_price": gpu_price,
    }
    options: Options = {name: value for name, value in stated.items() if value is not None}  # type: ignore[assignment]
    found = compared(
        _split("MODEL", model),
        _split("--gpus", gpus),
        _split("--backend", backend),
        _widths(tp),
        options,
    )
    if json:
        print_json(found)
    else:
        show_comparison(out, found)
    if found.best is None:
        raise InfeasibleError("none of these is feasible")


def _split(option: str, text: str) -> list[str]:
    """The parts of a list with commas."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise InputError(f"{option} {shown(text)!r}: give {SEVERAL}")
    return parts


def _widths(text: str | None) -> list[int] | None:
    if text is None:
        return None
    parts = _split("--tp", text)
    if not all(part.isascii() and part.isdecimal() and len(part) < 7 for part in parts):
        raise InputError(f"--tp {shown(text)}: give whole numbers, {SEVERAL}, as 4,8")
    return [int(part) for part in parts]
