"""Precision: the model as it will be served, from its checkpoint and what the user asks for."""

from tpdeploy.errors import InputError, nearest
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.models.config.linear_layers import LINEAR, MIXING
from tpdeploy.profiles.models.shape import Attention, ModelShape, Quantization
from tpdeploy.profiles.record import Dtype

ACTIVATION_DTYPES = (Dtype.BF16, Dtype.FP16, Dtype.FP32)
KV_CACHE_DTYPES = ("auto", "fp8")
# Engines can quantize plain weights to FP8 while loading; other formats come with a checkpoint.
ONLINE_FP8 = Quantization(method="fp8", weights=Dtype.FP8)

# What a checkpoint's weights are commonly converted to, by the number format.
CONVERSIONS = {
    Dtype.FP8: ONLINE_FP8,
    Dtype.FP4: Quantization(
        method="nvfp4", weights=Dtype.FP4, group_size=16, scale_bits=8, input_block=16
    ),
    Dtype.INT4: Quantization(
        method="gptq", weights=Dtype.INT4, group_size=128, scale_bits=20, input_block=128
    ),
    Dtype.INT8: Quantization(method="int8", weights=Dtype.INT8),
}
PRECISIONS = {
    "auto": None,
    "bf16": Dtype.BF16,
    "bfloat16": Dtype.BF16,
    "fp16": Dtype.FP16,
    "float16": Dtype.FP16,
    "fp8": Dtype.FP8,
    "fp8_block": Dtype.FP8,
    "fp4": Dtype.FP4,
    "nvfp4": Dtype.FP4,
    "mxfp4": Dtype.FP4,
    "int4": Dtype.INT4,
    "int4_wo": Dtype.INT4,
    "w4a16": Dtype.INT4,
    "awq": Dtype.INT4,
    "gptq": Dtype.INT4,
    "int8": Dtype.INT8,
    "w8a8": Dtype.INT8,
}
# Published 4-bit conversions of MLA models and of hybrid ones leave what mixes tokens in the native
# dtype, those of hybrid ones (Qwen3.5) the shared expert too.
MIXING_LINEARS = (*MIXING, *LINEAR)
SHARED_LINEARS = tuple(f"shared expert {part}" for part in ("gate", "up", "down"))


def served_shape(
    shape: ModelShape, device: Accelerator, dtype: Dtype | None, quantization: str | None
) -> ModelShape:
    """`shape` with the dtype and quantization it will be served in on `device`.

    A 16-bit model on a device without BF16 is served in FP16.

    Raises:
        InputError: a dtype no activation has, or a quantization this checkpoint cannot get.
    """
    return shape.changed(
        dtype=_activation_dtype(shape, device, dtype),
        quantization=_quantization(shape, quantization),
    )


def stored_shape(shape: ModelShape, device: Accelerator, precision: str) -> ModelShape:
    """`shape` as it is served on `device` when its weights are said to be of `precision`.

    A checkpoint that stores that format, and a blank precision, are taken as they are; any other
    is taken as converted to that format, in all its linear layers.

    Raises:
        InputError: a precision that is not known here.
    """
    name = precision.strip().lower()
    if name and name not in PRECISIONS:
        raise InputError(f"precision {precision!r}: {nearest(name, PRECISIONS)}")
    wanted = PRECISIONS[name or "auto"]
    stored = shape.quantization
    if wanted in ACTIVATION_DTYPES:
        stored = None
    elif wanted is not None and (stored is None or stored.weights is not wanted):
        stored = _converted(shape, wanted)
    dtype = wanted if wanted is Dtype.FP16 else None
    return served_shape(shape.changed(quantization=stored), device, dtype, None)


def kv_cache_dtype(asked: str, shape: ModelShape) -> Dtype:
    """The KV cache's dtype: `auto` is what the checkpoint asks for, else the model's own.

    Raises:
        InputError: a name that is not a KV-cache dtype.
    """
    if asked not in KV_CACHE_DTYPES:
        raise InputError(f"--kv-cache-dtype {asked}: choose from {', '.join(KV_CACHE_DTYPES)}")
    stored = shape.quantization.kv_cache if shape.quantization else None
    return stored or shape.dtype if asked == "auto" else Dtype.FP8


def _converted(shape: ModelShape, weights: Dtype) -> Quantization:
    conversion = CONVERSIONS[weights]
    is_plain = isinstance(shape.attention, Attention) and shape.linear is None
    if weights.bits != 4 or is_plain:
        return conversion
    kept = MIXING_LINEARS + (SHARED_LINEARS if shape.linear else ())
    return conversion.changed(excluded=kept)


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
