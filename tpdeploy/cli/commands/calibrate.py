"""`tpdeploy calibrate`: measure what an engine's kernels reach on this machine."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tpdeploy.backends.registry import load_backend
from tpdeploy.cli.commands.learn import learn_and_tell
from tpdeploy.cli.output import err, out, print_json
from tpdeploy.cli.views.calibration import show_machine
from tpdeploy.errors import InputError
from tpdeploy.launcher.measure import Line, environment_for, lines_expected, measure
from tpdeploy.learning.calibrations import keep
from tpdeploy.profiles.devices.catalog import with_engine
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.machine.gpus_spec import parse_gpus

SECONDS, QUICK_SECONDS = 0.25, 0.05

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def calibrate(
    *,
    backend: Annotated[
        str, typer.Option(help="The engine in whose environment to measure.")
    ] = "vllm",
    gpus: Annotated[str, typer.Option(help="auto, or shares of the CPU as 2xCPU.")] = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer repeats of each figure.")] = False,
    executable: Annotated[
        Path | None, typer.Option(help="An engine installed elsewhere, e.g. its vllm.")
    ] = None,
    python: Annotated[
        Path | None, typer.Option(help="The Python of an environment that has the engine.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was measured as JSON.")] = False,
) -> None:
    """Measure this machine: memory, matrix products, attention, all-reduce.

    Plans for this machine and this engine use it from then on. Leave the machine to it.
    """
    cluster = _this_machine(gpus)
    engine = load_backend(backend)
    environment = environment_for(engine, cluster, executable, python)
    with _bar() as bar:
        task = bar.add_task("starting", total=lines_expected(cluster))

        def show(line: Line) -> None:
            bar.update(task, description=str(line["kind"]), advance=1)

        seconds = QUICK_SECONDS if quick else SECONDS
        machine = measure(environment, cluster, engine, seconds, show)
    path = keep(machine)
    learn_and_tell(engine.name, machine.device)
    if json:
        print_json(machine)
    else:
        show_machine(out, machine, with_engine(cluster, engine.name), path)


def _this_machine(gpus: str) -> Cluster:
    cluster = parse_gpus(gpus)
    if cluster.origin != "detected":
        raise InputError(f"--gpus {gpus}: calibrate measures this machine: auto, or 2xCPU")
    return cluster


def _bar() -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
