"""Weights or a KV cache of fewer bits never make a decode step longer, but for a stated reason."""

from functools import cache

import pytest

from tests.tiers import tiered
from tpdeploy.planner.model.precision import served_shape
from tpdeploy.planner.model.sharding import legal_widths
from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.performance.assembly import step_model
from tpdeploy.planner.performance.step import Step
from tpdeploy.profiles.devices.accelerator import Efficiency
from tpdeploy.profiles.devices.catalog import with_engine
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model, model_profiles
from tpdeploy.profiles.models.shape import ModelShape
from tpdeploy.profiles.record import Dtype

ENGINES = ("vllm", "tensorrt-llm", "sglang")
CASES = [*((gpu, engine) for gpu in ("H200", "B200", "A100") for engine in ENGINES)]
CASES.append(("MI300X", "vllm"))
EQUAL = 1.02
# Kernels that quantize inputs take a part of the smallest steps: public runs show it too
# (sgl-project/sglang issue 31504: half of what FP8 products gain).
QUANTIZING = 1.40
# Without FP8 products weights are widened inside the kernel, at a part of the compute rate, and an
# MLA cache is read no faster.
WIDENING = 1.10
# Hopper scales the sums of each block outside its tensor cores (DeepSeek-V3 report, 3.3.2).
BLOCKS = 1.12


@cache
def mixtures() -> list[ModelShape]:
    """Every bundled mixture of experts that is stored in 16 bits."""
    shapes = (load_model(profile.id) for profile in model_profiles())
    return [s for s in shapes if s.experts is not None and s.quantization is None]


def like_bf16(efficiency: Efficiency) -> Efficiency:
    """`efficiency` where kernels that quantize their inputs start as fast as those that do not."""
    kernels = efficiency.kernels
    mended = {}
    for kind in ("matmul", "experts", "decode_attention", "latent_decode"):
        formats = getattr(kernels, kind)
        plain = formats["bf16"].start_s
        mended[kind] = {
            form: kernel.model_copy(update={"start_s": min(kernel.start_s, plain)})
            if "quantized first" in (kernel.note or "")
            else kernel
            for form, kernel in formats.items()
        }
    changed = kernels.model_copy(update=mended)
    return efficiency.model_copy(update={"kernels": changed})


def splits(shape: ModelShape) -> list[Parallelism]:
    """The narrowest and the widest group, and the widest with whole experts on each rank."""
    widths = [w for w in legal_widths(shape, 8) if w in (1, 8)]
    wide = [Parallelism(tensor=w, expert=w) for w in widths if w > 1]
    return [*(Parallelism(tensor=w) for w in widths), *wide]


def decode_times(
    cluster: Cluster, shape: ModelShape, split: Parallelism, cache: Dtype
) -> list[float]:
    """Seconds of a decode step of 1, 32 and 256 sequences."""
    model = step_model(shape, cluster, split, cache)
    steps = (Step(decode_sequences=sequences, decode_context=2048) for sequences in (1, 32, 256))
    return [model.time(step).total for step in steps]


def narrowed(shape: ModelShape, cluster: Cluster) -> dict[str, tuple[ModelShape, Dtype]]:
    """`shape` with FP8 weights, quantized while loading or stored so, or with an FP8 cache."""
    blocks = load_model("Qwen/Qwen3-235B-A22B-FP8").quantization
    stored = shape.model_copy(update={"quantization": blocks})
    return {
        "fp8": (served_shape(shape, cluster.accelerator, None, "fp8"), Dtype.BF16),
        "fp8 checkpoint": (stored, Dtype.BF16),
        "fp8 KV cache": (shape, Dtype.FP8),
    }


def allowed(cluster: Cluster, asked: str) -> float:
    """The largest ratio that has a reason, quantizing aside."""
    if Dtype.FP8 not in cluster.accelerator.peaks.flops_per_s:
        return WIDENING
    by_block = asked == "fp8 checkpoint" and cluster.accelerator.architecture == "hopper"
    return BLOCKS if by_block else EQUAL


@pytest.mark.parametrize("every", tiered([1, 10], [10]))
@pytest.mark.parametrize(("gpu", "engine"), CASES)
def test_fp8_never_slows_decoding(gpu: str, engine: str, every: int) -> None:
    """FP8 weights or cache: not above the time in 16 bits, but for what `allowed` names.

    For one mixture out of `every` so many.
    """
    cluster = with_engine(parse_gpus(f"8x{gpu}"), engine)
    aside = cluster.model_copy(update={"efficiency": like_bf16(cluster.efficiency)})
    for stored in mixtures()[::every]:
        shape = served_shape(stored, cluster.accelerator, None, None)
        for split in splits(shape):
            before = decode_times(cluster, shape, split, Dtype.BF16)
            for asked, (narrow, held) in narrowed(shape, cluster).items():
                for where, most in ((aside, allowed(cluster, asked)), (cluster, QUANTIZING)):
                    after = decode_times(where, narrow, split, held)
                    ratio = max(a / b for a, b in zip(after, before, strict=True))
                    assert ratio <= most, f"{shape.id} {split} {asked}"
