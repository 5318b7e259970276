"""From a Hugging Face config.json to a ModelShape: one parser for every source of the file."""

from collections.abc import Mapping

from pydantic import ValidationError

from tpdeploy.errors import InputError, nearest
from tpdeploy.profiles.config_keys import ConfigKeys
from tpdeploy.profiles.families import FAMILIES, Family, Switch
from tpdeploy.profiles.model import (
    Attention,
    DenseMlp,
    Experts,
    LatentAttention,
    ModelShape,
)
from tpdeploy.profiles.quantization_config import quantization_from_config
from tpdeploy.profiles.record import Dtype

DTYPES = {"bfloat16": Dtype.BF16, "float16": Dtype.FP16, "float32": Dtype.FP32}
# Keys of a multimodal config.json that hold for its text model too.
SHARED_KEYS = (
    "architectures",
    "dtype",
    "torch_dtype",
    "tie_word_embeddings",
    "quantization_config",
)


def shape_from_config(
    config: Mapping[str, object], *, id: str, path: str | None = None
) -> ModelShape:
    """The shape of the model that `config` describes, called `id`.

    Of a multimodal model it is the text model's.

    Raises:
        InputError: an architecture or format that is not known, a key that is missing or has an
            impossible value.
    """
    language = _language_part(config)
    kind = ConfigKeys(language, id).text("model_type")
    family = FAMILIES.get(kind)
    if family is None:
        raise InputError(
            f"{id}: config.json has model_type {kind!r}, which is not known here; "
            f"{nearest(kind, FAMILIES)}"
        )
    keys = ConfigKeys({**family.defaults, **language}, id)
    for name, value in family.only.items():
        if keys.flag(name, default=bool(value)) is not value:
            raise keys.refused(name, f"only {str(value).lower()} is known here for {kind}")
    try:
        return _shape(keys, family, path)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{id}: config.json gives no valid {where}: {first['msg']}") from error


def _language_part(config: Mapping[str, object]) -> Mapping[str, object]:
    """The text model's config inside a multimodal one, else the config itself."""
    inner = config.get("text_config")
    if not isinstance(inner, Mapping):
        return config
    shared = {key: config[key] for key in SHARED_KEYS if key in config}
    return {"model_type": f"{config.get('model_type')}_text", **shared, **inner}


def _shape(keys: ConfigKeys, family: Family, path: str | None) -> ModelShape:
    layers, hidden = keys.whole("num_hidden_layers"), keys.whole("hidden_size")
    context = keys.whole("max_position_embeddings")
    experts = _experts(keys, family, layers)
    has_dense = experts is None or experts.layers < layers
    extra = family.extra_positions
    architectures = keys.words("architectures") or [keys.text("model_type")]
    return ModelShape(
        id=keys.id,
        path=path,
        architecture=architectures[0],
        layers=layers,
        hidden=hidden,
        vocab=keys.whole("vocab_size"),
        tied_embeddings=keys.flag("tie_word_embeddings"),
        max_context=context,
        dtype=_dtype(keys),
        attention=_attention(keys, family, layers, hidden),
        mlp=_mlp(keys, family) if has_dense else None,
        experts=experts,
        norms_per_layer=family.norms_per_layer,
        norm_bias=family.norm_bias,
        head_bias=family.head_bias,
        learned_positions=0 if extra is None else context + extra,
        quantization=quantization_from_config(keys, layers, has_experts=experts is not None),
    )


def _dtype(keys: ConfigKeys) -> Dtype:
    """The native dtype; engines take BF16 where the config names none (gpt-oss)."""
    key = "dtype" if keys.config.get("dtype") is not None else "torch_dtype"
    name = keys.text(key, default="bfloat16")
    if name not in DTYPES:
        raise keys.refused(key, nearest(name, DTYPES))
    return DTYPES[name]


def _switched(keys: ConfigKeys, switch: Switch) -> bool:
    return keys.flag(switch) if isinstance(switch, str) else switch


def _attention(
    keys: ConfigKeys, family: Family, layers: int, hidden: int
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
    kv_heads = keys.whole("num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise keys.refused("num_key_value_heads", f"need a divisor of the {heads} heads")
    has_norm = family.qk_norm_key is None or keys.flag(family.qk_norm_key)
    window, sliding = _windows(keys, family, layers)
    return Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_size=_head_size(keys, hidden, heads),
        qkv_bias=_switched(keys, family.qkv_bias),
        output_bias=_switched(keys, family.output_bias),
        qk_norm=family.qk_norm if has_norm else "none",
        sinks=family.sinks,
        sliding_window=window,
        sliding_layers=sliding,
    )


def _head_size(keys: ConfigKeys, hidden: int, heads: int) -> int:
    stated = keys.optional("head_dim")
    if stated is None and hidden % heads:
        raise keys.refused("hidden_size", f"need a multiple of the {heads} heads, or a head_dim")
    return stated or hidden // heads


def _windows(keys: ConfigKeys, family: Family, layers: int) -> tuple[int | None, int]:
    """The sliding window (or chunk) and how many layers use it."""
    window = keys.optional(
        "attention_chunk_size" if family.windows == "chunked" else "sliding_window"
    )
    if window is None:
        return None, 0
    kinds = keys.words("layer_types")
    if kinds and len(kinds) != layers:
        raise keys.refused("layer_types", f"need one for each of the {layers} layers")
    sliding = len(kinds) - kinds.count("full_attention") if kinds else 0
    if not kinds:
        sliding = _windowed_layers(keys, family, layers)
    return (window, sliding) if sliding else (None, 0)


def _windowed_layers(keys: ConfigKeys, family: Family, layers: int) -> int:
    """Layers with a window where the config does not list them."""
    match family.windows:
        case "all":
            return layers
        case "alternate":
            return (layers + 1) // 2
        case "pattern":
            return layers - layers // keys.whole("sliding_window_pattern")
        case "flagged" if keys.flag("use_sliding_window"):
            return max(0, layers - keys.whole("max_window_layers", default=28, least=0))
        case "chunked":
            return layers - layers // 4  # every fourth layer sees everything
        case _:
            return 0


def _mlp(keys: ConfigKeys, family: Family) -> DenseMlp:
    beside_experts = "intermediate_size_mlp"  # llama4: intermediate_size is the experts'
    names = (beside_experts,) if family.experts == "llama4" else ("intermediate_size", "ffn_dim")
    return DenseMlp(
        intermediate=keys.whole(*names),
        gated=family.gated,
        bias=_switched(keys, family.mlp_bias),
    )


def _experts(keys: ConfigKeys, family: Family, layers: int) -> Experts | None:
    match family.experts:
        case "none":
            return None
        case "qwen":
            experts = _qwen_experts(keys, layers)
        case "deepseek":
            experts = _deepseek_experts(keys, layers)
        case _:
            experts = _mixtral_experts(keys, family, layers)
    if experts.per_token > experts.count:
        raise keys.refused("num_experts_per_tok", f"there are {experts.count} experts")
    return experts


def _mixtral_experts(keys: ConfigKeys, family: Family, layers: int) -> Experts:
    """Mixtral, MiniMax-M2, gpt-oss and Llama 4, whose layers may alternate with dense ones."""
    width = keys.whole("intermediate_size")
    has_bias, is_llama4 = family.experts == "gpt-oss", family.experts == "llama4"
    return Experts(
        count=keys.whole("num_local_experts"),
        per_token=keys.whole("num_experts_per_tok"),
        intermediate=width,
        bias=has_bias,
        router_bias=has_bias,
        shared_intermediate=width if is_llama4 else 0,
        layers=layers // keys.whole("interleave_moe_layer_step") if is_llama4 else layers,
    )


def _qwen_experts(keys: ConfigKeys, layers: int) -> Experts:
    """In every `decoder_sparse_step`-th layer that `mlp_only_layers` does not name."""
    step, dense = keys.whole("decoder_sparse_step", default=1), keys.numbers("mlp_only_layers")
    left_out = {i for i in dense if 0 <= i < layers and (i + 1) % step == 0}
    sparse = layers // step - len(left_out)
    if sparse == 0:
        raise keys.refused("decoder_sparse_step", "leaves no layer with experts")
    is_qwen2 = keys.text("model_type") == "qwen2_moe"
    return Experts(
        count=keys.whole("num_experts"),
        per_token=keys.whole("num_experts_per_tok"),
        intermediate=keys.whole("moe_intermediate_size"),
        shared_intermediate=keys.whole("shared_expert_intermediate_size") if is_qwen2 else 0,
        shared_gate=is_qwen2,
        layers=sparse,
    )


def _deepseek_experts(keys: ConfigKeys, layers: int) -> Experts:
    """The bias that balances the routing is a buffer, not a parameter."""
    dense = keys.whole("first_k_dense_replace", default=0, least=0)
    if dense >= layers:
        raise keys.refused("first_k_dense_replace", f"need less than the {layers} layers")
    width = keys.whole("moe_intermediate_size")
    return Experts(
        count=keys.whole("n_routed_experts"),
        per_token=keys.whole("num_experts_per_tok"),
        intermediate=width,
        shared_intermediate=width * keys.whole("n_shared_experts", default=0, least=0),
        layers=layers - dense,
    )
