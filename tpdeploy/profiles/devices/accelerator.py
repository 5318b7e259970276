"""Accelerators: datasheet peaks and, separately, the measured efficiencies."""

from typing import Annotated, Literal

from pydantic import Field

from tpdeploy.profiles.record import Confidence, Dtype, Provenance, Record, Text

Fraction = Annotated[float, Field(gt=0, le=1)]
# Formats that engines have kernels of their own for: block-scaled FP8, and microscaled FP4, too.
KernelFormat = Literal["bf16", "fp8", "fp8-block", "fp4", "mxfp4", "int8", "int4"]


class Peaks(Provenance):
    """Datasheet figures of one device (dense, no sparsity)."""

    memory_bytes: int = Field(gt=0, description="total memory as the driver reports it")
    memory_bytes_per_s: float = Field(gt=0)
    flops_per_s: dict[Dtype, Annotated[float, Field(gt=0)]] = Field(
        min_length=1, description="dense matrix-product peak by number format"
    )


class Kernel(Record):
    """The share of the device's peaks that one kind of kernel reaches."""

    compute: Fraction = Field(description="achieved / peak FLOP/s when compute bounds it")
    memory: Fraction = Field(description="achieved / peak bytes/s when memory bounds it")
    start_s: float = Field(default=0.0, ge=0, description="seconds however little there is to do")
    alone_above: int | None = Field(
        default=None,
        ge=0,
        description="decode attention: with more heads of Q on a rank, over all sequences, each "
        "reads its K and V alone; None: those that share them always read them together",
    )
    alone_beside_prompts: bool | None = Field(
        default=None,
        description="decode attention: each head of Q reads its K and V alone in steps with "
        "prompts; not of models with sinks or windows, which run on other kernels",
    )
    source: Text | None = Field(default=None, description="where it differs from the block's")
    confidence: Confidence | None = Field(default=None, description="likewise")
    note: Text | None = Field(
        default=None, description="why it is slower than a wider format, where it may be"
    )


Formats = Annotated[dict[KernelFormat, Kernel], Field(min_length=1)]


class Kernels(Provenance):
    """An engine's kernels on one class of device, by the format of the weights or of the KV."""

    matmul: Formats = Field(description="dense layers, by weight format")
    experts: Formats = Field(description="all routed experts of a layer, by weight format")
    prefill_attention: Formats = Field(description="prompt tokens on their context, by KV format")
    decode_attention: Formats = Field(description="one new token on its context, by KV format")
    latent_prefill: Formats = Field(description="the same for MLA")
    latent_decode: Formats = Field(description="the same for MLA")
    small: Fraction | None = Field(
        default=None,
        description="share of the memory peak in norms and activations; None: as in the others",
    )

    def decoding(self, **changes: int | None) -> "Kernels":
        """The same with `changes` to decode attention of every format."""
        kernels = self.decode_attention.items()
        return self.changed(decode_attention={form: k.changed(**changes) for form, k in kernels})


class Serving(Provenance):
    """Times that only whole serving runs show, not single kernels."""

    step_s: float = Field(ge=0, description="per step: scheduling, sampling, launching")
    prompt_step_s: float = Field(
        default=0.0, ge=0, description="per step with prompts besides, which runs outside graphs"
    )
    group_step_s: float = Field(
        default=0.0, ge=0, description="per step of several ranks: handing it out, collecting"
    )
    layer_s: float = Field(ge=0, description="per layer and step: norms and other small kernels")
    launch_layer_s: float = Field(
        default=0.0,
        ge=0,
        description="per layer: launching its kernels, for which they wait if they are quicker; "
        "0: CUDA graphs do it",
    )
    sequence_s: float = Field(ge=0, description="per new token: sampling, sending it out")
    context_s: float = Field(
        default=0.0,
        ge=0,
        description="per step and token of context of a decoding sequence: "
        "tables of its KV blocks made on the host",
    )
    request_s: float = Field(ge=0, description="per request before its first token: HTTP, tokens")
    turnaround_s: float = Field(
        default=0.0, ge=0, description="from an answer's end to a client's next request"
    )
    compute: float = Field(
        default=1.0, gt=0, description="factor on the compute rate of products and prompt attention"
    )
    experts: float = Field(default=1.0, gt=0, description="factor on the experts' compute rate")
    memory: float = Field(default=1.0, gt=0, description="factor on the memory rate of kernels")
    communication: float = Field(
        default=1.0, gt=0, description="factor on collectives, but for those over PCIe"
    )
    pcie_communication: float = Field(
        default=1.0, gt=0, description="factor on collectives over PCIe"
    )
    arrival_s: float = Field(
        default=0.0, ge=0, description="per collective: its ranks do not arrive at once"
    )
    start: float = Field(
        default=1.0, ge=0, description="factor on kernel starts, which graphs shorten"
    )


class LatentLayers(Provenance):
    """What attention on a latent (MLA) adds to a layer, which no kernel timed alone shows."""

    layer_s: float = Field(
        ge=0,
        description="per such layer and step: small kernels around the latent, and those of the "
        "experts that come with it",
    )


ModelKind = Literal["dense", "experts", "latent"]


class Spread(Record):
    """Errors of the runs of one kind of model, on one device or several."""

    model: ModelKind = Field(description="latent: attention on a latent (MLA)")
    joined: bool = Field(description="several devices hold one copy of the model")
    tpot: float = Field(gt=0, description="four of five lie within a factor of 1 + this")
    ttft: float = Field(gt=0, description="the same for TTFT")
    offline: float = Field(gt=0, description="the same for tokens/s without a server")
    rows: int = Field(ge=0, description="runs of this kind; few: as wide as what it is part of")

    def without_server(self) -> "Spread":
        """The same of the engine alone."""
        return self.changed(tpot=self.offline)


class Errors(Provenance):
    """Errors of predictions against measured runs."""

    tpot: float = Field(gt=0, description="four of five lie within a factor of 1 + this")
    ttft: float = Field(gt=0, description="the same for TTFT")
    parts: tuple[Spread, ...] = Field(
        default=(), description="the same for kinds of models and widths, where runs tell"
    )

    def of(self, model: ModelKind, *, joined: bool) -> Spread:
        """The errors for models of a kind on one device or several."""
        for part in self.parts:
            if (part.model, part.joined) == (model, joined):
                return part
        tpot, ttft = self.tpot, self.ttft
        return Spread(model=model, joined=joined, tpot=tpot, ttft=ttft, offline=tpot, rows=0)


class Efficiency(Record):
    """The efficiency of one engine on one class of device."""

    engine: Text
    kernels: Kernels
    serving: Serving
    latent: LatentLayers | None = Field(
        default=None, description="None: nothing beyond the kernels and `serving`"
    )
    errors: Errors

    def without_server(self) -> "Efficiency":
        """The same engine without a server, which adds to each token and request."""
        serving = self.serving.model_copy(update={"sequence_s": 0.0, "request_s": 0.0})
        parts = tuple(part.without_server() for part in self.errors.parts)
        errors = self.errors.model_copy(update={"parts": parts})
        return self.model_copy(update={"serving": serving, "errors": errors})


class Slices(Provenance):
    """How NVIDIA's Multi-Instance GPU (MIG) deals a device out."""

    gb: int = Field(gt=0, description="as the largest profile's name says: 80 of 7g.80gb")
    memory: Literal[8, 4] = Field(default=8, description="parts of memory")
    compute: Literal[7, 4] = Field(default=7, description="parts of compute")


class Accelerator(Record):
    """One kind of device that holds one tensor-parallel rank."""

    name: Text
    aliases: tuple[Text, ...] = ()
    vendor: Literal["nvidia", "amd", "intel", "cpu"]
    platform: Literal["cuda", "rocm", "gaudi", "cpu"]
    architecture: Text = Field(description="class of device, e.g. hopper")
    compute_capability: float | None = Field(default=None, description="NVIDIA only")
    fabrics: tuple[Text, ...] = Field(
        min_length=1, description="fabrics it is sold with, the assumed one first"
    )
    peer_to_peer: bool = Field(
        default=False,
        description="whether devices exchange over PCIe directly, not through host memory, on the "
        "machines that they are usually in",
    )
    product_labels: tuple[Text, ...] = Field(
        default=(),
        description="values of the product label of Kubernetes nodes that are not made of the "
        "driver's name",
    )
    peaks: Peaks
    mig: Slices | None = Field(default=None, description="None: it cannot be sliced")
