"""Precision: the model as it will be served, from its checkpoint and what the user asks for."""

from tpdeploy.errors import InputError
from tpdeploy.profiles.accelerator import Accelerator
from tpdeploy.profiles.model import ModelShape, Quantization
from tpdeploy.profiles.record import Dtype

ACTIVATION_DTYPES = (Dtype.BF16, Dtype.FP16, Dtype.FP32)
KV_CACHE_DTYPES = ("auto", "fp8")
# Engines can quantize plain weights to FP8 while loading; other formats come with a checkpoint.
ONLINE_FP8 = Quantization(method="fp8", weights=Dtype.FP8)


def served_shape(
    shape: ModelShape, device: Accelerator, dtype: Dtype | None, quantization: str | None
) -> ModelShape:
    """`shape` with the dtype and quantization it will be served in on `device`.

    A 16-bit model on a device without BF16 is served in FP16.

    Raises:
        InputError: a dtype no activation has, or a quantization this checkpoint cannot get.
    """
    return shape.model_copy(
        update={
            "dtype": _activation_dtype(shape, device, dtype),
            "quantization": _quantization(shape, quantization),
        }
    )


def kv_cache_dtype(asked: str, shape: ModelShape) -> Dtype:
    """The KV cache's dtype: `auto` is the model's own.

    Raises:
        InputError: a name that is not a KV-cache dtype.
    """
    if asked not in KV_CACHE_DTYPES:
        raise InputError(f"--kv-cache-dtype {asked}: choose from {', '.join(KV_CACHE_DTYPES)}")
    return shape.dtype if asked == "auto" else Dtype.FP8


def _activation_dtype(shape: ModelShape, device: Accelerator, asked: Dtype | None) -> Dtype:
    if asked is not None and asked not in ACTIVATION_DTYPES:
        raise InputError(
            f"--dtype {asked}: activations are {', '.join(ACTIVATION_DTYPES)}; "
            f"for narrower weights use --quantization {asked}"
        )
    dtype = asked or shape.dtype
    if dtype is Dtype.BF16 and dtype not in device.peaks.flops_per_s:
        if asked:
            raise InputError(f"--dtype bf16: {device.name} has no BF16; use --dtype fp16")
        return Dtype.FP16
    return dtype


def _quantization(shape: ModelShape, asked: str | None) -> Quantization | None:
    stored = shape.quantization
    if asked is None or (stored and asked == stored.method):
        return stored
    if stored:
        raise InputError(
            f"--quantization {asked}: the checkpoint {shape.id} is stored as {stored.method}; "
            "leave the option out"
        )
    if asked == ONLINE_FP8.method:
        return ONLINE_FP8
    raise InputError(
        f"--quantization {asked}: {shape.id} is stored in {shape.dtype}; engines can only "
        f"quantize to fp8 while loading. Use fp8, or plan a checkpoint stored as {asked}"
    )
