"""From a Hugging Face config.json to a ModelShape: one parser for every source of the file.

The defaults for keys a config leaves out are those of transformers' configuration classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tpdeploy.errors import InputError, nearest
from tpdeploy.profiles.model import (
    Attention,
    DenseMlp,
    Experts,
    LatentAttention,
    ModelShape,
    Quantization,
)
from tpdeploy.profiles.record import Dtype

DTYPES = {"bfloat16": Dtype.BF16, "float16": Dtype.FP16, "float32": Dtype.FP32}


@dataclass(frozen=True)
class Family:
    """What a `model_type` implies that its config.json does not say."""

    attention: str = "grouped"  # or "latent"
    experts: str = "none"  # or "mixtral", "qwen", "deepseek", "gpt-oss"
    qkv_bias: bool = False
    output_bias: bool = False
    bias_key: str | None = None  # a key that switches the attention biases
    qk_norm: bool = False
    sinks: bool = False
    norms_per_layer: int = 2
    norm_bias: bool = False
    gated: bool = True
    mlp_bias: bool = False
    head_bias: bool = False
    tied: bool = False
    learned_positions: int = 0  # rows beyond the context in a position table; 0: no table
    windows: str = "none"  # or "all", "alternate", "pattern"


FAMILIES = {
    "llama": Family(bias_key="attention_bias"),
    "mistral": Family(windows="all"),
    "mixtral": Family(experts="mixtral", windows="all"),
    "qwen2": Family(qkv_bias=True),
    "qwen2_moe": Family(qkv_bias=True, experts="qwen"),
    "qwen3": Family(qk_norm=True, bias_key="attention_bias"),
    "qwen3_moe": Family(qk_norm=True, bias_key="attention_bias", experts="qwen"),
    "deepseek_v2": Family(attention="latent", experts="deepseek"),
    "deepseek_v3": Family(attention="latent", experts="deepseek"),
    "kimi_k2": Family(attention="latent", experts="deepseek"),
    "glm4_moe": Family(bias_key="attention_bias", experts="deepseek"),
    "gpt_oss": Family(qkv_bias=True, output_bias=True, sinks=True, experts="gpt-oss",
                      windows="alternate"),
    "gemma2": Family(norms_per_layer=4, tied=True, windows="alternate"),
    "gemma3_text": Family(norms_per_layer=4, tied=True, qk_norm=True, windows="pattern"),
    "phi3": Family(windows="all"),
    "phi": Family(qkv_bias=True, output_bias=True, norms_per_layer=1, norm_bias=True, gated=False,
                  mlp_bias=True, head_bias=True),
    "opt": Family(qkv_bias=True, output_bias=True, norm_bias=True, gated=False, mlp_bias=True,
                  tied=True, learned_positions=2),
}


def shape_from_config(
    config: Mapping[str, object], *, id: str, path: str | None = None
) -> ModelShape:
    """The shape of the model that `config` describes, called `id`.

    Raises:
        InputError: an architecture that is not known, a key that is missing or has an
            impossible value.
    """
    keys = _Keys(_language_part(config), id)
    family = FAMILIES.get(keys.kind)
    if family is None:
        raise InputError(
            f"{id}: config.json has model_type {keys.kind!r}, which is not known here; "
            f"{nearest(keys.kind, FAMILIES)}"
        )
    try:
        return _shape(keys, family, id, path)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{id}: config.json gives {where} = {first['input']!r}: {first['msg'].lower()}"
        ) from error


class _Keys:
    """Typed look-ups in a config that name the model and the key when they fail."""

    def __init__(self, config: Mapping[str, object], id: str) -> None:
        self.config = config
        self.id = id
        self.kind = str(config.get("model_type", ""))

    def whole(self, *names: str, default: int | None = None) -> int:
        """The first of `names` that is present, as a positive whole number."""
        for name in names:
            value = self.config.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InputError(
                    f"{self.id}: config.json gives {name} = {value!r}: need a whole number"
                )
            return value
        if default is None:
            raise InputError(f"{self.id}: config.json lacks {' or '.join(names)}")
        return default

    def optional(self, name: str) -> int | None:
        """A positive whole number, or None when absent, null or 0."""
        return self.whole(name, default=0) or None

    def flag(self, name: str, default: bool = False) -> bool:
        """A true or false."""
        value = self.config.get(name)
        return default if value is None else bool(value)


def _language_part(config: Mapping[str, object]) -> Mapping[str, object]:
    """The text model's config inside a multimodal one, else the config itself."""
    inner = config.get("text_config")
    if not isinstance(inner, Mapping):
        return config
    outer = {k: config[k] for k in ("torch_dtype", "dtype", "quantization_config") if k in config}
    return {"model_type": f"{config.get('model_type')}_text", **outer, **inner}


def _shape(keys: _Keys, family: Family, id: str, path: str | None) -> ModelShape:
    layers, hidden = keys.whole("num_hidden_layers"), keys.whole("hidden_size")
    context = keys.whole("max_position_embeddings", "model_max_length")
    experts = _experts(keys, family, layers)
    has_dense = experts is None or experts.layers < layers
    table = family.learned_positions
    architectures = keys.config.get("architectures")
    named = isinstance(architectures, list) and architectures
    return ModelShape(
        id=id,
        path=path,
        architecture=str(architectures[0]) if named else keys.kind,
        layers=layers,
        hidden=hidden,
        vocab=keys.whole("vocab_size"),
        tied_embeddings=keys.flag("tie_word_embeddings", family.tied),
        max_context=context,
        dtype=_dtype(keys),
        attention=_attention(keys, family, layers, hidden),
        mlp=_mlp(keys, family) if has_dense else None,
        experts=experts,
        norms_per_layer=family.norms_per_layer,
        norm_bias=family.norm_bias,
        head_bias=family.head_bias,
        learned_positions=context + table if table else 0,
        quantization=_quantization(keys),
    )


def _dtype(keys: _Keys) -> Dtype:
    name = str(keys.config.get("dtype") or keys.config.get("torch_dtype") or "bfloat16")
    if name not in DTYPES:
        raise InputError(f"{keys.id}: config.json gives dtype {name!r}: {nearest(name, DTYPES)}")
    return DTYPES[name]


def _attention(
    keys: _Keys, family: Family, layers: int, hidden: int
) -> Attention | LatentAttention:
    heads = keys.whole("num_attention_heads")
    if family.attention == "latent":
        return LatentAttention(
            heads=heads,
            q_lora_rank=keys.optional("q_lora_rank"),
            kv_lora_rank=keys.whole("kv_lora_rank"),
            qk_nope_size=keys.whole("qk_nope_head_dim"),
            qk_rope_size=keys.whole("qk_rope_head_dim"),
            v_size=keys.whole("v_head_dim"),
        )
    switched = keys.flag(family.bias_key) if family.bias_key else False
    window, sliding = _windows(keys, family, layers)
    return Attention(
        heads=heads,
        kv_heads=keys.whole("num_key_value_heads", default=heads),
        head_size=keys.whole("head_dim", default=hidden // heads),
        qkv_bias=family.qkv_bias or switched,
        # GLM-4.5's switch is for Q, K and V alone.
        output_bias=family.output_bias or (switched and keys.kind != "glm4_moe"),
        qk_norm=keys.flag("use_qk_norm") if keys.kind == "glm4_moe" else family.qk_norm,
        sinks=family.sinks,
        sliding_window=window,
        sliding_layers=sliding,
    )


def _windows(keys: _Keys, family: Family, layers: int) -> tuple[int | None, int]:
    """The sliding window and how many layers use it."""
    window = keys.optional("sliding_window")
    if window is None or family.windows == "none":
        return None, 0
    kinds = keys.config.get("layer_types")
    if isinstance(kinds, list):
        return window, kinds.count("sliding_attention")
    if family.windows == "alternate":
        return window, (layers + 1) // 2
    if family.windows == "pattern":
        return window, layers - layers // keys.whole("sliding_window_pattern", default=6)
    return window, layers


def _mlp(keys: _Keys, family: Family) -> DenseMlp:
    width = keys.whole("intermediate_size", "ffn_dim")
    return DenseMlp(
        intermediate=width, gated=family.gated, bias=family.mlp_bias or keys.flag("mlp_bias")
    )


def _experts(keys: _Keys, family: Family, layers: int) -> Experts | None:
    if family.experts == "none":
        return None
    if family.experts in {"mixtral", "gpt-oss"}:
        return Experts(
            count=keys.whole("num_local_experts"),
            per_token=keys.whole("num_experts_per_tok"),
            intermediate=keys.whole("intermediate_size"),
            bias=family.experts == "gpt-oss",
            router_bias=family.experts == "gpt-oss",
            layers=layers,
        )
    if family.experts == "qwen":
        shared = keys.whole("shared_expert_intermediate_size", default=0)
        return Experts(
            count=keys.whole("num_experts"),
            per_token=keys.whole("num_experts_per_tok"),
            intermediate=keys.whole("moe_intermediate_size"),
            shared_intermediate=shared if keys.kind == "qwen2_moe" else 0,
            shared_gate=keys.kind == "qwen2_moe",
            layers=_qwen_layers(keys, layers),
        )
    width = keys.whole("moe_intermediate_size")
    return Experts(
        count=keys.whole("n_routed_experts"),
        per_token=keys.whole("num_experts_per_tok"),
        intermediate=width,
        # The correction bias that balances DeepSeek-V3's routing is a buffer, not a parameter.
        shared_intermediate=width * keys.whole("n_shared_experts", default=0),
        layers=layers - keys.whole("first_k_dense_replace", default=0),
    )


def _qwen_layers(keys: _Keys, layers: int) -> int:
    """Layers with experts: every `decoder_sparse_step`-th that `mlp_only_layers` does not name."""
    step = keys.whole("decoder_sparse_step", default=1)
    dense = keys.config.get("mlp_only_layers") or []
    only = dense if isinstance(dense, list) else []
    return sum(1 for i in range(layers) if i not in only and (i + 1) % step == 0)


def _quantization(keys: _Keys) -> Quantization | None:
    stored = keys.config.get("quantization_config")
    if stored is None:
        return None
    if not isinstance(stored, Mapping):
        raise InputError(f"{keys.id}: config.json gives quantization_config = {stored!r}")
    method = str(stored.get("quant_method", stored.get("quant_algo", ""))).lower()
    reader = QUANTIZATIONS.get(method)
    if reader is None:
        raise InputError(
            f"{keys.id}: config.json has quantization method {method!r}, which is not known "
            f"here; {nearest(method, QUANTIZATIONS)}"
        )
    return reader(stored, keys.id)


def _fp8(stored: Mapping[str, Any], id: str) -> Quantization:  # noqa: ARG001 - one signature
    """FP8 with one FP32 scale a block (DeepSeek, Qwen), or one a tensor."""
    block = stored.get("weight_block_size")
    if block is None:
        return Quantization(method="fp8", weights=Dtype.FP8)
    return Quantization(
        method="fp8", weights=Dtype.FP8, group_size=block[0] * block[1], scale_bits=32,
        block=block[0],
    )


def _int4(stored: Mapping[str, Any], id: str) -> Quantization:
    """AWQ and GPTQ: groups along the input share an FP16 scale and a packed zero point."""
    bits = stored.get("bits", stored.get("w_bit", 4))
    if bits not in {4, 8}:
        raise InputError(f"{id}: {bits}-bit weights are not known here; 4 and 8 are")
    group = stored.get("group_size", stored.get("q_group_size", 128))
    return Quantization(
        method=str(stored.get("quant_method", "awq")).lower(),
        weights=Dtype.INT4 if bits == 4 else Dtype.INT8,
        group_size=group if group > 0 else None,
        scale_bits=16 + bits,
        block=group if group > 0 else None,
    )


def _mxfp4(stored: Mapping[str, Any], id: str) -> Quantization:  # noqa: ARG001 - one signature
    """MXFP4: blocks of 32 values share one 8-bit exponent; only the experts are stored so."""
    return Quantization(
        method="mxfp4", weights=Dtype.FP4, group_size=32, scale_bits=8, scope="experts"
    )


def _compressed(stored: Mapping[str, Any], id: str) -> Quantization:
    """compressed-tensors: the weights of its first group tell the format."""
    groups = stored.get("config_groups") or {}
    weights = next((g.get("weights") for g in groups.values() if g.get("weights")), None)
    if not isinstance(weights, Mapping):
        raise InputError(f"{id}: config.json's compressed-tensors names no weight format")
    formats = {("float", 8): Dtype.FP8, ("int", 8): Dtype.INT8, ("int", 4): Dtype.INT4,
               ("float", 4): Dtype.FP4}
    kind = (str(weights.get("type")), weights.get("num_bits"))
    if kind not in formats:
        raise InputError(f"{id}: compressed-tensors weights {kind} are not known here")
    group = weights.get("group_size") or 0
    return Quantization(
        method="compressed-tensors",
        weights=formats[kind],
        group_size=group if group > 0 else None,
        scale_bits=16 if group > 0 else 0,
    )


def _modelopt(stored: Mapping[str, Any], id: str) -> Quantization:
    """NVIDIA ModelOpt: FP8 with one scale a tensor, or NVFP4 with an FP8 scale every 16 values."""
    algorithm = str(stored.get("quant_algo", "")).upper()
    if algorithm == "FP8":
        return Quantization(method="modelopt", weights=Dtype.FP8)
    if algorithm == "NVFP4":
        return Quantization(method="modelopt", weights=Dtype.FP4, group_size=16, scale_bits=8)
    raise InputError(f"{id}: ModelOpt's {algorithm!r} is not known here; FP8 and NVFP4 are")


QUANTIZATIONS = {
    "fp8": _fp8,
    "awq": _int4,
    "gptq": _int4,
    "mxfp4": _mxfp4,
    "compressed-tensors": _compressed,
    "modelopt": _modelopt,
}
