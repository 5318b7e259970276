"""The quantization_config of a config.json: how the checkpoint stores its linear layers.

Formats as transformers 5.19 and vLLM 0.32 read them.
"""

from collections.abc import Callable, Mapping

from tpdeploy.errors import InputError, nearest
from tpdeploy.profiles.models.config.families.family import Family
from tpdeploy.profiles.models.config.keys import ConfigKeys
from tpdeploy.profiles.models.config.layer_kinds import LayerKinds
from tpdeploy.profiles.models.config.linear_layers import DENSE, HEAD, ROUTED, LinearLayers
from tpdeploy.profiles.models.shape import OtherFormat, Quantization, StoredFormat
from tpdeploy.profiles.record import Dtype

FP32_BITS = 32
MAIN_PARTS = (set(ROUTED), set(DENSE))


def quantization_from_config(
    keys: ConfigKeys, family: Family, kinds: LayerKinds
) -> Quantization | None:
    """How the checkpoint is stored, or None when it has no `quantization_config`.

    Raises:
        InputError: a method or a format that is not known here, or an impossible value.
    """
    stored = keys.part("quantization_config")
    if stored is None:
        return None
    linears = LinearLayers(family, kinds)
    # ModelOpt's own exports name the algorithm but not always the method.
    maker = "modelopt" if "quant_algo" in stored.config else None
    method = stored.text("quant_method", default=maker).lower()
    if stored.text("quant_algo", default="").upper() == MIXED:
        return _with_kv_cache(_mixed(stored, method, linears), stored)
    read = READERS.get(method)
    if read is None:
        other = "plan an AWQ, GPTQ or FP8 checkpoint of it instead"
        works = other if method in NOT_PLANNED else nearest(method, READERS)
        raise InputError(
            f"{keys.id}: config.json has quantization method {method!r}, which is not known "
            f"here; {works}"
        )
    quantization = _with_excluded(
        Quantization(method=method, **dict(read(stored))), stored, linears
    )
    if keys.text("expert_dtype", default="") == "fp4":
        experts = OtherFormat(linears=ROUTED, **dict(_mxfp4(stored)))
        quantization = quantization.changed(others=(experts,))
    return _with_kv_cache(quantization, stored)


def _with_excluded(
    quantization: Quantization, stored: ConfigKeys, linears: LinearLayers
) -> Quantization:
    """With the linear layers that the checkpoint keeps in its native dtype."""
    if quantization.method == "mxfp4":
        left = tuple(name for name in linears.names if name not in ROUTED)
        return quantization.changed(excluded=left)
    lists = ("modules_to_not_convert", "ignore", "exclude_modules")
    patterns = [pattern for name in lists for pattern in stored.words(name)]
    kept = linears.matching([*patterns, *linears.unquantized], stored)
    return quantization.changed(
        excluded=tuple(name for name, n in kept.items() if n is None and name != HEAD),
        partly_excluded=tuple((name, n) for name, n in kept.items() if n is not None),
    )


def _with_kv_cache(quantization: Quantization, stored: ConfigKeys) -> Quantization:
    """ModelOpt says so in one word; compressed-tensors and its like describe a format."""
    scheme = stored.value("kv_cache_scheme")
    word = scheme if isinstance(scheme, str) else stored.value("kv_cache_quant_algo")
    is_fp8 = word == "FP8"
    if isinstance(scheme, Mapping):
        is_fp8 = (scheme.get("type"), scheme.get("num_bits")) == ("float", 8)
    return quantization.changed(kv_cache=Dtype.FP8) if is_fp8 else quantization


def _mixed(stored: ConfigKeys, method: str, linears: LinearLayers) -> Quantization:
    """A format of its own for each linear layer that is named; the rest is in the native dtype."""
    layers = stored.part("quantized_layers")
    if layers is None or not layers.config:
        raise InputError(f"{stored.id}: {stored.where} names no quantized_layers")
    found: dict[tuple[str, int], list[str]] = {}
    for path in layers.config:
        layer = layers.part(path)
        if layer is None:
            raise layers.refused(path, "need an object with its quant_algo")
        algorithm = layer.text("quant_algo").upper()
        format_ = (algorithm, layer.whole("group_size", default=0, least=0))
        found.setdefault(format_, []).append(path)
    others = [
        OtherFormat(
            linears=tuple(linears.matching(paths, stored)),
            **dict(_modelopt_format(algorithm, group, stored)),
        )
        for (algorithm, group), paths in found.items()
    ]
    if method in READERS and method != "modelopt":  # DeepSeek-V4: experts alone differ
        rest = READERS[method](stored)
        return Quantization(method=method, others=tuple(others), **dict(rest))
    named = {name for other in others for name in other.linears}
    # Its largest part stands for the checkpoint: experts, or the MLP where there are none.
    main = max(others, key=lambda o: [len(part & set(o.linears)) for part in MAIN_PARTS])
    return Quantization(
        method=method,
        excluded=tuple(name for name in linears.names if name not in named),
        others=tuple(others),
        **main.model_dump(exclude={"linears"}),
    )


def _fp8(stored: ConfigKeys) -> StoredFormat:
    """FP8 with one FP32 scale per block (DeepSeek, Qwen) or per tensor."""
    return _scaled(Dtype.FP8, stored.numbers("weight_block_size"), stored)


def _scaled(dtype: Dtype, block: list[int], stored: ConfigKeys) -> StoredFormat:
    """One FP32 scale per `block` of outputs x inputs; without a block, one per tensor."""
    if not block:
        return StoredFormat(weights=dtype, tensor_scale_bits=FP32_BITS)
    if len(block) != 2 or min(block) < 1:
        raise InputError(f"{stored.id}: {stored.where} gives the block {block}: need two sizes")
    outputs, inputs = block
    return StoredFormat(
        weights=dtype,
        group_size=outputs * inputs,
        scale_bits=FP32_BITS,
        output_block=outputs,
        input_block=inputs,
    )


def _int4(stored: ConfigKeys) -> StoredFormat:
    """AWQ and GPTQ: a group along the inputs shares an FP16 scale and a packed zero point.

    GPTQ stores a 32-bit group index for each input too.
    """
    bits = stored.whole("bits", "w_bit", default=4)
    if bits not in {4, 8}:
        raise stored.refused("bits" if "bits" in stored.config else "w_bit", "known here: 4, 8")
    group = stored.whole("group_size", "q_group_size", default=128, least=-1)
    shared = 16 + bits
    return StoredFormat(
        weights=Dtype.INT4 if bits == 4 else Dtype.INT8,
        group_size=group if group > 0 else None,
        scale_bits=shared if group > 0 else 0,
        output_scale_bits=0 if group > 0 else shared,
        input_scale_bits=32 if stored.text("quant_method").lower() == "gptq" else 0,
        input_block=group if group > 0 else None,
    )


def _mxfp4(_: ConfigKeys) -> StoredFormat:
    """MXFP4: 32 values share one 8-bit exponent; engines store the experts alone so."""
    return StoredFormat(weights=Dtype.FP4, group_size=32, scale_bits=8)


def _compressed(stored: ConfigKeys) -> StoredFormat:
    """compressed-tensors: its first group of layers tells the format of the weights."""
    groups = stored.part("config_groups")
    first = groups.part(next(iter(groups.config), "")) if groups else None
    weights = first.part("weights") if first else None
    if weights is None:
        raise InputError(f"{stored.id}: {stored.where} names no format for the weights")
    kind = (weights.text("type"), weights.whole("num_bits"))
    if kind not in FORMATS:
        raise InputError(
            f"{stored.id}: {stored.where} stores weights as {kind[0]}{kind[1]}, which is not "
            f"known here; known: {', '.join(f'{name}{bits}' for name, bits in FORMATS)}"
        )
    strategy = weights.text("strategy", default="")
    if strategy == "block":
        return _scaled(FORMATS[kind], weights.numbers("block_structure"), weights)
    if strategy == "tensor":
        return StoredFormat(weights=FORMATS[kind], tensor_scale_bits=FP32_BITS)
    group = weights.whole("group_size", default=0, least=-1)
    if FORMATS[kind] is Dtype.FP4:
        return _nvfp4(group) if group == NVFP4_GROUP else _mxfp4(stored)
    return _grouped(FORMATS[kind], group, scale_bits=16)


def _grouped(dtype: Dtype, group: int, *, scale_bits: int) -> StoredFormat:
    """Groups of `group` values along the inputs share a scale; without a group, one per output."""
    if group < 1:
        return StoredFormat(weights=dtype, output_scale_bits=scale_bits)
    return StoredFormat(weights=dtype, group_size=group, scale_bits=scale_bits, input_block=group)


def _nvfp4(group: int) -> StoredFormat:
    """NVFP4: one FP8 scale per group, and two FP32 scales per tensor (weights, activations)."""
    return StoredFormat(
        weights=Dtype.FP4,
        group_size=group,
        scale_bits=8,
        tensor_scale_bits=2 * FP32_BITS,
        input_block=group,
    )


def _modelopt(stored: ConfigKeys) -> StoredFormat:
    """NVIDIA ModelOpt: one algorithm for all that is not excluded."""
    group = stored.whole("group_size", default=0, least=-1)
    return _modelopt_format(stored.text("quant_algo").upper(), group, stored)


def _modelopt_format(algorithm: str, group: int, stored: ConfigKeys) -> StoredFormat:
    match algorithm:
        case "FP8":
            return StoredFormat(weights=Dtype.FP8, tensor_scale_bits=2 * FP32_BITS)
        case "NVFP4" | "W4A16_NVFP4":
            return _nvfp4(group if group > 0 else NVFP4_GROUP)
        case "MXFP8":
            return StoredFormat(weights=Dtype.FP8, group_size=32, scale_bits=8, input_block=32)
        case _:
            known = "FP8, NVFP4, W4A16_NVFP4, MXFP8, MIXED_PRECISION"
            raise InputError(
                f"{stored.id}: {stored.where} gives quant_algo = {algorithm!r}: known here: {known}"
            )


MIXED = "MIXED_PRECISION"
# Formats of engines that are not planned for, or of which nothing here knows the speed.
NOT_PLANNED = {"bitsandbytes", "exl2", "exl3", "gguf", "hqq"}
NVFP4_GROUP = 16
FORMATS = {
    ("float", 8): Dtype.FP8,
    ("int", 8): Dtype.INT8,
    ("int", 4): Dtype.INT4,
    ("float", 4): Dtype.FP4,
}
READERS: dict[str, Callable[[ConfigKeys], StoredFormat]] = {
    "fp8": _fp8,
    "awq": _int4,
    "gptq": _int4,
    "mxfp4": _mxfp4,
    "compressed-tensors": _compressed,
    "modelopt": _modelopt,
}
