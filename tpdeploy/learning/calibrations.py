"""What `tpdeploy calibrate` measured on this machine, and how a cluster uses it."""

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from tpdeploy.bounds import MOST_SECONDS, BytesPerS, Figure, FlopsPerS, Index, Seconds, Whole
from tpdeploy.errors import InputError
from tpdeploy.files import data_home, kind_of, write_whole
from tpdeploy.profiles.devices.accelerator import (
    Efficiency,
    Formats,
    Kernel,
    Peaks,
)
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.devices.fabric import Curve, Fabric
from tpdeploy.profiles.machine.cores import cores_in, processor
from tpdeploy.profiles.record import Dtype, Record, Text
from tpdeploy.records import read_json_record

Operation = Literal["read", "product", "small", "prompt", "context", "all-reduce"]

# A judgement: kernels timed alone leave what the engine does around them to the catalog.
CALIBRATED_ERROR = 0.3
# No engine serves with PyTorch's attention; with its products they do, on GPUs.
NOT_SERVED = "torch attention"


class Sample(Record):
    """One figure: the median seconds of one operation."""

    operation: Operation
    shape: dict[str, Whole]
    kernel: Text = Field(description="whose: the engine's or PyTorch's")
    seconds: Seconds
    spread: Figure = Field(description="width of the middle half of the repeats / median")


class FittedRates(Record):
    """What one kind of kernel reaches: seconds = start + hypot(FLOPs / rate, bytes / rate)."""

    kernel: Text
    flops_per_s: FlopsPerS
    bytes_per_s: BytesPerS
    start_s: float = Field(ge=0, le=MOST_SECONDS)
    error: Figure = Field(description="median of |fitted / measured - 1|")


class MeasuredMachine(Record):
    """One kind of device of this machine, as one engine's kernels find it."""

    version: Literal[1] = 1
    engine: Text
    device: Text = Field(description="its name in the catalog")
    hardware: Text = Field(description="its name as the system gives it")
    shares: tuple[Index, ...] = Field(description="cores of each device; none on GPUs")
    fabric: Text
    versions: dict[str, str]
    measured_at: datetime
    read_bytes_per_s: BytesPerS = Field(description="of one device, all of them reading")
    matmul: FittedRates
    small: FittedRates | None = Field(
        description="norms and activations; None: not measured on GPUs"
    )
    prefill_attention: FittedRates
    decode_attention: FittedRates
    curves: tuple[Curve, ...] = Field(default=(), description="all-reduces")
    remarks: tuple[str, ...] = ()
    samples: tuple[Sample, ...]

    @property
    def source(self) -> str:
        """Where its numbers come from, in words."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        day = f"{self.measured_at:%Y-%m-%d}"
        return f"measured on this machine by tpdeploy calibrate {day}: {self.hardware}, {versions}"


def path_of(engine: str, device: str, shares: tuple[int, ...]) -> Path:
    """The file that holds a device's calibration."""
    return data_home() / "measured" / engine / f"{name_of(device, shares)}.json"


def name_of(device: str, shares: tuple[int, ...]) -> str:
    """The name of a device's files; for a CPU, one per way of sharing its cores."""
    return "-".join([device.lower(), *map(str, shares)])


def keep(machine: MeasuredMachine) -> Path:
    """Write the file for later plans, and return its path."""
    path = path_of(machine.engine, machine.device, machine.shares)
    write_whole(path, machine.model_dump_json(indent=2) + "\n")
    return path


def find(cluster: Cluster, engine: str) -> MeasuredMachine | None:
    """The calibration of the devices of `cluster`; None if there is none.

    Raises:
        InputError: the file is not what was written.
    """
    path = path_of(engine, cluster.accelerator.name, shares_of(cluster))
    if not kind_of(path):
        return None
    try:
        found = read_json_record(path, MeasuredMachine)
    except InputError as error:
        raise InputError(f"{error}; measure again: tpdeploy calibrate") from error
    elsewhere = cluster.cpus and found.hardware != processor()
    return None if elsewhere else found


def shares_of(cluster: Cluster) -> tuple[int, ...]:
    """Cores of each share of a CPU; none on GPUs."""
    return tuple(len(cores_in(cpus)) for cpus in cluster.cpus)


def measured_here(cluster: Cluster, machine: MeasuredMachine) -> Cluster:
    """`cluster`, whose efficiency is of the machine's engine, with what was measured."""
    peaks = _peaks(cluster.accelerator.peaks, machine) if cluster.cpus else None
    device = cluster.accelerator
    device = device.changed(peaks=peaks) if peaks else device
    return cluster.changed(
        accelerator=device,
        efficiency=_efficiency(cluster.efficiency, device.peaks, machine, bool(peaks)),
        fabric=_fabric(cluster.fabric, machine),
        measured=(*cluster.measured, f"kernels {machine.source}"),
    )


def _peaks(peaks: Peaks, machine: MeasuredMachine) -> Peaks:
    """A CPU's peaks: the most that any kernel reached. No datasheet tells a share's."""
    kinds = (machine.matmul, machine.prefill_attention, machine.decode_attention)
    flops = max(kind.flops_per_s for kind in kinds)
    return peaks.changed(
        memory_bytes_per_s=max(machine.read_bytes_per_s, *(k.bytes_per_s for k in kinds)),
        flops_per_s={**peaks.flops_per_s, Dtype.BF16: flops},
        source=machine.source,
        date=machine.measured_at.date(),
    )


def _efficiency(
    efficiency: Efficiency, peaks: Peaks, machine: MeasuredMachine, all_kinds: bool
) -> Efficiency:
    """With the kernels measured; on a CPU they stand for experts and latent attention as well."""
    products = _formats(efficiency.kernels.matmul, peaks, machine.matmul)
    prompts = _formats(efficiency.kernels.prefill_attention, peaks, machine.prefill_attention)
    contexts = _formats(efficiency.kernels.decode_attention, peaks, machine.decode_attention)
    if not all_kinds:
        contexts = _never_slower_to_compute(contexts, efficiency.kernels.decode_attention)
    kernels: dict[str, object] = {
        "matmul": products,
        "prefill_attention": prompts,
        "decode_attention": contexts,
    }
    if all_kinds:
        kernels |= {"experts": products, "latent_prefill": prompts, "latent_decode": contexts}
    told = {"source": machine.source, "date": machine.measured_at.date()}
    errors = efficiency.errors
    narrowed = {
        "tpot": min(errors.tpot, CALIBRATED_ERROR),
        "ttft": min(errors.ttft, CALIBRATED_ERROR),
        "parts": (),
        "confidence": "medium",
        **told,
    }
    serving = efficiency.serving
    if machine.small:
        kernels["small"] = min(1.0, machine.small.bytes_per_s / peaks.memory_bytes_per_s)
        serving = serving.changed(layer_s=machine.small.start_s, **told)
    return efficiency.changed(
        serving=serving,
        kernels=efficiency.kernels.changed(**kernels, **told),
        errors=errors.changed(**narrowed) if all_kinds else errors,
    )


def _formats(known: Formats, peaks: Peaks, fitted: FittedRates) -> Formats:
    """The 16-bit kernels as measured, those of other formats as they were."""
    if fitted.kernel == NOT_SERVED:
        return known
    peak = peaks.flops_per_s.get(Dtype.BF16) or max(peaks.flops_per_s.values())
    kernel = Kernel(
        compute=min(1.0, fitted.flops_per_s / peak),
        memory=min(1.0, fitted.bytes_per_s / peaks.memory_bytes_per_s),
        start_s=fitted.start_s,
    )
    return {**known, "bf16": kernel}


def _never_slower_to_compute(measured: Formats, known: Formats) -> Formats:
    """`measured` with the compute rates of `known` where those are higher.

    On GPUs memory alone limits one new token of a sequence: the rate that fits such samples is one
    that was not exceeded, and far too low for models with many query heads to a KV head.
    """
    return {
        kind: kernel.changed(compute=max(kernel.compute, known[kind].compute))
        if kind in known
        else kernel
        for kind, kernel in measured.items()
    }


def _fabric(fabric: Fabric, machine: MeasuredMachine) -> Fabric:
    """The fabric with measured curves replacing those of the same algorithm and width."""
    if fabric.name != machine.fabric:
        return fabric
    replaced = {(c.operation, c.algorithm, c.group_size) for c in machine.curves}
    kept = (c for c in fabric.curves if (c.operation, c.algorithm, c.group_size) not in replaced)
    return fabric.changed(curves=(*machine.curves, *kept))
