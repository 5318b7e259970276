"""Architectures with experts whose attention has gates, windows or fewer parts than most."""

from collections.abc import Mapping

from tpdeploy.profiles.models.config.families.family import Family
from tpdeploy.profiles.models.config.families.parts import ATTENTION_BIAS, NUM_EXPERTS

_STEP = Family(
    qk_norm="head",
    head_gate=True,
    windows="all",
    other_heads="sliding",
    experts="listed",
    renamed={
        "n_routed_experts": "moe_num_experts",
        "num_experts_per_tok": "moe_top_k",
        "num_key_value_heads": "num_attention_groups",
    },
    defaults={
        "num_key_value_heads": 8,
        "head_dim": 128,
        "moe_intermediate_size": 1280,
        "share_expert_dim": 1280,
        "n_shared_experts": 1,
    },
)
# Ling 1 and 2.
_BAILING = Family(
    qkv_bias="use_qkv_bias",
    qk_norm="head",
    qk_norm_key="use_qk_norm",
    experts="deepseek",
    only={"use_bias": False, "use_rmsnorm": True},
    renamed=NUM_EXPERTS,
    defaults={"num_shared_experts": 0},
    modules={
        "q": "attention.query_key_value",
        "k": "attention.query_key_value",
        "v": "attention.query_key_value",
        "output": "attention.dense",
    },
)

EXPERT_FAMILIES: Mapping[str, Family] = {
    "afmoe": Family(
        qk_norm="head",
        output_gate=True,
        norms_per_layer=4,
        windows="pattern",
        experts="deepseek",
        router_bias=True,
        only={ATTENTION_BIAS: False},
        renamed={
            **NUM_EXPERTS,
            "first_k_dense_replace": "num_dense_layers",
            "sliding_window_pattern": "global_attn_every_n_layers",
        },
        defaults={
            "head_dim": 128,
            "num_dense_layers": 1,
            "num_shared_experts": 2,
            "sliding_window": 1024,
            "global_attn_every_n_layers": 4,
        },
    ),
    "laguna": Family(
        qk_norm="head",
        output_gate=True,
        head_gate=True,
        windows="listed",
        other_heads="listed",
        experts="deepseek",
        router_bias=True,
        only={ATTENTION_BIAS: False},
        renamed={"n_routed_experts": "num_experts"},
        defaults={
            "num_key_value_heads": 8,
            "head_dim": 128,
            "first_k_dense_replace": 1,
            "n_shared_experts": 1,
            "sliding_window": 512,
        },
    ),
    "mellum": Family(
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        qk_norm="head",
        windows="listed",
        experts="deepseek",
        renamed={"n_routed_experts": "num_local_experts"},
        defaults={"num_key_value_heads": 4, "head_dim": 128, "sliding_window": 1024},
    ),
    "hunyuan_v1_moe": Family(
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        qk_norm="head",
        experts="hunyuan",
        renamed={"num_local_experts": "num_experts", "num_experts_per_tok": "moe_topk"},
        only={"use_cla": False, "moe_layer_num_skipped": 0},
        modules={
            "shared expert gate": "mlp.shared_mlp.gate_proj",
            "shared expert up": "mlp.shared_mlp.up_proj",
            "shared expert down": "mlp.shared_mlp.down_proj",
        },
    ),
    "step3_text": Family(
        experts="listed",
        renamed={
            "n_routed_experts": "moe_num_experts",
            "num_experts_per_tok": "moe_top_k",
            "num_key_value_heads": "num_attention_groups",
            "max_position_embeddings": "max_position_embedding",
        },
        modules={"q down": "self_attn.q_proj", "q up": "self_attn.wq"},
        defaults={
            "num_attention_groups": 1,
            "head_dim": 256,
            "share_q_dim": 2048,
            "moe_intermediate_size": 5120,
            "share_expert_dim": 5120,
            "n_shared_experts": 1,
            "moe_layers_enum": ",".join(map(str, range(4, 60))),
        },
    ),
    "step3p5": _STEP,
    "step3p7": _STEP,
    "bailing_moe": _BAILING,
    "bailing_moe_v2": _BAILING,
    "cohere2_moe": Family(
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        parallel_blocks=True,
        norms_per_layer=1,
        windows="pattern",
        experts="deepseek",
        renamed=NUM_EXPERTS,
        only={"prefix_dense_sliding_window_pattern": 1},
        defaults={
            "tie_word_embeddings": True,
            "head_dim": 128,
            "num_shared_experts": 0,
            "sliding_window": 4096,
            "sliding_window_pattern": 4,
        },
    ),
    "aria_text": Family(
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        experts="deepseek",
        only={"mlp_bias": False},
        renamed={
            "n_routed_experts": "moe_num_experts",
            "num_experts_per_tok": "moe_topk",
            "n_shared_experts": "moe_num_shared_experts",
        },
        defaults={"moe_num_experts": 8, "moe_topk": 2, "moe_num_shared_experts": 2},
    ),
    # Its dense MLPs and its experts' input are those of DeepSeek, under other names.
    "longcat_flash": Family(
        attention="latent",
        halves=True,
        experts="deepseek",
        only={ATTENTION_BIAS: False, "router_bias": False, "zero_expert_type": "identity"},
        renamed={
            "num_hidden_layers": "num_layers",
            "intermediate_size": "ffn_hidden_size",
            "moe_intermediate_size": "expert_ffn_hidden_size",
            "num_experts_per_tok": "moe_topk",
        },
        defaults={
            "q_lora_rank": 1536,
            "kv_lora_rank": 512,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "zero_expert_num": 256,
        },
    ),
}
