"""`tpdeploy calibrate`: measure what an engine's kernels reach on this machine."""

from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tpdeploy.backends.registry import load_backend
from tpdeploy.cli.calibration_view import show_machine
from tpdeploy.cli.learn import learn_and_tell
from tpdeploy.cli.output import err, out, print_json
from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.launcher.measure import Line, environment_for, lines_expected, measure
from tpdeploy.planner.reached import curves, reached, read_rate
from tpdeploy.profiles.catalog import with_engine
from tpdeploy.profiles.cluster import Cluster
from tpdeploy.profiles.gpus_spec import parse_gpus
from tpdeploy.profiles.machine import driver
from tpdeploy.profiles.measured import MeasuredMachine, Sample, keep, shares_of

SECONDS, QUICK_SECONDS = 0.4, 0.1
# Of a quiet machine half of the repeats lie within a tenth of the median.
BUSY_SPREAD = 0.2

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def calibrate(
    *,
    backend: Annotated[str, typer.Option(help="The engine in whose environment to measure.")],
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
    distribution = engine.environment(cluster.accelerator.platform).distribution
    lines: list[Line] = []
    with _bar() as bar:
        task = bar.add_task("starting", total=lines_expected(cluster.per_node))

        def show(line: Line) -> None:
            lines.append(line)
            bar.update(task, description=str(line["kind"]), advance=1)

        measure(environment, cluster, distribution, QUICK_SECONDS if quick else SECONDS, show)
    machine = _machine(cluster, engine.name, lines)
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
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


def _machine(cluster: Cluster, engine: str, lines: list[Line]) -> MeasuredMachine:
    """The record of what the measuring program printed."""
    identity = next((line for line in lines if line["kind"] == "device"), None)
    if identity is None:
        raise TpdeployError("measuring failed: the program ended without a word")
    now, name = datetime.now(UTC), str(identity["name"])
    versions = dict(identity["versions"])
    if not cluster.cpus:
        versions["driver"] = driver()
    samples = [_sample(line) for line in lines if line["kind"] not in {"device", "remark"}]
    remarks = list(dict.fromkeys(str(line["text"]) for line in lines if line["kind"] == "remark"))
    spread = median(sample.spread for sample in samples)
    if spread > BUSY_SPREAD:
        remarks.append(f"Repeats lie {spread:.0%} apart: the machine was busy; measure again")
    told = {"source": f"tpdeploy calibrate on {name}", "date": now.date()}
    return MeasuredMachine(
        engine=engine,
        device=cluster.accelerator.name,
        hardware=name,
        shares=shares_of(cluster),
        fabric=cluster.fabric.name,
        versions=versions,
        measured_at=now,
        read_bytes_per_s=read_rate(samples),
        matmul=reached(samples, "product"),
        small=reached(samples, "small") if cluster.cpus else None,
        prefill_attention=reached(samples, "prompt"),
        decode_attention=reached(samples, "context"),
        curves=curves(samples, "this machine", told),
        remarks=tuple(remarks),
        samples=tuple(samples),
    )


def _sample(line: Line) -> Sample:
    return Sample(operation=line["kind"], **{k: v for k, v in line.items() if k != "kind"})
