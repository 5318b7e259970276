"""Towers of sound, by the `model_type` of their part of config.json."""

from collections.abc import Mapping

from tpdeploy.profiles.models.config.encoders.images import Tower
from tpdeploy.profiles.models.config.encoders.parameters import (
    Parameters,
    attention,
    block,
    linear,
    linears,
    mlp,
    norm,
)
from tpdeploy.profiles.models.config.keys import ConfigKeys


def voxtral(keys: ConfigKeys) -> Parameters:
    """Whisper's encoder, with learned positions."""
    hidden = keys.whole("hidden_size")
    return glm_asr(keys) + Parameters(whole=keys.whole("max_source_positions") * hidden)


def glm_asr(keys: ConfigKeys) -> Parameters:
    """Whisper's encoder, with rotary positions."""
    hidden, mel = keys.whole("hidden_size"), keys.whole("num_mel_bins")
    layer = attention(hidden, biases=3) + mlp(hidden, keys.whole("intermediate_size"))
    layer += norm(hidden) * 2
    convolutions = linear(hidden, 3 * mel) + linear(hidden, 3 * hidden)
    return convolutions + layer * keys.whole("num_hidden_layers") + norm(hidden)


def qwen3_asr(keys: ConfigKeys) -> Parameters:
    """Qwen3-ASR: three convolutions that halve time and pitch each."""
    hidden, narrow = keys.whole("d_model"), keys.whole("downsample_hidden_size")
    layer = block(hidden, keys.whole("encoder_ffn_dim"))
    pitches = keys.whole("num_mel_bins")
    for _ in range(3):
        pitches = (pitches + 1) // 2
    convolutions = linear(narrow, 9) + linear(narrow, 9 * narrow) * 2
    into = linear(hidden, narrow * pitches, bias=False)
    return convolutions + into + layer * keys.whole("encoder_layers") + norm(hidden)


def qwen2_5_omni(keys: ConfigKeys) -> Parameters:
    """Whisper's encoder, marks of its begin and end, and its own projection."""
    out, hidden = keys.whole("output_dim"), keys.whole("d_model")
    whisper = {
        "hidden_size": hidden,
        "intermediate_size": keys.whole("encoder_ffn_dim"),
        "num_hidden_layers": keys.whole("encoder_layers"),
        "num_mel_bins": keys.whole("num_mel_bins"),
    }
    marks = Parameters(whole=2 * out)
    return glm_asr(ConfigKeys(whisper, keys.id, keys.where)) + marks + linear(out, hidden)


def inkling(keys: ConfigKeys) -> Parameters:
    """Inkling: an embedding of each level of each pitch, and a norm."""
    hidden = keys.whole("decoder_dmodel", "text_hidden_size")
    rows = keys.whole("n_mel_bins") * keys.whole("mel_vocab_size")
    return Parameters(whole=rows * hidden) + norm(hidden, bias=False)


def gemma4(keys: ConfigKeys) -> Parameters:
    """A Conformer: two MLPs, attention and a convolution in each layer."""
    hidden, heads = keys.whole("hidden_size"), keys.whole("num_attention_heads")
    square, line = Parameters(whole=hidden**2), norm(hidden, bias=False)
    ends = mlp(hidden, 4 * hidden, bias=False) * 2 + line * 4
    mixes = square * 5 + Parameters(whole=hidden // heads) + line * 3
    convolves = square * 3 + Parameters(whole=hidden * keys.whole("conv_kernel_size")) + line * 2
    samples = _sampling(*_channels(keys, "subsampling_conv_channels"), 128, hidden)
    layers = (ends + mixes + convolves) * keys.whole("num_hidden_layers")
    return samples + layers + linear(keys.whole("output_proj_dims"), hidden)


def gemma3n(keys: ConfigKeys) -> Parameters:
    """The Conformer of Gemma 3n: its output is projected by the model around it."""
    hidden, heads = keys.whole("hidden_size"), keys.whole("conf_num_attention_heads")
    square, line = Parameters(whole=hidden**2), norm(hidden, bias=False)
    ends = mlp(hidden, 4 * hidden, bias=False) * 2 + line * 4
    mixes = square * 5 + Parameters(whole=hidden // heads) + line * 2
    taps = Parameters(whole=hidden * keys.whole("conf_conv_kernel_size"))
    convolves = square * 3 + taps + line * 2
    first, second = _channels(keys, "sscp_conv_channel_size")
    samples = _sampling(first, second, keys.whole("input_feat_size"), hidden)
    return samples + (ends + mixes + convolves + line) * keys.whole("conf_num_hidden_layers")


def _channels(keys: ConfigKeys, name: str) -> tuple[int, int]:
    """Of two convolutions."""
    channels = keys.numbers(name)
    if len(channels) != 2 or min(channels) < 1:
        raise keys.refused(name, "need two numbers of at least 1")
    return channels[0], channels[1]


def _sampling(first: int, second: int, pitches: int, hidden: int) -> Parameters:
    """Two convolutions of 3 x 3, with a norm each; a quarter of the pitches is left."""
    convolutions = Parameters(whole=10 * first + (9 * first + 1) * second)
    return convolutions + linear(hidden, pitches // 4 * second, bias=False)


def granite_speech(keys: ConfigKeys) -> Parameters:
    """A Conformer whose middle looks at what it will say."""
    hidden, out = keys.whole("hidden_dim"), keys.whole("output_dim")
    inner = keys.whole("num_heads") * keys.whole("dim_head")
    wide = keys.whole("conv_expansion_factor") * hidden
    ends = (mlp(hidden, keys.whole("feedforward_mult") * hidden) + norm(hidden)) * 2
    places = Parameters(whole=(2 * keys.whole("max_pos_emb") + 1) * keys.whole("dim_head"))
    attends = norm(hidden) + linear(3 * inner, hidden, bias=False) + linear(hidden, inner) + places
    convolves = norm(hidden) + linear(2 * wide, hidden) + linear(hidden, wide) + norm(wide)
    convolves += Parameters(whole=wide * keys.whole("conv_kernel_size"))
    layer = ends + attends + convolves + norm(hidden)
    says = linears(hidden, out, hidden)
    return linear(hidden, keys.whole("input_dim")) + layer * keys.whole("num_layers") + says


_WHISPER = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_mel_bins": 128,
}
_QWEN = {
    "d_model": 1280,
    "encoder_ffn_dim": 5120,
    "encoder_layers": 32,
    "num_mel_bins": 128,
    "output_dim": 3584,
}
_GRANITE_SPEECH = {
    "hidden_dim": 1024,
    "num_layers": 10,
    "num_heads": 8,
    "dim_head": 128,
    "input_dim": 160,
    "output_dim": 42,
    "feedforward_mult": 4,
    "conv_expansion_factor": 2,
    "conv_kernel_size": 15,
    "max_pos_emb": 512,
}

SOUND_TOWERS: Mapping[str, tuple[Tower, Mapping[str, object]]] = {
    "voxtral_encoder": (voxtral, {**_WHISPER, "max_source_positions": 1500}),
    "glmasr_encoder": (glm_asr, _WHISPER),
    "inkling_audio": (inkling, {"n_mel_bins": 80, "mel_vocab_size": 256}),
    "inkling_audio_model": (inkling, {}),
    "qwen3_asr_encoder": (qwen3_asr, {}),
    "qwen3_omni_moe_audio_encoder": (qwen3_asr, {**_QWEN, "downsample_hidden_size": 480}),
    "qwen2_5_omni_audio_encoder": (qwen2_5_omni, _QWEN),
    "gemma4_audio": (
        gemma4,
        {
            "hidden_size": 1024,
            "num_attention_heads": 8,
            "num_hidden_layers": 12,
            "conv_kernel_size": 5,
            "subsampling_conv_channels": [128, 32],
            "output_proj_dims": 1536,
        },
    ),
    "gemma3n_audio": (
        gemma3n,
        {
            "hidden_size": 1536,
            "conf_num_attention_heads": 8,
            "conf_num_hidden_layers": 12,
            "conf_conv_kernel_size": 5,
            "sscp_conv_channel_size": [128, 32],
            "input_feat_size": 128,
        },
    ),
    "granite_speech_encoder": (granite_speech, _GRANITE_SPEECH),
    "granite_speech_plus_encoder": (granite_speech, _GRANITE_SPEECH),
}
