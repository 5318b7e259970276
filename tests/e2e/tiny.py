"""A model that real engines start with in seconds."""

import json
import shutil
from pathlib import Path

from tpdeploy.launcher.small_model import engine_python, prepare_smollm2

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 49152,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
}
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def make_tiny_model(parent: Path) -> Path:
    """The folder of a small Llama of two layers: a config and a real tokenizer, no weights."""
    source = prepare_smollm2(engine_python())
    folder = parent / "tiny-llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    for name in TOKENIZER:
        if (source / name).exists():
            shutil.copy(source / name, folder)
    return folder
