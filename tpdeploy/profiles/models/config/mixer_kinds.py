"""Mixer kinds: what mixes tokens in each layer of a model."""

from collections.abc import Iterable, Mapping

from tpdeploy.profiles.models.config.families.family import Family
from tpdeploy.profiles.models.config.keys import ConfigKeys
from tpdeploy.profiles.models.config.listed import listed_kinds, need_each
from tpdeploy.profiles.models.shape import Mixer

MIXERS: Mapping[str, Mixer] = {
    "full_attention": "full",
    "attention": "full",
    "indexed_attention": "full",
    "deepseek_sparse_attention": "full",
    "minimax_m3_sparse": "full",
    "compressed_sparse_attention": "full",
    "heavily_compressed_attention": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "sliding",
    "linear_attention": "linear",
    "mamba": "linear",
    "conv": "linear",
    "hybrid": "both",
}

# Inkling's attention, with short convolutions.
CONVOLVED: Mapping[str, Mixer] = {"hybrid": "full", "hybrid_sliding": "sliding"}

# Windowed layers: of so many the last one has no window.
EVERY = {"alternate": 2, "chunked": 4}


def mixers_of(keys: ConfigKeys, family: Family, layers: int) -> Iterable[Mixer]:
    """The mixer of each layer, first layer first.

    Raises:
        InputError: a kind that is not known here, or a list that is too short or too long.
    """
    has_window = window(keys, family) is not None
    if kinds := listed_kinds(keys, "layer_types", layers):
        return _listed(keys, family, kinds, has_window=has_window)
    if family.relative and keys.value("local_layer_ids") is not None:
        local = set(keys.numbers("local_layer_ids"))
        return ["sliding" if i in local else "full" for i in range(layers)]
    pattern = keys.numbers("hybrid_layer_pattern")  # MiMo-V2: 1 slides
    if pattern and has_window:
        need_each(keys, "hybrid_layer_pattern", len(pattern), layers)
        return ["sliding" if slides else "full" for slides in pattern]
    if family.linear != "none":
        return _hybrid(keys, family, layers)
    if has_window:
        return _windowed(keys, family, layers)
    return _first(0, layers)


def _hybrid(keys: ConfigKeys, family: Family, layers: int) -> Iterable[Mixer]:
    """Layers with full attention, and recurrent ones, where the config does not list them all."""
    match family.hybrid:
        case "both":
            return ["both"] * layers
        case "period":
            every = keys.whole("attn_layer_period")
            offset = keys.whole("attn_layer_offset", least=0)
            return ["full" if i % every == offset else "linear" for i in range(layers)]
        case "listed":
            full = _attention_indices(keys)
            return ["full" if i in full else "linear" for i in range(layers)]
        case _:
            every = keys.whole("full_attention_interval", default=4)
            return ["full" if (i + 1) % every == 0 else "linear" for i in range(layers)]


def _attention_indices(keys: ConfigKeys) -> set[int]:
    """Layers with full attention: of Bamba and LFM2, or of Kimi, which counts from one."""
    own = keys.part("linear_attn_config")
    if own:
        return {number - 1 for number in own.numbers("full_attn_layers")}
    return {*keys.numbers("attn_layer_indices"), *keys.numbers("full_attn_idxs")}


def _listed(
    keys: ConfigKeys, family: Family, kinds: list[str], *, has_window: bool
) -> Iterable[Mixer]:
    known = {**MIXERS, **CONVOLVED} if family.relative else MIXERS
    unknown = set(kinds) - known.keys()
    if unknown:
        raise keys.refused("layer_types", f"known here: {', '.join(known)}")
    mixers = [known[kind] for kind in kinds]
    return [m if has_window or m != "sliding" else "full" for m in mixers]


def window(keys: ConfigKeys, family: Family) -> int | None:
    """The sliding window, or the chunk that stands for it."""
    if family.windows == "none":
        return None
    return keys.optional(
        "attention_chunk_size" if family.windows == "chunked" else "sliding_window"
    )


def _windowed(keys: ConfigKeys, family: Family, layers: int) -> Iterable[Mixer]:
    """Layers with a window where the config does not list them."""
    match family.windows:
        case "all":
            return _first(layers, layers)
        case "leading":
            return ["sliding" if i % 4 else "full" for i in range(layers)]
        case "alternate" | "chunked" | "pattern":  # the last of every so many sees everything
            stated = family.windows == "pattern"
            every = keys.whole("sliding_window_pattern") if stated else EVERY[family.windows]
            return ["sliding" if (i + 1) % every else "full" for i in range(layers)]
        case "flagged" if keys.flag("use_sliding_window"):
            full = min(layers, keys.whole("max_window_layers", default=28, least=0))
            return ["full" if i < full else "sliding" for i in range(layers)]
        case _:
            return _first(0, layers)


def _first(windowed: int, layers: int) -> list[Mixer]:
    """The first `windowed` of all layers slide."""
    return ["sliding" if i < windowed else "full" for i in range(layers)]
