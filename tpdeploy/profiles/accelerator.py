"""Accelerators: datasheet peaks and, apart from them, what was measured to be achievable."""

from typing import Annotated, Literal

from pydantic import Field

from tpdeploy.profiles.record import Dtype, Provenance, Record, Text

Fraction = Annotated[float, Field(gt=0, le=1)]


class Peaks(Provenance):
    """Datasheet figures of one device (dense, no sparsity)."""

    memory_bytes: int = Field(gt=0, description="total memory as the driver reports it")
    memory_bytes_per_s: float = Field(gt=0)
    flops_per_s: dict[Dtype, Annotated[float, Field(gt=0)]] = Field(
        min_length=1, description="dense matrix-product peak by number format"
    )


class Efficiency(Provenance):
    """Fractions of the peaks that an engine reaches, measured or fitted, and how well they fit."""

    matmul: Fraction = Field(description="achieved / peak FLOP/s in large matrix products")
    memory: Fraction = Field(description="achieved / peak bytes/s when reading weights and KV")
    step_overhead_s: float = Field(ge=0, description="engine time per step outside the kernels")
    layer_overhead_s: float = Field(
        ge=0, description="per layer and step: small kernels and the start of large ones"
    )
    tpot_relative_error: float = Field(
        gt=0, description="four of five measured TPOT lie within a factor of 1 + this"
    )
    ttft_relative_error: float = Field(gt=0, description="the same for TTFT")


class Accelerator(Record):
    """One kind of device that holds one tensor-parallel rank."""

    name: Text
    aliases: tuple[Text, ...] = ()
    vendor: Literal["nvidia", "amd", "intel", "cpu"]
    platform: Literal["cuda", "rocm", "gaudi", "cpu"]
    architecture: Text = Field(description="efficiency class, e.g. hopper")
    compute_capability: float | None = Field(default=None, description="NVIDIA only")
    fabrics: tuple[Text, ...] = Field(
        min_length=1, description="fabrics it is sold with, the assumed one first"
    )
    peaks: Peaks
