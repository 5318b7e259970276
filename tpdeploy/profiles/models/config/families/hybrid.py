"""Architectures with recurrent mixers beside attention: Mamba, delta nets, short convolutions."""

from collections.abc import Mapping
from dataclasses import replace

from tpdeploy.profiles.models.config.families.family import Family
from tpdeploy.profiles.models.config.families.parts import (
    ATTENTION_BIAS,
    DEEPSEEK,
    LLAMA,
    MIXTRAL_MODULES,
    NUM_EXPERTS,
)

_MAMBA_NAMES = {
    "n_groups": "mamba_n_groups",
    "ssm_state_size": "mamba_d_state",
    "mamba_num_heads": "mamba_n_heads",
    "mamba_head_dim": "mamba_d_head",
    "conv_kernel": "mamba_d_conv",
    "use_conv_bias": "mamba_conv_bias",
}
_MAMBA_MODULES = {
    "linear q and k": "mamba.in_proj",
    "linear v": "mamba.in_proj",
    "linear gate": "mamba.in_proj",
    "linear decay": "mamba.in_proj",
    "linear output": "mamba.out_proj",
}
# Mamba by itself: its names, and nothing beside it.
_MAMBA_ALONE = Family(
    linear="mamba",
    recurrent_alone=True,
    norms_per_layer=1,
    only={"use_bias": False},
    renamed={
        "mamba_d_state": "state_size",
        "mamba_d_ssm": "intermediate_size",
        "mamba_expand": "expand",
        "mamba_dt_rank": "time_step_rank",
        "mamba_d_conv": "conv_kernel",
        "mamba_conv_bias": "use_conv_bias",
        "num_hidden_layers": "n_layer",
        "hidden_size": "d_model",
    },
    modules={
        "linear v": "mixer.in_proj",
        "linear gate": "mixer.in_proj",
        "linear selection": "mixer.x_proj",
        "linear decay": "mixer.dt_proj",
        "linear output": "mixer.out_proj",
    },
    defaults={"tie_word_embeddings": True},
)
_LING_MODULES = {
    "q": "attention.q_proj",
    "q down": "attention.q_a_proj",
    "q up": "attention.q_b_proj",
    "kv down": "attention.kv_a_proj_with_mqa",
    "kv up": "attention.kv_b_proj",
    "head gate": "attention.g_proj",
    "output": "attention.dense",
    "linear q and k": "attention.q_proj",
    "linear v": "attention.v_proj",
    "linear gate": "attention.g_proj",
    "linear decay": "attention.f_proj",
    "linear strength": "attention.b_proj",
    "linear output": "attention.o_proj",
}
_FEED_FORWARD = {name: f"feed_forward.{name}_proj" for name in ("gate", "up", "down")}
_MAMBA2 = {
    "mamba_n_groups": 1,
    "mamba_d_state": 256,
    "mamba_n_heads": 128,
    "mamba_d_conv": 4,
    "mamba_conv_bias": True,
}
_BAMBA = replace(
    LLAMA,
    linear="mamba2",
    hybrid="listed",
    renamed=_MAMBA_NAMES,
    modules={**_MAMBA_MODULES, **_FEED_FORWARD},
    only={"mamba_proj_bias": False},
    defaults={**_MAMBA2, "num_key_value_heads": 8},
)

_LFM2 = Family(
    linear="convolution",
    hybrid="listed",
    qk_norm="head",
    adjusted_mlp=True,
    modules={
        "linear v": "conv.in_proj",
        "linear gate": "conv.in_proj",
        "linear output": "conv.out_proj",
        "output": "self_attn.out_proj",
        "gate": "feed_forward.w1",
        "up": "feed_forward.w3",
        "down": "feed_forward.w2",
    },
    defaults={
        "tie_word_embeddings": True,
        "num_key_value_heads": 8,
        "conv_L_cache": 3,
        "block_multiple_of": 256,
        "block_auto_adjust_ff_dim": True,
    },
)

_KDA_MODULES = {
    "linear q and k": "self_attn.q_proj",
    "linear v": "self_attn.v_proj",
    "linear decay down": "self_attn.f_a_proj",
    "linear decay": "self_attn.f_b_proj",
    "linear gate down": "self_attn.g_a_proj",
    "linear gate": "self_attn.g_b_proj",
    "linear strength": "self_attn.b_proj",
    "linear output": "self_attn.o_proj",
}

_KIMI_LATENT = {
    "experts' input": "block_sparse_moe.routed_expert_down_proj",
    "experts' output": "block_sparse_moe.routed_expert_up_proj",
}

HYBRID_FAMILIES: Mapping[str, Family] = {
    "mamba": _MAMBA_ALONE,
    "falcon_mamba": _MAMBA_ALONE,
    "mamba2": replace(
        _MAMBA_ALONE,
        linear="mamba2",
        renamed={
            "mamba_num_heads": "num_heads",
            "mamba_head_dim": "head_dim",
            "mamba_expand": "expand",
            "ssm_state_size": "state_size",
        },
        modules={name: f"mixer.{path.split('.')[1]}" for name, path in _MAMBA_MODULES.items()},
        defaults={
            "num_heads": 128,
            "head_dim": 64,
            "state_size": 128,
            "n_groups": 8,
            "conv_kernel": 4,
            "use_conv_bias": True,
        },
    ),
    "bamba": _BAMBA,
    "falcon_h1": replace(
        _BAMBA,
        hybrid="both",
        only={"mamba_proj_bias": False, "projectors_bias": False},
        defaults={**_BAMBA.defaults, "mamba_rms_norm": False},
    ),
    "zamba2": replace(
        _BAMBA,
        attention="shared",
        norms_per_layer=1,
        qkv_bias=False,
        output_bias=False,
        mlp_bias=False,
        renamed={
            **_MAMBA_NAMES,
            "n_groups": "mamba_ngroups",
            "mamba_num_heads": "n_mamba_heads",
            "mamba_head_dim": "mamba_headdim",
            "use_conv_bias": "use_conv_bias",
            "layer_types": "layers_block_type",
        },
        modules={
            **_MAMBA_MODULES,
            "gate": "shared_transformer.feed_forward.gate_up_proj",
            "up": "shared_transformer.feed_forward.gate_up_proj",
            "down": "shared_transformer.feed_forward.down_proj",
        },
        only={"add_bias_linear": False},
        defaults={
            "tie_word_embeddings": True,
            "mamba_ngroups": 1,
            "mamba_d_state": 64,
            "n_mamba_heads": 8,
            "mamba_d_conv": 4,
            "use_conv_bias": True,
        },
    ),
    "granitemoehybrid": replace(
        _BAMBA,
        mlp_bias=False,
        experts="granite",
        modules=_MAMBA_MODULES,
        defaults=_MAMBA2,
    ),
    "jamba": Family(
        linear="mamba",
        hybrid="period",
        experts="jamba",
        renamed={"n_routed_experts": "num_experts"},
        modules={
            **_FEED_FORWARD,
            "linear v": "mamba.in_proj",
            "linear gate": "mamba.in_proj",
            "linear selection": "mamba.x_proj",
            "linear decay": "mamba.dt_proj",
            "linear output": "mamba.out_proj",
            "expert gate": "feed_forward.experts.0.gate_proj",
            "expert up": "feed_forward.experts.0.up_proj",
            "expert down": "feed_forward.experts.0.down_proj",
        },
        only={"mamba_proj_bias": False},
        defaults={
            "num_key_value_heads": 8,
            "attn_layer_period": 8,
            "attn_layer_offset": 4,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
        },
    ),
    "kimi_linear": replace(
        DEEPSEEK,
        linear="kda",
        hybrid="listed",
        renamed={
            **NUM_EXPERTS,
            "num_experts_per_tok": "num_experts_per_token",
            "max_position_embeddings": "model_max_length",
            "moe_latent_size": "routed_expert_hidden_size",
        },
        modules={**_KDA_MODULES, **_KIMI_LATENT, **MIXTRAL_MODULES},
        unquantized=tuple(_KIMI_LATENT.values()),
        output_gate="mla_use_output_gate",
        only={ATTENTION_BIAS: False},
        defaults={"num_shared_experts": 1},
    ),
    # Ling 3.0. Ling 2.5 shares its model_type and has Lightning attention, without a convolution:
    # short_conv_kernel_size has no default here.
    "bailing_hybrid": replace(
        DEEPSEEK,
        linear="kda",
        head_gate=True,
        renamed={
            **NUM_EXPERTS,
            "num_experts_per_tok": "num_experts_per_token",
            "max_position_embeddings": "model_max_length",
            "full_attention_interval": "layer_group_size",
        },
        modules=_LING_MODULES,
        only={
            ATTENTION_BIAS: False,
            "use_bias": False,
            "no_kda_lora": True,
            "gated_attention_proj_granularity_type": "head_wise",
        },
        defaults={
            "first_k_dense_replace": 2,
            "num_shared_experts": 1,
            "layer_group_size": 6,
            "use_full_rank_gate": True,
            "no_kda_lora": True,
        },
    ),
    "glm5_next_text": replace(
        DEEPSEEK,
        linear="kda",
        indexer="pooled",
        streams="averaged",
        modules=_KDA_MODULES,
        defaults={
            **DEEPSEEK.defaults,
            "hc_mult": 4,
            "index_kpool": 16,
            "linear_num_heads": 64,
            "linear_head_dim": 128,
            "linear_conv_kernel_dim": 4,
        },
    ),
    "olmo_hybrid": Family(
        linear="delta",
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        qk_norm="projection",
        modules={
            "linear q and k": "linear_attn.q_proj",
            "linear v": "linear_attn.v_proj",
            "linear gate": "linear_attn.g_proj",
            "linear decay": "linear_attn.a_proj",
            "linear output": "linear_attn.o_proj",
        },
        defaults={"linear_conv_kernel_dim": 4},
    ),
    "lfm2": _LFM2,
    "lfm2_moe": replace(
        _LFM2,
        adjusted_mlp=False,
        experts="deepseek",
        renamed={"first_k_dense_replace": "num_dense_layers", "n_routed_experts": "num_experts"},
        modules={
            **_LFM2.modules,
            "expert gate": "feed_forward.experts.0.w1",
            "expert up": "feed_forward.experts.0.w3",
            "expert down": "feed_forward.experts.0.w2",
        },
        defaults={
            "tie_word_embeddings": True,
            "num_key_value_heads": 8,
            "conv_L_cache": 3,
            "num_dense_layers": 2,
        },
    ),
}
