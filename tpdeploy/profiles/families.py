"""What each `model_type` of transformers implies that its config.json does not say.

Structure and defaults are those of transformers 5.19's configuration and modelling classes; the
engine tests compare the parameter counts that follow from them with transformers' own modules.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# True or False for every model of the family, or the config key that decides.
Switch = bool | str


@dataclass(frozen=True)
class Family:
    """The structure of one architecture."""

    attention: Literal["grouped", "latent"] = "grouped"
    experts: Literal["none", "mixtral", "qwen", "deepseek", "gpt-oss", "llama4"] = "none"
    qkv_bias: Switch = False
    output_bias: Switch = False
    mlp_bias: Switch = False
    head_bias: bool = False
    norm_bias: bool = False
    qk_norm: Literal["none", "head", "projection"] = "none"
    qk_norm_key: str | None = None  # a key that switches qk_norm
    sinks: bool = False
    norms_per_layer: int = 2
    gated: bool = True
    extra_positions: int | None = None  # rows of the position table beyond the context
    windows: Literal["none", "all", "alternate", "pattern", "flagged", "chunked"] = "none"
    # What transformers takes for keys that published configs leave out.
    defaults: Mapping[str, object] = field(default_factory=dict)
    # Keys with the only value that is known here.
    only: Mapping[str, object] = field(default_factory=dict)


_ATTENTION_BIAS = "attention_bias"
_DEEPSEEK = Family(
    attention="latent",
    experts="deepseek",
    defaults={"first_k_dense_replace": 3, "n_shared_experts": 1, "q_lora_rank": 1536},
    only={_ATTENTION_BIAS: False},
)

FAMILIES: Mapping[str, Family] = {
    "llama": Family(qkv_bias=_ATTENTION_BIAS, output_bias=_ATTENTION_BIAS, mlp_bias="mlp_bias"),
    "llama4_text": Family(
        experts="llama4",
        qkv_bias=_ATTENTION_BIAS,
        output_bias=_ATTENTION_BIAS,
        windows="chunked",
        defaults={"attention_chunk_size": 8192, "interleave_moe_layer_step": 1, "head_dim": 128},
    ),
    "mistral": Family(windows="all", defaults={"num_key_value_heads": 8, "sliding_window": 4096}),
    "mixtral": Family(experts="mixtral", windows="all", defaults={"num_key_value_heads": 8}),
    "qwen2": Family(qkv_bias=True, windows="flagged", defaults={"num_key_value_heads": 32}),
    "qwen2_moe": Family(
        qkv_bias="qkv_bias",
        experts="qwen",
        windows="flagged",
        defaults={"qkv_bias": True, "num_key_value_heads": 16},
    ),
    "qwen3": Family(
        qkv_bias=_ATTENTION_BIAS,
        output_bias=_ATTENTION_BIAS,
        qk_norm="head",
        windows="flagged",
        defaults={"num_key_value_heads": 32, "head_dim": 128},
    ),
    "qwen3_moe": Family(
        qkv_bias=_ATTENTION_BIAS,
        output_bias=_ATTENTION_BIAS,
        qk_norm="head",
        experts="qwen",
        windows="flagged",
        defaults={"num_key_value_heads": 4},
    ),
    "deepseek_v2": Family(
        attention="latent",
        experts="deepseek",
        defaults={"first_k_dense_replace": 0, "n_shared_experts": 2, "q_lora_rank": 1536},
        only={_ATTENTION_BIAS: False, "mlp_bias": False, "use_mla": True},
    ),
    "deepseek_v3": _DEEPSEEK,
    "kimi_k2": _DEEPSEEK,
    "glm4": Family(
        qkv_bias=_ATTENTION_BIAS,
        norms_per_layer=4,
        defaults={_ATTENTION_BIAS: True, "num_key_value_heads": 2, "head_dim": 128},
    ),
    "glm4_moe": Family(
        qkv_bias=_ATTENTION_BIAS,
        qk_norm="head",
        qk_norm_key="use_qk_norm",
        experts="deepseek",
        defaults={"first_k_dense_replace": 1, "n_shared_experts": 1, "num_key_value_heads": 8},
    ),
    "minimax_m2": Family(
        experts="mixtral",
        qk_norm="projection",
        defaults={"num_key_value_heads": 8, "head_dim": 128},
        only={"use_qk_norm": True},
    ),
    "gpt_oss": Family(
        qkv_bias=_ATTENTION_BIAS,
        output_bias=_ATTENTION_BIAS,
        sinks=True,
        experts="gpt-oss",
        windows="alternate",
        defaults={
            _ATTENTION_BIAS: True,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "sliding_window": 128,
        },
    ),
    "gemma2": Family(
        qkv_bias=_ATTENTION_BIAS,
        output_bias=_ATTENTION_BIAS,
        norms_per_layer=4,
        windows="alternate",
        defaults={
            "tie_word_embeddings": True,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "sliding_window": 4096,
        },
    ),
    # The text_config of multimodal Gemma 3 checkpoints leaves most of these out.
    "gemma3_text": Family(
        qkv_bias=_ATTENTION_BIAS,
        output_bias=_ATTENTION_BIAS,
        norms_per_layer=4,
        qk_norm="head",
        windows="pattern",
        defaults={
            "tie_word_embeddings": True,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "vocab_size": 262208,
            "max_position_embeddings": 131072,
            "sliding_window": 4096,
            "sliding_window_pattern": 6,
        },
    ),
    "phi3": Family(windows="all"),
    "phi": Family(
        qkv_bias=True,
        output_bias=True,
        mlp_bias=True,
        head_bias=True,
        norm_bias=True,
        norms_per_layer=1,
        gated=False,
        only={"qk_layernorm": False},
    ),
    "opt": Family(
        qkv_bias=True,
        output_bias=True,
        mlp_bias=True,
        norm_bias=True,
        gated=False,
        extra_positions=2,
        defaults={"tie_word_embeddings": True},
        only={"enable_bias": True, "do_layer_norm_before": True},
    ),
}
