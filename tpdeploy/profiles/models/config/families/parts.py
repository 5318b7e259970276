"""What several architectures have in common."""

from tpdeploy.profiles.models.config.families.family import Family

ATTENTION_BIAS = "attention_bias"
LLAMA = Family(qkv_bias=ATTENTION_BIAS, output_bias=ATTENTION_BIAS, mlp_bias="mlp_bias")
DEEPSEEK = Family(
    attention="latent",
    experts="deepseek",
    defaults={"first_k_dense_replace": 3, "n_shared_experts": 1, "q_lora_rank": 1536},
    only={ATTENTION_BIAS: False},
)
# Names of experts' counts, where they are not DeepSeek's.
NUM_EXPERTS = {"n_routed_experts": "num_experts", "n_shared_experts": "num_shared_experts"}
MIXTRAL_MODULES = {
    "expert gate": "block_sparse_moe.experts.0.w1",
    "expert up": "block_sparse_moe.experts.0.w3",
    "expert down": "block_sparse_moe.experts.0.w2",
}

# Every other layer in a window, norms before and behind each mixer and MLP.
GEMMA_2 = Family(
    qkv_bias=ATTENTION_BIAS,
    output_bias=ATTENTION_BIAS,
    norms_per_layer=4,
    windows="alternate",
    defaults={
        "tie_word_embeddings": True,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "sliding_window": 4096,
    },
)
