"""What `tpdeploy calibrate` measured, beside what the catalog says."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tpdeploy.backends.registry import load_backend
from tpdeploy.learning.calibrations import FittedRates, MeasuredMachine, measured_here
from tpdeploy.planner.performance.collectives import all_reduce
from tpdeploy.planner.performance.kernels import Roofline, Workshop
from tpdeploy.profiles.devices.cluster import Cluster

MESSAGES = {"4 KiB": 4096, "1 MiB": 2**20}


def show_machine(console: Console, machine: MeasuredMachine, catalog: Cluster, path: Path) -> None:
    """One row per figure: measured, and what plans would count with otherwise.

    `catalog` is the same cluster with the engine's bundled efficiency.
    """
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    console.print(f"{machine.hardware}: {versions}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for title in ("measured", "catalog", "unit", "fit error"):
        table.add_column(title, justify="right" if title != "unit" else "left", no_wrap=True)
    bandwidth = catalog.accelerator.peaks.memory_bytes_per_s
    table.add_row("reading memory", *_pair(machine.read_bytes_per_s, bandwidth, 1e9), "GB/s", "")
    known = Workshop(catalog.accelerator, catalog.efficiency)
    _add_kind(table, "matrix products", machine.matmul, known.matmul("bf16"))
    if machine.small:
        _add_small(table, machine.small, catalog)
    prompts = known.prefill_attention("bf16", latent=False)
    _add_kind(table, "prompt attention", machine.prefill_attention, prompts)
    contexts = known.decode_attention("bf16", latent=False)
    _add_kind(table, "decode attention", machine.decode_attention, contexts)
    _add_reductions(table, machine, catalog)
    console.print(table)
    for remark in machine.remarks:
        console.print(Text(remark, style="dim"))
    console.print(f"Kept, and used by plans for this machine: {path}", soft_wrap=True)


def _add_kind(table: Table, name: str, found: FittedRates, known: Roofline) -> None:
    error = f"{found.error:.0%}"
    table.add_row(name, *_pair(found.flops_per_s, known.flops_per_s, 1e9), "GFLOP/s", error)
    table.add_row(
        f"  {found.kernel}", *_pair(found.bytes_per_s, known.bytes_per_s, 1e9), "GB/s", ""
    )
    table.add_row("", *_pair(found.start_s, known.start_s, 1e-6), "us to start", "")


def _add_small(table: Table, found: FittedRates, catalog: Cluster) -> None:
    known = Workshop(catalog.accelerator, catalog.efficiency).small_bytes_per_s
    start = _pair(found.start_s, catalog.efficiency.serving.layer_s, 1e-6)
    rate = _pair(found.bytes_per_s, known, 1e9)
    table.add_row("norms, activation", *rate, "GB/s", f"{found.error:.0%}")
    table.add_row(f"  {found.kernel}", *start, "us per layer", "")


def _add_reductions(table: Table, machine: MeasuredMachine, catalog: Cluster) -> None:
    measured = measured_here(catalog, machine)
    own = load_backend(machine.engine).own_kernels.graphs
    for width in sorted({curve.group_size for curve in machine.curves}):
        ours, theirs = (all_reduce(c, width, own) for c in (measured, catalog))
        for name, size in MESSAGES.items():
            pair = _pair(ours.seconds(size), theirs.seconds(size), 1e-6)
            table.add_row(f"all-reduce of {width}, {name}", *pair, "us", "")


def _pair(measured: float, known: float, unit: float) -> tuple[str, str]:
    return f"{measured / unit:,.1f}", f"{known / unit:,.1f}"
