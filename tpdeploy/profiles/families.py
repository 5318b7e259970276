"""What each `model_type` of transformers implies that its config.json does not say.

Structure and defaults are those of transformers 5.19's configuration and modelling classes; the
engine tests compare the parameter counts that follow from them with transformers' own modules.
"""

from collections.abc import Mapping
from dataclasses import replace

from tpdeploy.profiles.family import Family

_ATTENTION_BIAS = "attention_bias"
_DEEPSEEK = Family(
    attention="latent",
    experts="deepseek",
    defaults={"first_k_dense_replace": 3, "n_shared_experts": 1, "q_lora_rank": 1536},
    only={_ATTENTION_BIAS: False},
)
_SPARSE_DEEPSEEK = replace(_DEEPSEEK, indexer="latent")
_LLAMA = Family(qkv_bias=_ATTENTION_BIAS, output_bias=_ATTENTION_BIAS, mlp_bias="mlp_bias")
_QWEN2_VL = Family(qkv_bias=True, windows="flagged", defaults={"num_key_value_heads": 8})
_QWEN3 = Family(
    qkv_bias=_ATTENTION_BIAS,
    output_bias=_ATTENTION_BIAS,
    qk_norm="head",
    windows="flagged",
    defaults={"num_key_value_heads": 32, "head_dim": 128},
)
_QWEN3_MOE = replace(_QWEN3, experts="qwen", defaults={"num_key_value_heads": 4})
# Gated delta nets in three of four layers; full attention with a gate on its output in the rest.
_QWEN3_5 = Family(
    linear="delta",
    qkv_bias=_ATTENTION_BIAS,
    output_bias=_ATTENTION_BIAS,
    qk_norm="head",
    output_gate=True,
    only={"attn_output_gate": True},
    defaults={
        "num_key_value_heads": 4,
        "head_dim": 256,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
    },
)
_QWEN3_5_MOE = replace(
    _QWEN3_5,
    experts="qwen",
    shared_gate=True,
    defaults={**_QWEN3_5.defaults, "num_key_value_heads": 2},
)
_MIXTRAL_MODULES = {
    "expert gate": "block_sparse_moe.experts.0.w1",
    "expert up": "block_sparse_moe.experts.0.w3",
    "expert down": "block_sparse_moe.experts.0.w2",
}
_MINIMAX_M3 = Family(
    indexer="hidden",
    experts="deepseek",
    qk_norm="head",
    renamed={"n_routed_experts": "num_local_experts"},
    defaults={"num_key_value_heads": 4, "head_dim": 128},
    modules={
        "index q": "self_attn.index_q_proj",
        "index k": "self_attn.index_k_proj",
        "shared expert gate": "block_sparse_moe.shared_experts.gate_proj",
        "shared expert up": "block_sparse_moe.shared_experts.up_proj",
        "shared expert down": "block_sparse_moe.shared_experts.down_proj",
        **_MIXTRAL_MODULES,
    },
)
# Names that keep experts' counts apart from most.
_NUM_EXPERTS = {"n_routed_experts": "num_experts", "n_shared_experts": "num_shared_experts"}

FAMILIES: Mapping[str, Family] = {
    "llama": _LLAMA,
    "granite": _LLAMA,
    "smollm3": replace(
        _LLAMA,
        windows="flagged",
        defaults={"tie_word_embeddings": True, "num_key_value_heads": 4},
    ),
    "seed_oss": replace(
        _LLAMA,
        output_bias="attention_out_bias",
        defaults={_ATTENTION_BIAS: True, "num_key_value_heads": 8, "head_dim": 128},
    ),
    "hunyuan_v1_dense": replace(_LLAMA, mlp_bias=False, qk_norm="head"),
    "llama4_text": Family(
        experts="llama4",
        qkv_bias=_ATTENTION_BIAS,
        output_bias=_ATTENTION_BIAS,
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
        modules=_MIXTRAL_MODULES,
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
    "qwen3_next": replace(
        _QWEN3_5_MOE,
        modules={
            "linear q and k": "linear_attn.in_proj_qkvz",
            "linear v": "linear_attn.in_proj_qkvz",
            "linear gate": "linear_attn.in_proj_qkvz",
            "linear decay": "linear_attn.in_proj_ba",
        },
    ),
    "qwen3_5_text": _QWEN3_5,
    "qwen3_5_moe_text": _QWEN3_5_MOE,
    "deepseek_v2": Family(
        attention="latent",
        experts="deepseek",
        defaults={"first_k_dense_replace": 0, "n_shared_experts": 2, "q_lora_rank": 1536},
        only={_ATTENTION_BIAS: False, "mlp_bias": False, "use_mla": True},
    ),
    "deepseek_v3": _DEEPSEEK,
    "kimi_k2": _DEEPSEEK,
    "deepseek_v32": _SPARSE_DEEPSEEK,
    "glm_moe_dsa": replace(_SPARSE_DEEPSEEK, defaults={**_DEEPSEEK.defaults, "q_lora_rank": 2048}),
    "deepseek_v4": Family(
        attention="compressed",
        indexer="compressed",
        experts="deepseek",
        only={_ATTENTION_BIAS: False},
        defaults={"n_shared_experts": 1, "hc_mult": 4, "sliding_window": 128},
        modules={
            "q down": "attn.wq_a",
            "q up": "attn.wq_b",
            "kv down": "attn.wkv",
            "output down": "attn.wo_a",
            "output": "attn.wo_b",
            "index q": "attn.indexer.wq_b",
            "shared expert gate": "ffn.shared_experts.w1",
            "shared expert up": "ffn.shared_experts.w3",
            "shared expert down": "ffn.shared_experts.w2",
            "expert gate": "ffn.experts.0.w1",
            "expert up": "ffn.experts.0.w3",
            "expert down": "ffn.experts.0.w2",
        },
    ),
    "glm4_moe_lite": replace(
        _DEEPSEEK,
        defaults={"first_k_dense_replace": 1, "n_shared_experts": 1, "q_lora_rank": 768},
    ),
    "glm": Family(
        qkv_bias=_ATTENTION_BIAS,
        defaults={_ATTENTION_BIAS: True, "num_key_value_heads": 2, "head_dim": 128},
    ),
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
    "hy_v3": Family(
        qkv_bias=_ATTENTION_BIAS,
        output_bias=_ATTENTION_BIAS,
        mlp_bias="mlp_bias",
        qk_norm="head",
        experts="deepseek",
        renamed=_NUM_EXPERTS,
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
        renamed=_NUM_EXPERTS,
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
    "ernie4_5_moe": Family(
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
    ),
    "mimo_v2_flash": Family(
        qkv_bias=_ATTENTION_BIAS,
        windows="alternate",
        other_heads="swa",
        experts="deepseek",
        defaults={
            "num_key_value_heads": 4,
            "head_dim": 192,
            "v_head_dim": 128,
            "sliding_window": 128,
        },
    ),
    "nemotron_h": Family(
        linear="mamba2",
        blocks=True,
        only={
            _ATTENTION_BIAS: False,
            "mlp_bias": False,
            "use_bias": False,
            "mamba_proj_bias": False,
        },
        norms_per_layer=1,
        gated=False,
        gated_experts=False,
        experts="deepseek",
        defaults={
            "num_key_value_heads": 8,
            "head_dim": 128,
            "n_groups": 8,
            "conv_kernel": 4,
            "use_conv_bias": True,
            "ssm_state_size": 128,
        },
        modules={
            "linear q and k": "mixer.in_proj",
            "linear v": "mixer.in_proj",
            "linear gate": "mixer.in_proj",
            "linear decay": "mixer.in_proj",
            "linear output": "mixer.out_proj",
            "q": "mixer.q_proj",
            "k": "mixer.k_proj",
            "v": "mixer.v_proj",
            "output": "mixer.o_proj",
            "up": "mixer.up_proj",
            "down": "mixer.down_proj",
            "shared expert up": "mixer.shared_experts.up_proj",
            "shared expert down": "mixer.shared_experts.down_proj",
            "expert up": "mixer.experts.0.up_proj",
            "expert down": "mixer.experts.0.down_proj",
            "experts' input": "mixer.fc1_latent_proj",
            "experts' output": "mixer.fc2_latent_proj",
        },
    ),
    "minimax_m3_vl_text": _MINIMAX_M3,
    "minimax_m3": _MINIMAX_M3,
    "minimax_m2": Family(
        modules=_MIXTRAL_MODULES,
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
    "gemma": Family(
        qkv_bias=_ATTENTION_BIAS,
        output_bias=_ATTENTION_BIAS,
        defaults={"tie_word_embeddings": True, "num_key_value_heads": 16, "head_dim": 256},
    ),
    "gemma4_text": Family(
        qkv_bias=_ATTENTION_BIAS,
        output_bias=_ATTENTION_BIAS,
        norms_per_layer=4,
        qk_norm="head",
        windows="pattern",
        other_heads="global",
        experts="gemma4",
        defaults={
            "tie_word_embeddings": True,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "sliding_window": 512,
            "sliding_window_pattern": 6,
            "hidden_size_per_layer_input": 256,
        },
        only={
            "hidden_size_per_layer_input": 0,
            "num_kv_shared_layers": 0,
            "use_double_wide_mlp": False,
        },
        renamed={"n_routed_experts": "num_experts", "num_experts_per_tok": "top_k_experts"},
        modules={
            "expert gate": "experts.0.gate_proj",
            "expert up": "experts.0.up_proj",
            "expert down": "experts.0.down_proj",
        },
    ),
    "cohere": Family(
        qkv_bias=_ATTENTION_BIAS,
        output_bias=_ATTENTION_BIAS,
        qk_norm="projection",
        qk_norm_key="use_qk_norm",
        norms_per_layer=1,
        defaults={"tie_word_embeddings": True},
    ),
    "cohere2": Family(
        qkv_bias=_ATTENTION_BIAS,
        output_bias=_ATTENTION_BIAS,
        norms_per_layer=1,
        windows="pattern",
        defaults={
            "tie_word_embeddings": True,
            "sliding_window": 4096,
            "sliding_window_pattern": 4,
        },
    ),
    "olmo": Family(
        qkv_bias=_ATTENTION_BIAS, output_bias=_ATTENTION_BIAS, norms_per_layer=0, final_norm=False
    ),
    "olmo2": Family(qkv_bias=_ATTENTION_BIAS, output_bias=_ATTENTION_BIAS, qk_norm="projection"),
    "olmo3": Family(
        qkv_bias=_ATTENTION_BIAS,
        output_bias=_ATTENTION_BIAS,
        qk_norm="projection",
        windows="pattern",
        defaults={"sliding_window": 4096, "sliding_window_pattern": 4},
    ),
    "olmoe": Family(
        qkv_bias=_ATTENTION_BIAS,
        output_bias=_ATTENTION_BIAS,
        qk_norm="projection",
        experts="mixtral",
        renamed={"num_local_experts": "num_experts"},
    ),
    "starcoder2": Family(
        qkv_bias="use_bias",
        output_bias="use_bias",
        mlp_bias="use_bias",
        norm_bias=True,
        gated=False,
        windows="all",
        defaults={"use_bias": True, "tie_word_embeddings": True, "num_key_value_heads": 2},
    ),
    "falcon": Family(
        qkv_bias="bias",
        output_bias="bias",
        mlp_bias="bias",
        norm_bias=True,
        gated=False,
        defaults={
            "tie_word_embeddings": True,
            "multi_query": True,
            "parallel_attn": True,
            "max_position_embeddings": 2048,
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
