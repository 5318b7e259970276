"""Architectures that are another one under a name of their own, or with few changes."""

from collections.abc import Mapping
from dataclasses import replace

from tpdeploy.profiles.models.config.families.family import Family
from tpdeploy.profiles.models.config.families.parts import ATTENTION_BIAS, DEEPSEEK, GEMMA_2, LLAMA

_BIASED = Family(qkv_bias=ATTENTION_BIAS, output_bias=ATTENTION_BIAS)
_GRANITE_MOE = replace(_BIASED, experts="mixtral")

_GRANITE_SWA = replace(
    LLAMA,
    sinks=True,
    windows="leading",
    defaults={"tie_word_embeddings": True, "num_key_value_heads": 4, "sliding_window": 128},
)

KIN_FAMILIES: Mapping[str, Family] = {
    # Of Llama.
    "arcee": replace(LLAMA, gated=False),
    "exaone": Family(renamed={"num_hidden_layers": "num_layers"}),
    "internlm2": Family(qkv_bias="bias", output_bias="bias", defaults={"bias": True}),
    "internlm3": replace(LLAMA, qkv_bias="qkv_bias", output_bias="bias", mlp_bias="bias"),
    "iquestcoder": LLAMA,
    "mimo": Family(qkv_bias=True),
    # MiniCPM-MoE has the same model_type, and experts.
    "minicpm": Family(defaults={"tie_word_embeddings": True}, only={"num_experts": 0}),
    "chatglm": Family(
        qkv_bias="add_qkv_bias",
        kv_heads="groups",
        only={"add_bias_linear": False, "rmsnorm": True, "post_layer_norm": True},
        renamed={
            "num_hidden_layers": "num_layers",
            "vocab_size": "padded_vocab_size",
            "max_position_embeddings": "seq_length",
            "intermediate_size": "ffn_hidden_size",
            "head_dim": "kv_channels",
        },
    ),
    "helium": replace(LLAMA, output_bias=False, defaults={"head_dim": 128}),
    # Parallel blocks of Cohere, in a multimodal model.
    "cohere_compass_text": Family(
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        parallel_blocks=True,
        norms_per_layer=1,
        windows="listed",
        defaults={"tie_word_embeddings": True, "sliding_window": 4096},
    ),
    "hyperclovax": replace(LLAMA, post_norms="use_post_norm", defaults={"use_post_norm": True}),
    # Gemma 2 without the norms behind its mixers and MLPs.
    "vaultgemma": replace(GEMMA_2, norms_per_layer=2),
    # Llama with more windows, norms or sinks.
    "cwm": Family(
        windows="leading",
        defaults={"num_key_value_heads": 8, "head_dim": 128, "sliding_window": 8192},
    ),
    "granite_swa": _GRANITE_SWA,
    "apertus": Family(
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        qk_norm="head",
        gated=False,
        activation_parameters=2,
    ),
    "jais2": Family(
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        mlp_bias="mlp_bias",
        norm_bias=True,
        gated=False,
        defaults={ATTENTION_BIAS: True, "mlp_bias": True, "head_dim": 128},
    ),
    # With experts.
    "granitemoe_swa": replace(
        _GRANITE_MOE,
        sinks=True,
        windows="leading",
        defaults={"sliding_window": 128},
    ),
    "dots1": replace(
        _BIASED,
        qk_norm="head",
        experts="deepseek",
        defaults={"num_key_value_heads": 32, "first_k_dense_replace": 0},
        windows="flagged",
    ),
    "deepseek": replace(_BIASED, experts="deepseek", only={"moe_layer_freq": 1}),
    "granitemoe": _GRANITE_MOE,
    "granitemoeshared": _GRANITE_MOE,
    "flex_olmo": replace(
        _BIASED,
        qk_norm="projection",
        experts="mixtral",
        renamed={"num_local_experts": "num_experts"},
    ),
    "solar_open": Family(
        qkv_bias=ATTENTION_BIAS,
        experts="deepseek",
        defaults={"num_key_value_heads": 8, "head_dim": 128, "n_shared_experts": 1},
    ),
    # With a latent.
    "mistral4": replace(
        DEEPSEEK,
        defaults={"first_k_dense_replace": 0, "n_shared_experts": 1, "q_lora_rank": 1024},
    ),
    "sarvam_mla": DEEPSEEK,
    "axk1": replace(
        DEEPSEEK, experts_norm=True, defaults={**DEEPSEEK.defaults, "first_k_dense_replace": 1}
    ),
    "youtu": Family(
        attention="latent",
        defaults={"tie_word_embeddings": True, "q_lora_rank": 1536},
        only={ATTENTION_BIAS: False},
    ),
    "minicpm3": Family(
        attention="latent",
        defaults={"tie_word_embeddings": True, "q_lora_rank": 768},
        only={ATTENTION_BIAS: False, "mlp_bias": False},
    ),
    # The text models of multimodal ones.
    "phi3_v": Family(windows="all"),
    "glm4v_text": Family(qkv_bias=True, norms_per_layer=4, defaults={"num_key_value_heads": 2}),
    "glm4v_moe_text": Family(
        qkv_bias=ATTENTION_BIAS,
        experts="deepseek",
        defaults={
            ATTENTION_BIAS: True,
            "first_k_dense_replace": 1,
            "n_shared_experts": 1,
            "num_key_value_heads": 8,
        },
    ),
    "exaone4_5_text": Family(qk_norm="head", windows="pattern"),
    "qwen2_5_omni_text": Family(qkv_bias=True, windows="flagged"),
    "paddleocr_vl_text": Family(
        only={"use_bias": False},
        defaults={"tie_word_embeddings": True, "num_key_value_heads": 2, "head_dim": 128},
    ),
}
