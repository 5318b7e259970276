"""Model types that are not planned, and why: encoders, and what no engine serves any more.

By transformers 5.19's configuration classes and vLLM 0.32's registry (_PREVIOUSLY_SUPPORTED_MODELS
in its model_executor/models/registry.py); the lists of the other engines have none of them.
"""

from collections.abc import Mapping

ENCODER_DECODER = "an encoder-decoder; only decoders are planned here"
_ENCODERS = (
    *("bert", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert"),
    *("rembert", "roberta", "roberta-prelayernorm", "roc_bert", "xlm", "xlm-roberta"),
    *("xlm-roberta-xl", "xlnet", "xmod", "convbert", "modernbert", "deberta", "deberta-v2"),
)
_BOTH = (
    *("bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "canary", "dia", "fsmt", "led"),
    *("longt5", "marian", "mbart", "moonshine", "mt5", "mvp", "nllb-moe", "pegasus", "pegasus_x"),
    *("plbart", "pop2piano", "prophetnet", "seamless_m4t", "seamless_m4t_v2", "speech_to_text"),
    *("speech-encoder-decoder", "t5", "t5gemma", "t5gemma2", "trocr", "udop", "umt5", "whisper"),
    *("encoder-decoder", "vision-encoder-decoder", "xlm-prophetnet"),
)
_NONE = (
    *("beam", "bitnet", "codegen", "cpmant", "ctrl", "doge", "git", "gpt_neo", "gpt_neox_japanese"),
    *("jetmoe", "kosmos_2_text_model", "kyutai_speech_to_text", "moshi", "musicgen", "blip"),
    *("musicgen_melody", "openai-gpt", "pi0", "recurrent_gemma", "reformer", "rwkv", "rwkv5"),
    *("blip_text_model", "xglm", "xlstm", "zamba", "zaya"),
)
# The last release of vLLM that served them.
_LAST = {
    "baichuan": "0.23",
    "chameleon": "0.28",
    "fuyu": "0.25",
    "grok-1": "0.24",
    "internlm": "0.23",
    "jais": "0.22",
    "minimax": "0.23",
    "minimax_m1": "0.23",
    "minimax_text_01": "0.23",
    "mllama": "0.10.2",
    "mllama_text_model": "0.10.2",
    "mpt": "0.28",
    "persimmon": "0.25",
    "qwen": "0.23",
}

UNPLANNED: Mapping[str, str] = {
    **dict.fromkeys(_ENCODERS, "an encoder, which no engine here serves to write text"),
    **dict.fromkeys(_BOTH, ENCODER_DECODER),
    **dict.fromkeys(_NONE, "which no engine here serves"),
    **{
        kind: f"which vLLM served until {last}, and no engine here does now"
        for kind, last in _LAST.items()
    },
    **dict.fromkeys(
        ("inkling2_text", "inkling2_loop_text"),
        "which no engine here serves yet: transformers 5.23 has it, the 5.19 of vLLM 0.32 has not",
    ),
    "bailing_moe_linear": "Ling with Lightning attention, whose state and cost are not known here",
    "phi-msft": "an early form of 'phi': use the checkpoint's newer config.json",
}
