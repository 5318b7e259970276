"""`tpdeploy calibrate`: measure what an engine's kernels reach on this machine."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tpdeploy.backends.registry import load_backend
from tpdeploy.cli.commands.learn import learn_and_tell
from tpdeploy.cli.options import launch as launching
from tpdeploy.cli.options.quiet import Quiet
from tpdeploy.cli.output import err, out, print_json
from tpdeploy.cli.views.calibration import show_machine
from tpdeploy.cli.views.network import show_network
from tpdeploy.errors import InputError
from tpdeploy.launcher.measure import (
    QUICK,
    USUAL,
    Line,
    environment_for,
    lines_expected,
    measure,
)
from tpdeploy.launcher.network import QUICK_REPEATS, REPEATS, Machines, machines_of
from tpdeploy.launcher.network import measure as measure_between
from tpdeploy.launcher.runtimes.base import Engine
from tpdeploy.learning.calibrations import keep
from tpdeploy.profiles.devices.catalog import with_engine
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.devices.networks import check_name
from tpdeploy.profiles.devices.networks import keep as keep_network
from tpdeploy.profiles.machine.gpus_spec import parse_gpus

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def calibrate(
    *,
    backend: Annotated[
        str, typer.Option(help="The engine in whose environment to measure.")
    ] = "vllm",
    gpus: Annotated[
        str,
        typer.Option(help="auto, or shares of the CPU as 2xCPU; with --on what each machine has."),
    ] = "auto",
    on: Annotated[
        str | None,
        typer.Option(help="Measure between machines instead: slurm, or ssh:HOST,HOST."),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(min=2, help="How many machines. [default: those named; Slurm: 2]"),
    ] = None,
    sbatch: launching.Sbatch = None,
    network_name: Annotated[
        str,
        typer.Option(help="Name for the network between them, for plan --network."),
    ] = "measured",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer repeats of each figure.")] = False,
    executable: launching.Executable = None,
    python: launching.Python = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was measured as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure this machine: memory, matrix products, attention, all-reduce.

    Later plans for this machine and engine use it. Run nothing else meanwhile. With --on,
    all-reduces between machines are measured, for plan --network NAME.
    """
    engine = load_backend(backend)
    if on is not None:
        check_name(network_name)
        cluster, options = _each_machine(gpus), tuple(sbatch or ())
        platform = cluster.accelerator.platform
        asked = Engine(engine, platform, executable, python, on=on, options=options)
        machines = machines_of(asked, cluster, _count(cluster, nodes), network_name)
        _between(machines, quick=quick, as_json=json)
        return
    if nodes or sbatch:
        raise InputError("--nodes and --sbatch are for --on slurm or --on ssh:HOST,HOST")
    cluster = _this_machine(gpus)
    environment = environment_for(engine, cluster, executable, python)
    effort = QUICK if quick else USUAL
    with _bar() as bar:
        task = bar.add_task("starting", total=lines_expected(cluster, effort))

        def show(line: Line) -> None:
            bar.update(task, description=str(line["kind"]), advance=1)

        machine = measure(environment, cluster, engine, effort, show)
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


def _each_machine(gpus: str) -> Cluster:
    """What every machine has, as the user says: this one may have something else."""
    if gpus.strip().lower() == "auto":
        raise InputError("--on: say what each machine has: --gpus 8xH100, or --gpus CPU")
    cluster = parse_gpus(gpus)
    if cluster.cpus and cluster.count > 1:
        raise InputError(f"--gpus {gpus} with --on: one rank on each machine: --gpus CPU")
    return cluster


def _count(cluster: Cluster, nodes: int | None) -> int | None:
    """How many machines are asked for."""
    stated = cluster.machines if cluster.machines > 1 else None
    if nodes and stated and nodes != stated:
        raise InputError(f"--nodes {nodes}: --gpus says {stated} machines")
    return nodes or stated


def _between(machines: Machines, *, quick: bool, as_json: bool) -> None:
    """Measure between machines, and keep it; ended in whatever way, nothing runs on there."""
    with _bar() as bar, _ended_by_signals():
        task = bar.add_task("starting", total=machines.lines)

        def show(line: Line) -> None:
            if line["kind"] == "all-reduce":
                bar.update(task, description=f"all-reduce of {line['group']}", advance=1)

        def wait(words: str) -> None:
            bar.update(task, description=words)

        measured = measure_between(machines, QUICK_REPEATS if quick else REPEATS, show, wait)
    path = keep_network(measured)
    if as_json:
        print_json(measured)
    else:
        show_network(out, measured, path)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Whoever ends this process otherwise than by Ctrl-C ends it in the same way."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
