"""Kernels: rooflines never beat the device's peaks, and every device has one for every format."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpdeploy.planner.parallelism import Parallelism
from tpdeploy.planner.performance.assembly import step_model
from tpdeploy.planner.performance.kernels import (
    Roofline,
    Workshop,
    cache_format,
    peak_flops,
    weight_format,
)
from tpdeploy.planner.performance.step import Step
from tpdeploy.profiles.devices.accelerator import Accelerator, KernelFormat
from tpdeploy.profiles.devices.catalog import (
    accelerators,
    efficiency_of,
    find_accelerator,
    with_engine,
)
from tpdeploy.profiles.devices.releases import earlier_releases
from tpdeploy.profiles.machine.gpus_spec import parse_gpus
from tpdeploy.profiles.models.library import load_model
from tpdeploy.profiles.models.shape import Quantization
from tpdeploy.profiles.record import Dtype

ALL = accelerators()
FORMATS: tuple[KernelFormat, ...] = get_args(KernelFormat)


def test_what_is_handed_on_between_parts_comes_on_top() -> None:
    """The parts run one after another: their traffic overlaps with nothing."""
    kernel = Roofline(flops_per_s=1e15, bytes_per_s=1e12, start_s=1e-6)
    alone = kernel.seconds(1e12, 1e9)
    assert kernel.seconds(1e12, 1e9, 2e9) == pytest.approx(alone + 2e-3)


def test_a_roofline_is_start_and_norm_of_its_two_bounds() -> None:
    """3 s of compute and 4 s of traffic overlap to 5 s, after the start."""
    kernel = Roofline(flops_per_s=10, bytes_per_s=100, start_s=0.5)
    assert kernel.seconds(30, 400) == 5.5
    assert kernel.seconds(0, 0) == 0


@given(flops=st.floats(1, 1e15), moved=st.floats(1, 1e12))
def test_no_time_is_under_either_bound(flops: float, moved: float) -> None:
    """At least the compute alone and the traffic alone, at most both after another."""
    kernel = Roofline(flops_per_s=1e12, bytes_per_s=1e11, start_s=1e-6)
    seconds = kernel.seconds(flops, moved)
    assert seconds >= max(flops / 1e12, moved / 1e11)
    assert seconds <= 1e-6 + flops / 1e12 + moved / 1e11 + 1e-12


@pytest.mark.parametrize("device", ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("engine", ["vllm", "tensorrt-llm", "sglang", "deepspeed-mii"])
def test_every_device_has_kernels_for_every_format(device: Accelerator, engine: str) -> None:
    """Whatever is stored, something multiplies it, and never above the device's best peak."""
    workshop = Workshop(device, efficiency_of(device.architecture, engine))
    best = max(device.peaks.flops_per_s.values())
    for form in FORMATS:
        assert 0 < workshop.matmul(form).flops_per_s <= 1.4 * best
        assert 0 < workshop.experts(form).bytes_per_s <= device.peaks.memory_bytes_per_s
    for latent in (False, True):
        for form in ("bf16", "fp8"):
            kind: KernelFormat = form
            assert workshop.prefill_attention(kind, latent=latent).flops_per_s > 0
            assert workshop.decode_attention(kind, latent=latent).bytes_per_s > 0


def test_narrow_formats_are_multiplied_as_such_where_the_device_can() -> None:
    """FP8 has a peak of its own on H100 and not on A100; FP4 on B200 alone."""
    h100, a100, b200 = map(find_accelerator, ("H100", "A100", "B200"))
    assert peak_flops(h100, "fp8") == h100.peaks.flops_per_s[Dtype.FP8]
    assert peak_flops(a100, "fp8") == a100.peaks.flops_per_s[Dtype.BF16]
    assert peak_flops(h100, "fp4") == h100.peaks.flops_per_s[Dtype.BF16]
    assert peak_flops(b200, "fp4") == b200.peaks.flops_per_s[Dtype.FP4]


def test_a_factor_lifts_no_kernel_above_what_products_reach() -> None:
    """vLLM's factor on Hopper is above 1: FP8 products gain by it, BF16 ones were at their best."""
    card, known = find_accelerator("H100"), efficiency_of("hopper", "vllm")
    factor, kernels = known.serving.compute, known.kernels.matmul
    shop = Workshop(card, known)
    shares = {kind: shop.matmul(kind).flops_per_s / peak_flops(card, kind) for kind in kernels}
    assert factor > 1
    assert shares["bf16"] == pytest.approx(kernels["bf16"].compute)
    assert shares["fp8"] == pytest.approx(kernels["fp8"].compute * factor)


def test_formats_follow_the_checkpoint() -> None:
    """Block scales and MXFP4 have kernels of their own; the KV cache has two."""
    block = Quantization(method="fp8", weights=Dtype.FP8, output_block=128, input_block=128)
    mxfp4 = Quantization(method="mxfp4", weights=Dtype.FP4, group_size=32)
    nvfp4 = Quantization(method="nvfp4", weights=Dtype.FP4, group_size=16)
    assert weight_format(Dtype.FP8, block) == "fp8-block"
    assert weight_format(Dtype.FP8, None) == "fp8"
    assert weight_format(Dtype.FP4, mxfp4) == "mxfp4"
    assert weight_format(Dtype.FP4, nvfp4) == "fp4"
    assert weight_format(Dtype.FP16, None) == "bf16"
    assert (cache_format(Dtype.FP8), cache_format(Dtype.BF16)) == ("fp8", "bf16")


def test_heads_that_read_alone_read_as_much_as_without_groups() -> None:
    """DeepSpeed-MII's decode attention takes as long with 8 KV heads of 32 as with 32."""
    cluster = with_engine(parse_gpus("1xA100-80GB"), "deepspeed-mii")
    step = Step(decode_sequences=64, decode_context=2000)

    def seconds(name: str) -> float:
        model = step_model(load_model(name), cluster, Parallelism(tensor=1), Dtype.BF16)
        return model.time(step).attention

    assert seconds("llama-3-8b") == pytest.approx(seconds("llama-2-7b"))


def test_a_step_without_graphs_lasts_while_kernels_are_launched() -> None:
    """However small the step: DeepSpeed-MII launches the kernels of 32 layers one by one."""
    cluster = with_engine(parse_gpus("4xA100-80GB"), "deepspeed-mii")
    serving = cluster.efficiency.serving
    model = step_model(load_model("llama-2-7b"), cluster, Parallelism(tensor=4), Dtype.BF16)
    assert model.seconds(Step(decode_sequences=1, decode_context=1)) > 32 * serving.launch_layer_s
    assert serving.launch_layer_s > 0


def test_few_heads_read_together_and_many_alone() -> None:
    """vLLM before 0.6 on ROCm: of 32 heads, 16 sequences read together and 17 do not."""
    cluster = with_engine(parse_gpus("1xMI300X"), "vllm")
    (before,) = earlier_releases("vllm", "rocm")
    old = cluster.changed(efficiency=before.of(cluster.efficiency))
    model = step_model(load_model("llama-3-8b"), old, Parallelism(tensor=1), Dtype.BF16)
    few, more = (
        model.time(Step(decode_sequences=count, decode_context=2000)).attention / count
        for count in (16, 17)
    )
    assert 3 < more / few < 4.2
