"""MIG: a slice of a GPU as a device, by the profile's name: `a100-3g.20gb`.

A profile says the share of compute (`3g`: three of seven) and the memory, which the driver deals
out in eighths, or in quarters on GPUs that have four slices. Its bandwidth is shared as its memory.
"""

import re
from dataclasses import dataclass

from tpdeploy.profiles.devices.accelerator import Accelerator, Slices

PROFILE = re.compile(r"(?<![a-z0-9])(?P<compute>[1-7])g\.(?P<gb>\d{1,4})gb", re.IGNORECASE)
BETWEEN = " _:-"
# Parts of memory that come with so many parts of compute, by the parts that there are of both.
PARTS = {
    (8, 7): ((1, 1), (1, 2), (2, 2), (3, 4), (4, 4), (7, 8)),
    (4, 4): ((1, 1), (2, 2), (4, 4)),
}
# What a slice of an A100 shows less than its share (1g.10gb, 2g.20gb and 3g.40gb in the table
# "MIG profile comparison" of arcs-njit-edu.github.io).
KEPT_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Profile:
    """One size of slice: sevenths of compute, eighths of memory, and the GB that its name says."""

    compute: int
    memory: int
    gb: int

    @property
    def name(self) -> str:
        """As NVIDIA writes it."""
        return f"{self.compute}g.{self.gb}gb"


def parsed(name: str) -> tuple[str, str] | None:
    """The GPU and the profile that `name` says, if it is such a name.

    >>> parsed("A100-3g.20gb"), parsed("NVIDIA A100-SXM4-40GB MIG 1g.5gb"), parsed("A100")
    (('A100', '3g.20gb'), ('NVIDIA A100-SXM4-40GB', '1g.5gb'), None)
    """
    text = name.strip()
    match = PROFILE.search(text)
    if match is None or match.end() < len(text):
        return None
    gpu = text[: match.start()].rstrip(BETWEEN)
    if gpu.lower().endswith("mig"):
        gpu = gpu[:-3].rstrip(BETWEEN)
    return (gpu, f"{match['compute']}g.{match['gb']}gb") if gpu else None


def profiles(slices: Slices) -> tuple[Profile, ...]:
    """The profiles of a GPU; gigabytes are rounded as NVIDIA does."""
    return tuple(
        Profile(compute, memory, int(slices.gb * memory / slices.memory + 0.5))
        for compute, memory in PARTS[slices.memory, slices.compute]
    )


def profile_of(device: Accelerator, name: str) -> Profile | None:
    """The profile called `name` of `device`, if it has it."""
    found = profiles(device.mig) if device.mig else ()
    return next((profile for profile in found if profile.name == name), None)


def sliced(device: Accelerator, profile: Profile, slices: Slices) -> Accelerator:
    """One slice of `device`, with its share of compute, memory and bandwidth."""
    peaks = device.peaks
    memory, compute = profile.memory / slices.memory, profile.compute / slices.compute
    share = peaks.changed(
        memory_bytes=int(peaks.memory_bytes * memory) - KEPT_BYTES,
        memory_bytes_per_s=peaks.memory_bytes_per_s * memory,
        flops_per_s={dtype: rate * compute for dtype, rate in peaks.flops_per_s.items()},
        source=f"{peaks.source}; shares: {slices.source}",
        confidence="low" if peaks.confidence == "low" else "medium",
    )
    name = f"{device.name}-{profile.name}"
    return device.changed(name=name, aliases=(), fabrics=("mig",), mig=None, peaks=share)
