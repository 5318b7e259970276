"""What each `model_type` of transformers implies that its config.json does not say.

Structure and defaults are those of transformers 5.19's configuration and modelling classes; the
engine tests compare the parameter counts that follow from them with transformers' own modules.
"""

from collections.abc import Mapping
from dataclasses import replace

from tpdeploy.profiles.models.config.families.classic import CLASSIC_FAMILIES
from tpdeploy.profiles.models.config.families.expert import EXPERT_FAMILIES
from tpdeploy.profiles.models.config.families.family import Family
from tpdeploy.profiles.models.config.families.hybrid import HYBRID_FAMILIES
from tpdeploy.profiles.models.config.families.kin import KIN_FAMILIES
from tpdeploy.profiles.models.config.families.mixed import MIXED_FAMILIES
from tpdeploy.profiles.models.config.families.parts import (
    ATTENTION_BIAS,
    DEEPSEEK,
    GEMMA_2,
    LLAMA,
    MIXTRAL_MODULES,
    NUM_EXPERTS,
)

_QWEN2_VL = Family(qkv_bias=True, windows="flagged", defaults={"num_key_value_heads": 8})
_QWEN3 = Family(
    qkv_bias=ATTENTION_BIAS,
    output_bias=ATTENTION_BIAS,
    qk_norm="head",
    windows="flagged",
    defaults={"num_key_value_heads": 32, "head_dim": 128},
)
_QWEN3_MOE = replace(_QWEN3, experts="qwen", defaults={"num_key_value_heads": 4})
_ERNIE_MOE = Family(
    only={"use_bias": False},
    experts="ernie",
    router_bias=True,
    renamed={
        "n_routed_experts": "moe_num_experts",
        "n_shared_experts": "moe_num_shared_experts",
        "num_experts_per_tok": "moe_k",
    },
    defaults={
        "tie_word_embeddings": True,
        "num_key_value_heads": 4,
        "moe_num_shared_experts": 2,
        "moe_layer_start_index": 1,
        "moe_layer_end_index": -1,
        "moe_layer_interval": 1,
    },
)


# Their classes come with their checkpoints, or stand in a multimodal model alone: transformers has
# none to compare with. LongCat-Flash is among them because transformers 5.19 allocates half of the
# weights of experts that have none.
KIN = frozenset(
    {
        *("bailing_moe", "bailing_moe_v2"),
        *("chatglm", "deepseek", "ernie4_5_vl_moe_text", "exaone", "internlm2", "internlm3"),
        *("iquestcoder", "longcat_flash", "mimo", "minicpm", "nemotron-nas", "orion", "phi3_v"),
        *("qwen2_5_omni_text", "sarvam_mla", "step3_text", "step3p5", "step3p7"),
    }
)

FAMILIES: Mapping[str, Family] = {
    **MIXED_FAMILIES,
    **EXPERT_FAMILIES,
    **CLASSIC_FAMILIES,
    **KIN_FAMILIES,
    **HYBRID_FAMILIES,
    "llama": LLAMA,
    "granite": LLAMA,
    "smollm3": replace(
        LLAMA,
        windows="flagged",
        defaults={"tie_word_embeddings": True, "num_key_value_heads": 4},
    ),
    "seed_oss": replace(
        LLAMA,
        output_bias="attention_out_bias",
        defaults={ATTENTION_BIAS: True, "num_key_value_heads": 8, "head_dim": 128},
    ),
    "hunyuan_v1_dense": replace(LLAMA, mlp_bias=False, qk_norm="head"),
    "llama4_text": Family(
        experts="llama4",
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        windows="chunked",
        defaults={"attention_chunk_size": 8192, "interleave_moe_layer_step": 1, "head_dim": 128},
    ),
    "mistral": Family(windows="all", defaults={"num_key_value_heads": 8, "sliding_window": 4096}),
    "ministral": Family(windows="all", defaults={"num_key_value_heads": 8, "sliding_window": 4096}),
    "ministral3": Family(defaults={"num_key_value_heads": 8, "head_dim": 128}),
    "mixtral": Family(
        experts="mixtral",
        windows="all",
        defaults={"num_key_value_heads": 8},
        modules=MIXTRAL_MODULES,
    ),
    "qwen2": Family(qkv_bias=True, windows="flagged", defaults={"num_key_value_heads": 32}),
    "qwen2_vl_text": _QWEN2_VL,
    "qwen2_5_vl_text": _QWEN2_VL,
    # Published configs give the text model's keys at the top.
    "qwen2_vl": _QWEN2_VL,
    "qwen2_5_vl": _QWEN2_VL,
    "qwen2_moe": Family(
        qkv_bias="qkv_bias",
        experts="qwen",
        shared_gate=True,
        windows="flagged",
        defaults={"qkv_bias": True, "num_key_value_heads": 16},
    ),
    "qwen3": _QWEN3,
    "qwen3_moe": _QWEN3_MOE,
    "qwen3_vl_text": replace(_QWEN3, windows="none"),
    "qwen3_vl_moe_text": replace(_QWEN3_MOE, windows="none", defaults={"num_key_value_heads": 16}),
    "qwen3_omni_moe_text": replace(_QWEN3_MOE, windows="none", defaults={"num_key_value_heads": 4}),
    "deepseek_v2": Family(
        attention="latent",
        experts="deepseek",
        defaults={"first_k_dense_replace": 0, "n_shared_experts": 2, "q_lora_rank": 1536},
        only={ATTENTION_BIAS: False, "mlp_bias": False, "use_mla": True},
    ),
    "deepseek_v3": DEEPSEEK,
    "kimi_k2": DEEPSEEK,
    "glm4_moe_lite": replace(
        DEEPSEEK,
        defaults={"first_k_dense_replace": 1, "n_shared_experts": 1, "q_lora_rank": 768},
    ),
    "glm": Family(
        qkv_bias=ATTENTION_BIAS,
        defaults={ATTENTION_BIAS: True, "num_key_value_heads": 2, "head_dim": 128},
    ),
    "glm4": Family(
        qkv_bias=ATTENTION_BIAS,
        norms_per_layer=4,
        defaults={ATTENTION_BIAS: True, "num_key_value_heads": 2, "head_dim": 128},
    ),
    "glm4_moe": Family(
        qkv_bias=ATTENTION_BIAS,
        qk_norm="head",
        qk_norm_key="use_qk_norm",
        experts="deepseek",
        defaults={"first_k_dense_replace": 1, "n_shared_experts": 1, "num_key_value_heads": 8},
    ),
    "hy_v3": Family(
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        mlp_bias="mlp_bias",
        qk_norm="head",
        experts="deepseek",
        renamed=NUM_EXPERTS,
        defaults={"num_key_value_heads": 8, "head_dim": 128, "num_shared_experts": 1},
    ),
    "exaone4": Family(
        qk_norm="head",
        windows="pattern",
        defaults={"sliding_window": 4096, "sliding_window_pattern": 4},
    ),
    "exaone_moe": Family(
        qk_norm="head",
        windows="pattern",
        experts="deepseek",
        renamed=NUM_EXPERTS,
        defaults={
            "sliding_window": 4096,
            "sliding_window_pattern": 4,
            "first_k_dense_replace": 1,
            "num_shared_experts": 1,
        },
    ),
    "ernie4_5": Family(
        only={"use_bias": False},
        defaults={"tie_word_embeddings": True, "num_key_value_heads": 2, "head_dim": 128},
    ),
    "ernie4_5_moe": _ERNIE_MOE,
    "ernie4_5_vl_moe_text": _ERNIE_MOE,
    "minimax_m2": Family(
        modules=MIXTRAL_MODULES,
        experts="mixtral",
        qk_norm="projection",
        defaults={"num_key_value_heads": 8, "head_dim": 128},
        only={"use_qk_norm": True},
    ),
    "gpt_oss": Family(
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        sinks=True,
        experts="gpt-oss",
        windows="alternate",
        defaults={
            ATTENTION_BIAS: True,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "sliding_window": 128,
        },
    ),
    "gemma2": GEMMA_2,
    # The text_config of multimodal Gemma 3 checkpoints leaves most of these out.
    "gemma3_text": Family(
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
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
    "gemma": Family(
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        defaults={"tie_word_embeddings": True, "num_key_value_heads": 16, "head_dim": 256},
    ),
    "cohere": Family(
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        qk_norm="heads",
        qk_norm_key="use_qk_norm",
        parallel_blocks=True,
        norms_per_layer=1,
        defaults={"tie_word_embeddings": True},
    ),
    "cohere2": Family(
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        parallel_blocks=True,
        norms_per_layer=1,
        windows="pattern",
        defaults={
            "tie_word_embeddings": True,
            "sliding_window": 4096,
            "sliding_window_pattern": 4,
        },
    ),
    "olmo": Family(
        qkv_bias=ATTENTION_BIAS, output_bias=ATTENTION_BIAS, norms_per_layer=0, final_norm=False
    ),
    "olmo2": Family(qkv_bias=ATTENTION_BIAS, output_bias=ATTENTION_BIAS, qk_norm="projection"),
    "olmo3": Family(
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        qk_norm="projection",
        windows="pattern",
        defaults={"sliding_window": 4096, "sliding_window_pattern": 4},
    ),
    "olmoe": Family(
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        qk_norm="projection",
        experts="mixtral",
        renamed={"num_local_experts": "num_experts"},
    ),
    "phi3": Family(windows="all"),
}
