"""What a multimodal config.json leaves out of its `text_config`: the text model's own defaults.

Such configs state only what differs from the class of the text model. The numbers are those of
transformers 5.19's configuration classes. A config.json of a text model alone states them all.
"""

from collections.abc import Mapping

_LLAMA = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}

TEXT_DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "llama": {**_LLAMA, "intermediate_size": 11008, "max_position_embeddings": 2048},
    "mistral": {**_LLAMA, "intermediate_size": 14336, "max_position_embeddings": 131072},
    "mixtral": {
        **_LLAMA,
        "intermediate_size": 14336,
        "max_position_embeddings": 131072,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    },
    "qwen2": {
        **_LLAMA,
        "vocab_size": 151936,
        "intermediate_size": 22016,
        "max_position_embeddings": 32768,
    },
    "gemma": {
        "vocab_size": 256000,
        "hidden_size": 3072,
        "intermediate_size": 24576,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "max_position_embeddings": 8192,
    },
    "gemma2": {
        "vocab_size": 256000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "max_position_embeddings": 8192,
    },
    "phi": {
        "vocab_size": 51200,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
    },
    "opt": {
        "vocab_size": 50272,
        "hidden_size": 768,
        "ffn_dim": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 2048,
    },
}
