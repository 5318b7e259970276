"""What `tpdeploy calibrate --on` measured between machines."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tpdeploy.profiles.devices.networks import MeasuredNetwork, Reduction

# Of a quiet network half of the repeats lie within a fifth of the median.
BUSY_SPREAD = 0.4


def show_network(console: Console, measured: MeasuredNetwork, path: Path) -> None:
    """One row per figure, the link fitted to them, and how plans use it."""
    network = measured.network
    console.print(Text(network.link.source))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("all-reduce", "message", "us", "spread"):
        table.add_column(title, justify="left" if title == "all-reduce" else "right", no_wrap=True)
    for sample in measured.samples:
        seconds, spread = f"{sample.seconds * 1e6:,.1f}", f"{sample.spread:.0%}"
        table.add_row(_group(sample), _size(sample.bytes), seconds, spread)
    console.print(table)
    link = network.link
    console.print(
        f"Link: {link.hop_latency_s * 1e6:,.1f} us a hop, {link.ring_bytes_per_s / 1e9:,.2f} GB/s, "
        f"one adapter a {network.adapters}",
        soft_wrap=True,
    )
    busy = [s for s in measured.samples if s.spread > BUSY_SPREAD]
    if len(busy) > len(measured.samples) / 2:
        console.print(Text("Repeats lie far apart: the network was busy; measure again", "dim"))
    console.print(f"Kept: {path}", soft_wrap=True)
    console.print(f"Plans between such machines: tpdeploy plan --network {network.name}")


def _group(sample: Reduction) -> str:
    """Which ranks took part."""
    ranks = f"{sample.group} ranks on {sample.machines} machines"
    return f"{ranks}, {sample.rails} groups at once" if sample.rails > 1 else ranks


def _size(count: int) -> str:
    """A power of two, in the largest unit."""
    return f"{count // 2**20} MiB" if count >= 2**20 else f"{count // 2**10} KiB"
