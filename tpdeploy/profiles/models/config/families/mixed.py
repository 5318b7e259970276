"""Architectures whose layers differ from each other, or look at parts of their context."""

from collections.abc import Mapping
from dataclasses import replace

from tpdeploy.profiles.models.config.families.family import Family
from tpdeploy.profiles.models.config.families.parts import (
    ATTENTION_BIAS,
    DEEPSEEK,
    LLAMA,
    MIXTRAL_MODULES,
)

_SPARSE_DEEPSEEK = replace(DEEPSEEK, indexer="latent")
# Gated delta nets in three of four layers; full attention with a gate on its output in the rest.
_QWEN3_5 = Family(
    linear="delta",
    qkv_bias=ATTENTION_BIAS,
    output_bias=ATTENTION_BIAS,
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
_MINIMAX_M3 = Family(
    indexer="hidden",
    experts="deepseek",
    qk_norm="head",
    renamed={"n_routed_experts": "num_local_experts"},
    defaults={"num_key_value_heads": 4, "head_dim": 128, "n_shared_experts": 1},
    modules={
        "index q": "self_attn.index_q_proj",
        "index k": "self_attn.index_k_proj",
        "shared expert gate": "block_sparse_moe.shared_experts.gate_proj",
        "shared expert up": "block_sparse_moe.shared_experts.up_proj",
        "shared expert down": "block_sparse_moe.shared_experts.down_proj",
        **MIXTRAL_MODULES,
    },
)

_GEMMA_4 = Family(
    qkv_bias=ATTENTION_BIAS,
    output_bias=ATTENTION_BIAS,
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
    },
    renamed={"n_routed_experts": "num_experts", "num_experts_per_tok": "top_k_experts"},
    modules={
        "expert gate": "experts.0.gate_proj",
        "expert up": "experts.0.up_proj",
        "expert down": "experts.0.down_proj",
    },
)

MIXED_FAMILIES: Mapping[str, Family] = {
    "nemotron-nas": replace(LLAMA, searched=True),
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
    "qwen4_exp_text": replace(
        _QWEN3_5_MOE,
        indexer="averaged",
        norms_per_layer=0,
        final_norm=False,
        renamed={"hc_mult": "hc_count"},
        only={"indexer_kv_heads": 1},
        modules={
            "index q": "self_attn.indexer.index_qk_proj",
            "index k": "self_attn.indexer.index_qk_proj",
            "n-gram embedding": "ple.ple_embedding.ngram_embedding",
        },
        defaults={
            **_QWEN3_5_MOE.defaults,
            "hc_count": 4,
            "hc_lowrank": 320,
            "ple_conv_kernel_size": 4,
            "ngram_size": 3,
            "heads_per_ngram": 8,
            "ngram_vocab_size_base": 20_000_000,
            "make_ngram_vocab_size_divisible_by": 128,
        },
    ),
    "deepseek_v32": _SPARSE_DEEPSEEK,
    "glm_moe_dsa": replace(_SPARSE_DEEPSEEK, defaults={**DEEPSEEK.defaults, "q_lora_rank": 2048}),
    "axk2": replace(
        _SPARSE_DEEPSEEK,
        latent_gate=True,
        modules={"q up": "self_attn.q_gate_proj"},
        defaults={
            **DEEPSEEK.defaults,
            "first_k_dense_replace": 1,
            "q_lora_rank": 384,
            "gated_norm_rank": 16,
        },
    ),
    "hy_v4": replace(
        _SPARSE_DEEPSEEK,
        indexed_every=4,
        output_gate=True,
        sinks=True,
        streams="apart",
        modules={"output gate": "self_attn.gate_proj"},
        defaults={**DEEPSEEK.defaults, "first_k_dense_replace": 1, "hc_mult": 4},
    ),
    "deepseek_v4": Family(
        attention="compressed",
        indexer="compressed",
        experts="deepseek",
        only={ATTENTION_BIAS: False},
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
    "mimo_v2_flash": Family(
        qkv_bias=ATTENTION_BIAS,
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
            ATTENTION_BIAS: False,
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
    "muse_glimmer_text": Family(
        output_gate=True,
        norms_per_layer=4,
        windows="pattern",
        only={ATTENTION_BIAS: False},
        defaults={
            "num_key_value_heads": 2,
            "head_dim": 128,
            "sliding_window": 2048,
            "sliding_window_pattern": 4,
        },
    ),
    "gemma4_text": replace(
        _GEMMA_4, defaults={**_GEMMA_4.defaults, "hidden_size_per_layer_input": 256}
    ),
    "gemma4_unified_text": replace(
        _GEMMA_4,
        defaults={**_GEMMA_4.defaults, "sliding_window": 1024},
    ),
    "gemma3n_text": Family(
        qkv_bias=ATTENTION_BIAS,
        output_bias=ATTENTION_BIAS,
        norms_per_layer=4,
        qk_norm="head",
        windows="pattern",
        defaults={
            "tie_word_embeddings": True,
            "num_key_value_heads": 2,
            "head_dim": 256,
            "sliding_window": 512,
            "sliding_window_pattern": 5,
            "num_kv_shared_layers": 15,
            "hidden_size_per_layer_input": 256,
            "laurel_rank": 64,
            "altup_num_inputs": 4,
        },
    ),
}
