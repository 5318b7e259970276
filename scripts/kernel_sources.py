"""What the tables of kernels do not show: what is taken over from elsewhere, and why."""

from typing import Any

from tpdeploy.profiles.devices.accelerator import Efficiency, Kernel, KernelFormat
from tpdeploy.profiles.devices.catalog import DATA
from tpdeploy.records import read_record

# Single kernels that were fitted to another table than the rest of their record.
LEFT = {("vllm", "hopper", "experts", "fp8"): "the same package: h200_sxm, vLLM 0.19.0 (Triton)"}
# What is taken over from another engine's record on the same class, and why.
TAKEN_KERNELS = {
    ("sglang", "hopper", "latent_decode", "fp8"): (
        "tensorrt-llm",
        "the table is of fa3, which widens the whole cache in each layer; with --attention-backend "
        "flashmla a step of DeepSeek-R1 takes 17.7 ms, with a 16-bit cache 17.2, with fa3 31.5 "
        "(sgl-project/sglang issue 35291)",
    )
}
# Starts that are taken over from another format, and why.
TAKEN_STARTS = {
    ("tensorrt-llm", "matmul", "fp8"): (
        "fp8-block",
        "the table holds no time below 10 to 12 us on any class of device, which is the launching "
        "CPU's",
    )
}
# Devices without FP8 products run such weights through kernels for narrow weights. vLLM's were not
# measured: the share of the compute rate that TensorRT-LLM's lose with 4-bit weights is taken.
WEIGHT_ONLY = {("vllm", "ampere"): ("tensorrt-llm", "int4")}
# Why a narrower format may be slower than a wider one.
QUANTIZES = "the inputs are quantized first, by kernels of their own"
QUANTIZES_CACHE = "Q, K and V of new tokens are quantized first, by kernels of their own"
WIDENS = "the weights are widened to 16 bits inside the kernel"
SAME_TIME = "takes as long as with a 16-bit cache, shape by shape"


def take_over(engine: str, architecture: str, blocks: dict[str, Any]) -> None:
    """Replace what an engine's own table does not show, each with its source."""
    for (whose, where, kind, form), (other, why) in TAKEN_KERNELS.items():
        if (whose, where) == (engine, architecture):
            theirs = getattr(record(other, architecture).kernels, kind)[form]
            blocks[kind][form] = borrowed(theirs, f"taken over from {other}: {why}")
    for (whose, kind, form), (other, why) in TAKEN_STARTS.items():
        if whose == engine and form in blocks[kind]:
            start = blocks[kind].get(other, blocks[kind][form]).start_s
            own = blocks[kind][form].model_copy(update={"start_s": start})
            blocks[kind][form] = borrowed(own, f"fitted, the start taken over from {other}: {why}")
    for (whose, where, kind, form), told in LEFT.items():
        if (whose, where) == (engine, architecture):
            blocks[kind][form] = blocks[kind][form].model_copy(update={"source": told})
    if narrow := WEIGHT_ONLY.get((engine, architecture)):
        blocks["matmul"]["fp8"] = weight_only(blocks["matmul"]["bf16"], architecture, *narrow)


def weight_only(plain: Kernel, architecture: str, other: str, form: KernelFormat) -> Kernel:
    """The kernel for weights that a device cannot multiply, from the one for 16 bits."""
    theirs = record(other, architecture).kernels.matmul
    share = theirs[form].compute / theirs["bf16"].compute
    compute = float(f"{plain.compute * share:.3g}")
    why = f"bf16, the compute rate times the {share:.2f} that {form} weights reach in {other}"
    return borrowed(plain.model_copy(update={"compute": compute}), why)


def borrowed(kernel: Kernel, source: str) -> Kernel:
    """`kernel` with a source of its own."""
    return kernel.model_copy(update={"source": source, "confidence": "low"})


def record(engine: str, architecture: str) -> Efficiency:
    """The record of an engine on a class."""
    return read_record(DATA / "efficiency" / engine / f"{architecture}.yaml", Efficiency)


def add_reasons(architecture: str, blocks: dict[str, Any]) -> None:
    """Say of each narrow format why it may be slower than a wider one."""
    for kind, kernels in blocks.items():
        for form in kernels:
            why = reason(architecture, kind, form)
            kernels[form] = kernels[form].model_copy(update={"note": why})


def reason(architecture: str, kind: str, form: str) -> str | None:
    """Why kernels of a narrow format may be slower than those of a wider one."""
    widened = {"int4"} if architecture == "blackwell" else {"int4", "mxfp4"}
    if form == "bf16":
        return None
    if kind == "latent_decode" and architecture in ("ampere", "ada"):
        return SAME_TIME
    if kind not in ("matmul", "experts"):
        return QUANTIZES_CACHE
    return WIDENS if form in widened or architecture == "ampere" else QUANTIZES
