"""The shapes agree with transformers: same parameters, same defaults for what configs omit."""

import json
import subprocess

import pytest

from tpdeploy.backends.vllm import VllmBackend
from tpdeploy.launcher.environments import find_environment
from tpdeploy.planner.model.sharding import parameter_count
from tpdeploy.profiles.models.config.encoders.wrappers import WRAPPERS
from tpdeploy.profiles.models.config.families.known import FAMILIES, KIN
from tpdeploy.profiles.models.config.parser import shape_from_config
from tpdeploy.profiles.models.config.text_defaults import TEXT_DEFAULTS
from tpdeploy.profiles.models.library import model_profiles

pytestmark = pytest.mark.engine

# Model types that transformers reads with another one's classes.
ALSO_KNOWN_AS = {
    "exaone4_5_text": "exaone4",
    "kimi_k2": "deepseek_v3",
    "minimax_m3": "minimax_m3_vl_text",
    "qwen2_vl": "qwen2_vl_text",
    "qwen2_5_vl": "qwen2_5_vl_text",
}
# Model types that only stand in a multimodal model; what transformers counts of them or of their
# like is in tests/profiles/configs.
NOT_THERE = {*KIN, "glm4v_text", "glm4v_moe_text", "paddleocr_vl_text", "qwen3_omni_moe_text"}
NOT_THERE |= {"inkling_model", "inkling_mm_model_text"}
# transformers 5.23 has it, vLLM 0.32's 5.19 not yet.
NOT_THERE |= {"bailing_hybrid"}
# What a default config of transformers leaves out, but its modules or its shape need.
NEEDED: dict[str, dict[str, object]] = {
    "deepseek_v2": {"num_experts_per_tok": 6},
    # Attributes that its modules ask for, and only published configs state.
    "dbrx": {"attn_config": {"rope_theta": 500000.0, "kv_n_heads": 8}},
    "glm4_moe": {"head_dim": 128},
    "qwen3_moe": {"num_experts": 128},
    "qwen3_vl_moe_text": {"num_experts": 64, "tie_word_embeddings": False},
    "mimo_v2_flash": {
        "swa_num_attention_heads": 64,
        "swa_num_key_value_heads": 8,
        "swa_head_dim": 192,
        "swa_v_head_dim": 128,
    },
    "hunyuan_v1_dense": {"head_dim": 128},
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 256,
        "indexer_budget": 2048,
        "indexer_compress_ratio": 4,
    },
    "hunyuan_v1_moe": {"head_dim": 128, "num_experts": 16, "moe_topk": 2},
    "cohere_compass_text": {
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 10000.0}
            for kind in ("full_attention", "sliding_attention")
        }
    },
    "dots1": {"n_routed_experts": 128, "n_shared_experts": 2, "num_experts_per_tok": 6},
    "nemotron": {"num_key_value_heads": 8},
    "lfm2_moe": {"layer_types": (["conv"] * 3 + ["full_attention"]) * 8},
    "ministral": {"head_dim": 128},
    "minimax_m3_vl_text": {
        "moe_layer_freq": [0] * 3 + [1] * 57,
        "n_shared_experts": 1,
        "sparse_attention_config": {
            "sparse_attention_freq": [0] * 3 + [1] * 57,
            "sparse_num_index_heads": 4,
            "sparse_index_dim": 128,
            "sparse_topk_blocks": 16,
            "sparse_block_size": 128,
        },
    },
    "gemma4_text": {
        "hidden_size_per_layer_input": 0,
        "attention_k_eq_v": True,
        "num_global_key_value_heads": 2,
        "enable_moe_block": True,
        "moe_intermediate_size": 704,
        "num_experts": 16,
        "top_k_experts": 8,
    },
}

# Switches that few published configs turn, and what turns them.
VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "Laguna with windows, and a gate for each value": (
        "laguna",
        {
            "num_hidden_layers": 8,
            "layer_types": (["full_attention"] + ["sliding_attention"] * 3) * 2,
            "num_attention_heads_per_layer": [48, 64, 64, 64] * 2,
            "gating": "per-element",
        },
    ),
    "Command A+ with shared experts, dense first": (
        "cohere2_moe",
        {"num_hidden_layers": 6, "first_k_dense_replace": 2, "num_shared_experts": 2},
    ),
    "Falcon Mamba 7B": (
        "falcon_mamba",
        {"hidden_size": 4096, "intermediate_size": 8192, "expand": 16, "time_step_rank": 256},
    ),
    "Falcon 40B's decoder": (
        "falcon",
        {
            "new_decoder_architecture": True,
            "hidden_size": 4096,
            "num_attention_heads": 64,
            "num_kv_heads": 8,
        },
    ),
    "the first Falcons": (
        "falcon",
        {
            "parallel_attn": False,
            "multi_query": False,
            "bias": True,
            "alibi": True,
            "hidden_size": 4096,
            "num_attention_heads": 64,
        },
    ),
    "Cohere Compass with windows": (
        "cohere_compass_text",
        {
            "num_hidden_layers": 4,
            "num_key_value_heads": 8,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
    ),
    "Hunyuan-A13B's biases": (
        "hunyuan_v1_moe",
        {"attention_bias": True, "moe_topk": [2, 2], "num_hidden_layers": 2},
    ),
    "Command-R+'s norms": ("cohere", {"use_qk_norm": True}),
    "Gemma 4 with values": ("gemma4_text", {"hidden_size_per_layer_input": 0}),
    "Gemma 4 E2B's layers": (
        "gemma4_text",
        {
            "hidden_size_per_layer_input": 256,
            "num_kv_shared_layers": 20,
            "use_double_wide_mlp": True,
            "attention_k_eq_v": False,
            "enable_moe_block": False,
        },
    ),
    "Gemma 3n E2B's MLPs": (
        "gemma3n_text",
        {"intermediate_size": [8192] * 20 + [16384] * 15, "num_kv_shared_layers": 10},
    ),
    "Zamba2 7B's blocks and adapters": (
        "zamba2",
        {
            "num_hidden_layers": 12,
            "num_mem_blocks": 2,
            "use_shared_attention_adapter": True,
            "mamba_ngroups": 2,
            "n_mamba_heads": 80,
            "layers_block_type": (["mamba"] * 3 + ["hybrid"]) * 3,
        },
    ),
    "Granite with biases": ("granite", {"attention_bias": True, "mlp_bias": True}),
    "Nemotron-H with a latent for its experts": (
        "nemotron_h",
        {
            "hybrid_override_pattern": "M-M*E",
            "num_hidden_layers": 5,
            "moe_latent_size": 1024,
            "moe_intermediate_size": 2048,
        },
    ),
    "Bamba with attention": ("bamba", {"attn_layer_indices": [9, 18, 27]}),
    "Falcon-H1 with norms and biases": (
        "falcon_h1",
        {"mamba_rms_norm": True, "attention_bias": True, "mlp_bias": True},
    ),
    "Granite 4 without experts": (
        "granitemoehybrid",
        {"num_local_experts": 0, "layer_types": ["mamba"] * 31 + ["attention"]},
    ),
    "Jamba without experts": ("jamba", {"num_experts": 1}),
    "LFM2 with convolutions that have biases": (
        "lfm2",
        {"full_attn_idxs": [2, 5, 8], "conv_bias": True},
    ),
    "Granite's experts with a shared one": (
        "granitemoeshared",
        {"shared_intermediate_size": 1024},
    ),
    "GPT-NeoX without biases": ("gpt_neox", {"attention_bias": False}),
    "Phi-3.5-MoE with biases": ("phimoe", {"attention_bias": True, "lm_head_bias": True}),
    "StableLM with norms of Q and K": (
        "stablelm",
        {"qk_layernorm": True, "use_qkv_bias": True},
    ),
    "StarCoder with heads of its own": ("gpt_bigcode", {"multi_query": False}),
    "Qwen3.5 with biases": ("qwen3_5_text", {"attention_bias": True}),
    "Qwen3-Next, dense first": (
        "qwen3_next",
        {"mlp_only_layers": [0, 1], "intermediate_size": 5120},
    ),
    "Qwen4-Exp with n-grams in two layers": (
        "qwen4_exp_text",
        {
            "num_hidden_layers": 4,
            "num_experts": 16,
            "hc_count": 2,
            "ple_layer_ids": [3, 1],
            "ple_embed_dim": 1536,
            "ngram_size": 4,
            "ngram_vocab_size_base": 30000,
            "eos_token_id": 1,
        },
    ),
    "Inkling, dense first": (
        "inkling_text",
        {
            "num_hidden_layers": 4,
            "local_layer_ids": [0, 2],
            "mlp_layer_types": ["dense"] * 2 + ["sparse"] * 2,
            "swa_num_attention_heads": 32,
            "n_routed_experts": 16,
        },
    ),
    "StarCoder2 without biases": ("starcoder2", {"use_bias": False}),
    "MLA without a latent of Q": ("deepseek_v3", {"q_lora_rank": None}),
    "GLM-5 with shared indexers": (
        "glm_moe_dsa",
        {"indexer_types": (["full"] + ["shared"] * 2) * 26},
    ),
}

# Multimodal models whose default config transformers refuses itself (a padding token outside the
# vocabulary, no rotary parameters, no indexer), or is one of heads that do not divide the hidden
# size.
REFUSED = {"idefics3", "smolvlm", "glm4v_moe", "cohere_compass"}
REFUSED |= {"qwen3_omni_moe_thinker", "qwen4_exp"}
# One whose default tower transformers gives a width that no checkpoint has, 614,400.
REFUSED |= {"inkling_mm_model"}
# Those whose classes come with their checkpoints, or need a package that vLLM does not bring.
REFUSED |= {"phi3_v", "kimi_k3", "step3_vl", "gemma3n"}

COUNT_MULTIMODAL = """
import json, sys, torch
from transformers import AutoConfig, AutoModelForMultimodalLM
answers = {}
for kind in json.load(sys.stdin):
    config = AutoConfig.for_model(kind)
    with torch.device("meta"):
        model = AutoModelForMultimodalLM.from_config(config)
    model.tie_weights()
    keys = config.to_dict()
    stated = {key: keys[key] for key in keys if not key.startswith(("_", "id2", "label2"))}
    answers[kind] = {"config": stated, "parameters": sum(p.numel() for p in model.parameters())}
print(json.dumps(answers))
"""

COUNT_PARAMETERS = """
import json, sys, torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
counts = {}
for name, config in json.load(sys.stdin).items():
    config = AutoConfig.for_model(config.pop("model_type"), **config)
    with torch.device("meta"):
        try:
            model = AutoModelForCausalLM.from_config(config)
        except ValueError:  # the text model of a multimodal one: a head is all it lacks
            model = torch.nn.ModuleDict({"text": AutoModel.from_config(config)})
            if not getattr(config, "tie_word_embeddings", False):
                model["head"] = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        else:
            model.tie_weights()
    counts[name] = sum(p.numel() for p in model.parameters())
print(json.dumps(counts))
"""

READ_DEFAULTS = """
import json, sys
from transformers import AutoConfig
answers = {}
for kind, keys in json.load(sys.stdin).items():
    config = AutoConfig.for_model(kind)
    known = {**vars(type(config)), **config.to_dict()}
    answers[kind] = {key: known.get(key) for key in keys}
print(json.dumps(answers))
"""

DEFAULT_CONFIGS = """
import json, sys
from transformers import AutoConfig
configs = {}
for name, needed in json.load(sys.stdin).items():
    config = AutoConfig.for_model(needed.pop("model_type"), **needed).to_dict()
    configs[name] = {key: config[key] for key in config if not key.startswith("_")}
print(json.dumps(configs))
"""


def ask_transformers(script: str, question: object) -> dict[str, object]:
    """What `script` prints in vLLM's environment, given `question` as JSON."""
    environment = find_environment(VllmBackend().environment("cpu"))
    assert environment is not None, "run: tpdeploy backends install vllm"
    done = subprocess.run(
        [str(environment.python), "-c", script],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(answer, dict)
    return answer


def text_part(config: dict[str, object]) -> dict[str, object]:
    """The config itself, or its text model's with what the wrapper says of the head."""
    inner = config.get("text_config")
    if not isinstance(inner, dict):
        return dict(config)
    tied = {key: config[key] for key in ("tie_word_embeddings",) if key in config}
    return {"model_type": f"{config['model_type']}_text", **tied, **inner}


def test_parameter_counts_are_those_of_transformers_modules() -> None:
    """Every bundled model, built on the meta device, has exactly the parameters counted here."""
    profiles = model_profiles()
    configs = {}
    for profile in profiles:
        config = text_part(profile.config)
        kind = str(config["model_type"])
        config["model_type"] = ALSO_KNOWN_AS.get(kind, kind)
        config.pop("quantization_config", None)  # logical parameters, not packed ones
        configs[profile.id] = config
    counted = {
        profile.id: parameter_count(shape_from_config(profile.config, id=profile.id))
        for profile in profiles
    }
    assert ask_transformers(COUNT_PARAMETERS, configs) == counted


def test_every_known_architecture_is_counted_as_transformers_counts_it() -> None:
    """transformers' default config of each has the parameters of its module, tied or not."""
    kinds = sorted(set(FAMILIES) - set(ALSO_KNOWN_AS) - NOT_THERE)
    asked = {kind: {"model_type": kind, **NEEDED.get(kind, {})} for kind in kinds}
    counted = {}
    for kind, stated in ask_transformers(DEFAULT_CONFIGS, asked).items():
        assert isinstance(stated, dict)
        counted[kind] = parameter_count(shape_from_config({**stated, **asked[kind]}, id=kind))
    assert ask_transformers(COUNT_PARAMETERS, asked) == counted


def test_multimodal_models_are_counted_with_their_encoders() -> None:
    """transformers' default config of each has the parameters of its module, encoders included."""
    answers = ask_transformers(COUNT_MULTIMODAL, sorted(set(WRAPPERS) - REFUSED))
    counted, whole = {}, {}
    for kind, answer in answers.items():
        assert isinstance(answer, dict)
        counted[kind] = parameter_count(shape_from_config(answer["config"], id=kind))
        whole[kind] = answer["parameters"]
    assert counted == whole


def test_switches_that_few_configs_turn_are_counted_too() -> None:
    """Biases, norms and layers that the defaults leave out."""
    asked = {
        name: (kind, {**NEEDED.get(kind, {}), **keys}) for name, (kind, keys) in VARIANTS.items()
    }
    asked["Gemma 4 with values"] = VARIANTS["Gemma 4 with values"]
    questions = {name: {"model_type": kind, **keys} for name, (kind, keys) in asked.items()}
    full, counted = ask_transformers(DEFAULT_CONFIGS, questions), {}
    for name, (_, keys) in asked.items():
        stated = full[name]
        assert isinstance(stated, dict)
        counted[name] = parameter_count(shape_from_config({**stated, **keys}, id=name))
    assert ask_transformers(COUNT_PARAMETERS, questions) == counted


def test_defaults_are_those_of_transformers_configs() -> None:
    """What is taken for a key that a config leaves out is what transformers takes."""
    # Patterns are spelt out as layer_types once a config is loaded; the key itself is gone.
    # Bloom's classes know no context: its configs do.
    spelt_out = {"sliding_window_pattern", "moe_layer_end_index", "seq_length"}
    lists_mlps = {
        "glm4_moe_lite": {"first_k_dense_replace"},
        "laguna": {"first_k_dense_replace", "n_shared_experts"},
        "hy_v4": {"first_k_dense_replace"},
        "axk2": {"first_k_dense_replace"},
        "minimax_m3_vl_text": {"n_shared_experts"},
        "glm5_next_text": {"first_k_dense_replace"},
    }
    ours = {
        kind: {
            key: value
            for key, value in family.defaults.items()
            if key not in spelt_out | lists_mlps.get(kind, set())
        }
        for kind, family in FAMILIES.items()
        if kind not in {*ALSO_KNOWN_AS, *NOT_THERE}
    }
    # Whether the head is tied is for the multimodal config around a text model to say, or never.
    ours = {
        kind: defaults
        if "_vl_" in kind or kind == "inkling_text"
        else {"tie_word_embeddings": False, **defaults}
        for kind, defaults in ours.items()
    }
    theirs = ask_transformers(READ_DEFAULTS, {kind: list(keys) for kind, keys in ours.items()})
    assert theirs == ours


def test_what_a_text_config_leaves_out_is_what_transformers_takes() -> None:
    """Sizes that multimodal configs do not state of their text model."""
    asked = {kind: list(sizes) for kind, sizes in TEXT_DEFAULTS.items()}
    assert ask_transformers(READ_DEFAULTS, asked) == TEXT_DEFAULTS
