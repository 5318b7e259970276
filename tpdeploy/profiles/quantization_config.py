"""The quantization_config of a config.json: how the checkpoint stores its linear layers.

Formats as transformers 5.19 and vLLM 0.32 read them.
"""

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from tpdeploy.errors import InputError, nearest
from tpdeploy.profiles.config_keys import ConfigKeys
from tpdeploy.profiles.model import Quantization
from tpdeploy.profiles.record import Dtype

# Linear layers as the planner names them, and as lists of what is not quantized do.
MODULES = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "output": "self_attn.o_proj",
    "q down": "self_attn.q_a_proj",
    "q up": "self_attn.q_b_proj",
    "kv down": "self_attn.kv_a_proj_with_mqa",
    "kv up": "self_attn.kv_b_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "shared expert gate": "mlp.shared_experts.gate_proj",
    "shared expert up": "mlp.shared_experts.up_proj",
    "shared expert down": "mlp.shared_experts.down_proj",
    "expert gate": "mlp.experts.0.gate_proj",
    "expert up": "mlp.experts.0.up_proj",
    "expert down": "mlp.experts.0.down_proj",
}
ROUTED = ("expert gate", "expert up", "expert down")


def quantization_from_config(
    keys: ConfigKeys, layers: int, *, has_experts: bool
) -> Quantization | None:
    """How the checkpoint is stored, or None when it has no `quantization_config`.

    Raises:
        InputError: a method or a format that is not known here, or an impossible value.
    """
    stored = keys.part("quantization_config")
    if stored is None:
        return None
    # ModelOpt's own exports name the algorithm but not always the method.
    maker = "modelopt" if "quant_algo" in stored.config else None
    method = stored.text("quant_method", default=maker).lower()
    read = READERS.get(method)
    if read is None:
        raise InputError(
            f"{keys.id}: config.json has quantization method {method!r}, which is not known "
            f"here; {nearest(method, READERS)}"
        )
    quantization = read(stored)
    if quantization.excluded:
        return quantization
    return quantization.model_copy(update={"excluded": _excluded(stored, layers, has_experts)})


def _excluded(stored: ConfigKeys, layers: int, has_experts: bool) -> tuple[str, ...]:
    """Linear layers that the checkpoint keeps in its native dtype, judged by a middle layer.

    Beside experts a dense MLP stands in the first layers only, so it is judged there.
    """
    lists = ("modules_to_not_convert", "ignore", "exclude_modules")
    patterns = [pattern for name in lists for pattern in stored.words(name)]

    def kept(linear: str) -> bool:
        dense_first = has_experts and linear in {"gate", "up", "down"}
        layer = 0 if dense_first else layers // 2
        return _matches(f"model.layers.{layer}.{MODULES[linear]}", patterns, stored)

    return tuple(linear for linear in MODULES if kept(linear))


def _matches(module: str, patterns: Iterable[str], stored: ConfigKeys) -> bool:
    """Whether a regular expression (`re:`), glob or module path covers `module`."""
    for pattern in patterns:
        if pattern.startswith("re:"):
            try:
                found = re.match(pattern[3:], module) is not None
            except re.error as error:
                raise InputError(f"{stored.id}: {stored.where} has {pattern!r}: {error}") from error
        else:
            path = pattern.removeprefix("language_model.")
            found = any(fnmatchcase(module, p) for p in (path, f"{path}.*", f"*.{path}"))
        if found:
            return True
    return False


def _fp8(stored: ConfigKeys) -> Quantization:
    """FP8 with one FP32 scale a block (DeepSeek, Qwen), or one a tensor."""
    return _scaled("fp8", Dtype.FP8, stored.numbers("weight_block_size"), stored)


def _scaled(method: str, dtype: Dtype, block: list[int], stored: ConfigKeys) -> Quantization:
    """One FP32 scale for each `block` of outputs x inputs; no block: one a tensor or channel."""
    if not block:
        return Quantization(method=method, weights=dtype)
    if len(block) != 2 or min(block) < 1:
        raise InputError(f"{stored.id}: {stored.where} gives the block {block}: need two sizes")
    outputs, inputs = block
    return Quantization(
        method=method,
        weights=dtype,
        group_size=outputs * inputs,
        scale_bits=32,
        output_block=outputs,
        input_block=inputs,
    )


def _int4(stored: ConfigKeys) -> Quantization:
    """AWQ and GPTQ: a group along the inputs shares an FP16 scale and a packed zero point."""
    bits = stored.whole("bits", "w_bit", default=4)
    if bits not in {4, 8}:
        raise stored.refused("bits" if "bits" in stored.config else "w_bit", "known here: 4, 8")
    group = stored.whole("group_size", "q_group_size", default=128, least=-1)
    return Quantization(
        method=stored.text("quant_method").lower(),
        weights=Dtype.INT4 if bits == 4 else Dtype.INT8,
        group_size=group if group > 0 else None,
        scale_bits=16 + bits if group > 0 else 0,
        input_block=group if group > 0 else None,
    )


def _mxfp4(_: ConfigKeys) -> Quantization:
    """MXFP4: 32 values share one 8-bit exponent; engines store the experts alone so."""
    return Quantization(
        method="mxfp4",
        weights=Dtype.FP4,
        group_size=32,
        scale_bits=8,
        excluded=tuple(name for name in MODULES if name not in ROUTED),
    )


def _compressed(stored: ConfigKeys) -> Quantization:
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
    if weights.text("strategy", default="") == "block":
        block = weights.numbers("block_structure")
        return _scaled("compressed-tensors", FORMATS[kind], block, weights)
    return _grouped("compressed-tensors", FORMATS[kind], weights, scale_bits=16)


def _grouped(
    method: str, dtype: Dtype, weights: ConfigKeys, *, scale_bits: int, default: int = 0
) -> Quantization:
    """Groups of `group_size` values along the inputs share a scale; no group: one a channel."""
    group = weights.whole("group_size", default=default, least=-1)
    if group < 1:
        return Quantization(method=method, weights=dtype)
    return Quantization(
        method=method,
        weights=dtype,
        group_size=group,
        scale_bits=scale_bits,
        input_block=group,
    )


def _modelopt(stored: ConfigKeys) -> Quantization:
    """NVIDIA ModelOpt: FP8 with one scale a tensor, or NVFP4 with an FP8 scale a group."""
    algorithm = stored.text("quant_algo").upper()
    if algorithm == "FP8":
        return Quantization(method="modelopt", weights=Dtype.FP8)
    if algorithm == "NVFP4":
        return _grouped("modelopt", Dtype.FP4, stored, scale_bits=8, default=16)
    raise stored.refused("quant_algo", "known here: FP8, NVFP4")


FORMATS = {
    ("float", 8): Dtype.FP8,
    ("int", 8): Dtype.INT8,
    ("int", 4): Dtype.INT4,
    ("float", 4): Dtype.FP4,
}
READERS: dict[str, Callable[[ConfigKeys], Quantization]] = {
    "fp8": _fp8,
    "awq": _int4,
    "gptq": _int4,
    "mxfp4": _mxfp4,
    "compressed-tensors": _compressed,
    "modelopt": _modelopt,
}
