"""Projectors whose queries take a fixed number of embeddings out of what a tower gives."""

from tpdeploy.profiles.models.config.encoders.parameters import (
    Parameters,
    column,
    linear,
    mlp,
    norm,
    row,
)
from tpdeploy.profiles.models.config.encoders.wrapper import Wrapper
from tpdeploy.profiles.models.config.keys import ConfigKeys

PERCEIVER = {
    "resampler_n_latents": 64,
    "resampler_depth": 3,
    "resampler_n_heads": 16,
    "resampler_head_dim": 96,
    "num_key_value_heads": 4,
}
Q_FORMER = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "cross_attention_frequency": 2,
    "encoder_hidden_size": 1408,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
}


def idefics2(model: Wrapper) -> Parameters:
    """A gated MLP, and a perceiver that picks a fixed number of embeddings."""
    hidden, inner = model.hidden, model.size
    wide = model.text.whole("intermediate_size", default=14336)
    into = linear(wide, inner, bias=False) * 2 + linear(hidden, wide, bias=False)
    keys = model.part("perceiver_config", PERCEIVER)
    size = keys.whole("resampler_head_dim")
    heads, kv = keys.whole("resampler_n_heads"), keys.whole("num_key_value_heads")
    layer = column((heads + 2 * kv) * size, hidden, bias=False)
    layer += row(hidden, heads * size, bias=False) + norm(hidden, bias=False) * 3
    layer += mlp(hidden, 4 * hidden, gated=True, bias=False)
    latents = Parameters(whole=(keys.whole("resampler_n_latents") + 1) * hidden)
    return into + layer * keys.whole("resampler_depth") + latents


def blip2(model: Wrapper) -> Parameters:
    """A Q-Former, whose queries look at the image in every second layer."""
    keys = model.part("qformer_config", Q_FORMER)
    size = keys.whole("hidden_size")
    queries = Parameters(whole=model.keys.whole("num_query_tokens", default=32) * size)
    return _q_former(keys) + queries + linear(model.hidden, size)


def instructblip(model: Wrapper) -> Parameters:
    """A Q-Former that reads the prompt too."""
    keys = model.part("qformer_config", Q_FORMER)
    rows = keys.whole("vocab_size") + keys.whole("max_position_embeddings")
    prompt = Parameters(whole=rows * keys.whole("hidden_size"))
    return blip2(model) + prompt + _q_former_mlp(keys) * keys.whole("num_hidden_layers")


def granite_speech(model: Wrapper) -> Parameters:
    """A Q-Former over windows, without words of the prompt."""
    keys = model.part("projector_config", Q_FORMER)
    queries = model.keys.whole("window_size", default=15) // model.keys.whole(
        "downsample_rate", default=5
    )
    size = keys.whole("hidden_size")
    return _q_former(keys) + Parameters(whole=queries * size) + linear(model.hidden, size)


def _q_former(keys: ConfigKeys) -> Parameters:
    """Layers that attend to their queries, every second one to what was seen."""
    size, layers = keys.whole("hidden_size"), keys.whole("num_hidden_layers")
    seen = keys.whole("encoder_hidden_size")
    looks = linear(size, size) * 2 + linear(size, seen) * 2 + norm(size)
    layer = linear(size, size) * 4 + norm(size) + _q_former_mlp(keys)
    return (
        layer * layers + looks * -(-layers // keys.whole("cross_attention_frequency")) + norm(size)
    )


def _q_former_mlp(keys: ConfigKeys) -> Parameters:
    size, wide = keys.whole("hidden_size"), keys.whole("intermediate_size")
    return linear(wide, size) + linear(size, wide) + norm(size)
