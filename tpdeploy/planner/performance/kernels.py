"""Kernels: seconds of one operation on one device, a roofline with achieved rates."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot, inf

from tpdeploy.profiles.devices.accelerator import Accelerator, Efficiency, Kernel, KernelFormat
from tpdeploy.profiles.models.shape import Quantization
from tpdeploy.profiles.record import Dtype

# Where no kernel for a format was measured.
NEXT_BEST: Mapping[KernelFormat, KernelFormat] = {
    "fp8-block": "fp8",
    "fp8": "bf16",
    "mxfp4": "fp4",
    "fp4": "int4",
    "int4": "int8",
    "int8": "bf16",
}
# A factor of a whole class lifts no kernel above this share of the peak, unless it alone reached
# more: the largest BF16 products reach 80 % on H100 and H200, 78 % on B200 (maximum achievable
# matmul FLOPS in stas00/ml-engineering, compute/accelerator/README.md).
MOST_OF_PEAK = 0.8
NARROW: Mapping[KernelFormat, Dtype] = {
    "fp8": Dtype.FP8,
    "fp8-block": Dtype.FP8,
    "fp4": Dtype.FP4,
    "mxfp4": Dtype.FP4,
}


@dataclass(frozen=True)
class Roofline:
    """One kind of kernel on one device."""

    flops_per_s: float
    bytes_per_s: float
    start_s: float

    def seconds(self, flops: float, moved_bytes: float, handed_on_bytes: float = 0.0) -> float:
        """Seconds for `flops` operations and `moved_bytes` of traffic; nothing to do costs nothing.

        The two overlap where one is far larger, and add up where they are alike: their 2-norm.
        Traffic between the parts of a kernel, `handed_on_bytes`, comes on top.
        """
        if flops <= 0 and moved_bytes <= 0:
            return 0.0
        alike = hypot(flops / self.flops_per_s, moved_bytes / self.bytes_per_s)
        return self.start_s + alike + handed_on_bytes / self.bytes_per_s


@dataclass(frozen=True)
class Workshop:
    """An engine's kernels on one device, as they run in serving."""

    device: Accelerator
    efficiency: Efficiency

    def matmul(self, kind: KernelFormat) -> Roofline:
        """Dense products with weights of `kind`."""
        kernel = _measured(self.efficiency.kernels.matmul, kind)
        return self._serving(kernel, peak_flops(self.device, kind), self.efficiency.serving.compute)

    def experts(self, kind: KernelFormat) -> Roofline:
        """The routed experts of a layer, with weights of `kind`."""
        kernel = _measured(self.efficiency.kernels.experts, kind)
        return self._serving(kernel, peak_flops(self.device, kind), self.efficiency.serving.experts)

    def prefill_attention(self, kind: KernelFormat, *, latent: bool) -> Roofline:
        """Prompt tokens on their context, with a KV cache of `kind`; shares of the 16-bit peak."""
        kernels = self.efficiency.kernels
        formats = kernels.latent_prefill if latent else kernels.prefill_attention
        peak = peak_flops(self.device, "bf16")
        return self._serving(_measured(formats, kind), peak, self.efficiency.serving.compute)

    def decode_attention(self, kind: KernelFormat, *, latent: bool) -> Roofline:
        """One new token on its context, with a KV cache of `kind`; shares of the 16-bit peak."""
        kernel = _measured(self._decoding(latent=latent), kind)
        return self._serving(kernel, peak_flops(self.device, "bf16"), 1.0)

    def alone_above(self, kind: KernelFormat, *, latent: bool) -> float:
        """The most heads of Q in a step, over all tokens decoded, that read K and V together."""
        heads = _measured(self._decoding(latent=latent), kind).alone_above
        return inf if heads is None else heads

    def alone_beside_prompts(self, kind: KernelFormat, *, latent: bool) -> bool:
        """Whether heads of Q read K and V each alone in steps with prompts."""
        return bool(_measured(self._decoding(latent=latent), kind).alone_beside_prompts)

    @property
    def launch_layer_s(self) -> float:
        """Seconds in which the kernels of a layer are launched, without CUDA graphs."""
        return self.efficiency.serving.launch_layer_s

    @property
    def latent_layer_s(self) -> float:
        """Seconds that a layer takes longer whose attention is on a latent."""
        return self.efficiency.latent.layer_s if self.efficiency.latent else 0.0

    @property
    def small_bytes_per_s(self) -> float:
        """Rates of norms and activations; if not measured, those of products or attention."""
        if self.efficiency.kernels.small:
            return self._memory_bytes_per_s * self.efficiency.kernels.small
        products, attention = self.matmul("bf16"), self.decode_attention("bf16", latent=False)
        return max(products.bytes_per_s, attention.bytes_per_s)

    def _decoding(self, *, latent: bool) -> Mapping[KernelFormat, Kernel]:
        kernels = self.efficiency.kernels
        return kernels.latent_decode if latent else kernels.decode_attention

    @property
    def _memory_bytes_per_s(self) -> float:
        return self.device.peaks.memory_bytes_per_s * self.efficiency.serving.memory

    def _serving(self, kernel: Kernel, peak: float, factor: float) -> Roofline:
        most = max(kernel.compute, MOST_OF_PEAK)
        return Roofline(
            flops_per_s=peak * min(kernel.compute * factor, most),
            bytes_per_s=self._memory_bytes_per_s * kernel.memory,
            start_s=kernel.start_s * self.efficiency.serving.start,
        )


def _measured(kernels: Mapping[KernelFormat, Kernel], kind: KernelFormat) -> Kernel:
    """The kernels for `kind`, or for the next best format that was measured."""
    while kind not in kernels and kind in NEXT_BEST:
        kind = NEXT_BEST[kind]
    return kernels[kind]


def peak_flops(device: Accelerator, kind: KernelFormat) -> float:
    """Peak FLOP/s with operands of `kind`; those the device cannot multiply are widened to 16 bits.

    A device without BF16 computes in the widest format it has.
    """
    peaks = device.peaks.flops_per_s
    narrow = NARROW.get(kind)
    if narrow in peaks:
        return peaks[narrow]
    return peaks.get(Dtype.BF16) or peaks.get(Dtype.FP16) or min(peaks.values())


def weight_format(dtype: Dtype, stored: Quantization | None) -> KernelFormat:
    """The kernels that weights of `dtype` in a checkpoint quantized as `stored` run on."""
    match dtype:
        case Dtype.FP8:
            return "fp8-block" if stored and stored.output_block else "fp8"
        case Dtype.FP4:
            return "mxfp4" if stored and stored.method == "mxfp4" else "fp4"
        case Dtype.INT8:
            return "int8"
        case Dtype.INT4:
            return "int4"
        case _:
            return "bf16"


def cache_format(dtype: Dtype) -> KernelFormat:
    """The attention kernels for a KV cache of `dtype`."""
    return "fp8" if dtype is Dtype.FP8 else "bf16"
