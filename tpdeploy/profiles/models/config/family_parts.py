"""What several architectures have in common."""

from tpdeploy.profiles.models.config.family import Family

ATTENTION_BIAS = "attention_bias"
LLAMA = Family(qkv_bias=ATTENTION_BIAS, output_bias=ATTENTION_BIAS, mlp_bias="mlp_bias")
DEEPSEEK = Family(
    attention="latent",
    experts="deepseek",
    defaults={"first_k_dense_replace": 3, "n_shared_experts": 1, "q_lora_rank": 1536},
    only={ATTENTION_BIAS: False},
)
MIXTRAL_MODULES = {
    "expert gate": "block_sparse_moe.experts.0.w1",
    "expert up": "block_sparse_moe.experts.0.w3",
    "expert down": "block_sparse_moe.experts.0.w2",
}
