"""Layer kinds: what mixes tokens and what stands behind it, in each layer of a model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from tpdeploy.profiles.models.config.families.family import Family
from tpdeploy.profiles.models.config.keys import ConfigKeys
from tpdeploy.profiles.models.config.searched_blocks import blocks_of
from tpdeploy.profiles.models.shape import LayerGroup, Mixer, Mlp

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
# Nemotron-H: a layer is one block; its pattern has a letter a layer.
BLOCKS: Mapping[str, tuple[Mixer, Mlp]] = {
    "M": ("linear", "none"),
    "mamba": ("linear", "none"),
    "linear_attention": ("linear", "none"),
    "*": ("full", "none"),
    "attention": ("full", "none"),
    "full_attention": ("full", "none"),
    "-": ("none", "dense"),
    "mlp": ("none", "dense"),
    "E": ("none", "sparse"),
    "moe": ("none", "sparse"),
}

# Windowed layers: of so many the last one has no window.
EVERY = {"alternate": 2, "chunked": 4}
# Kinds are listed layer by layer: a mistyped count must not fill the memory.
MOST_LAYERS = 10_000


@dataclass(frozen=True)
class LayerKinds:
    """What each layer is made of, first layer first."""

    mixers: tuple[Mixer, ...]
    mlps: tuple[Mlp, ...]
    widths: tuple[int | None, ...] = ()  # of the dense MLPs, where they differ

    @property
    def layers(self) -> int:
        """How many there are."""
        return len(self.mixers)

    @property
    def groups(self) -> tuple[LayerGroup, ...]:
        """Equal ones that follow each other, together."""
        widths = self.widths or (None,) * self.layers
        layers = groupby(zip(self.mixers, self.mlps, widths, strict=True))
        return tuple(
            LayerGroup(count=sum(1 for _ in equal), mixer=mixer, mlp=mlp, width=width)
            for (mixer, mlp, width), equal in layers
        )

    def mixing(self, kind: Mixer) -> int:
        """Layers with this mixer; full attention and a recurrent one may be in the same layer."""
        both = self.mixers.count("both") if kind in {"full", "linear"} else 0
        return self.mixers.count(kind) + both

    @property
    def dense(self) -> int:
        """Layers with a dense MLP."""
        return self.mlps.count("dense") + self.mlps.count("both")

    @property
    def sparse(self) -> int:
        """Layers with experts."""
        return self.mlps.count("sparse") + self.mlps.count("both")


def layer_kinds(keys: ConfigKeys, family: Family) -> LayerKinds:
    """The kinds that `keys` list, or that follow from the family's rule.

    Raises:
        InputError: a kind that is not known here, or a list that is too short or too long.
    """
    if family.blocks:
        return _blocks(keys)
    if family.searched:
        return _searched(keys)
    layers = keys.whole("num_hidden_layers", most=MOST_LAYERS)
    if family.halves:
        return LayerKinds(_each("full", 2 * layers), tuple(["both", "dense"] * layers))
    if family.recurrent_alone:
        return LayerKinds(_each("linear", layers), tuple(["none"] * layers))
    if family.attention == "shared":
        return LayerKinds(tuple(_mixers(keys, family, layers)), tuple(["none"] * layers))
    mixers, mlps = _mixers(keys, family, layers), tuple(_mlps(keys, family, layers))
    dense = [mlp in {"dense", "both"} for mlp in mlps]
    widths = tuple(
        width if has else None for width, has in zip(_widths(keys, layers), dense, strict=False)
    )
    return LayerKinds(tuple(mixers), mlps, widths)


def _each(mixer: Mixer, layers: int) -> tuple[Mixer, ...]:
    return (mixer,) * layers


def _searched(keys: ConfigKeys) -> LayerKinds:
    blocks = blocks_of(keys)
    return LayerKinds(
        tuple("full" if block.heads_per_group else "none" for block in blocks),
        tuple("dense" if block.width else "none" for block in blocks),
        tuple(block.width for block in blocks),
    )


def _blocks(keys: ConfigKeys) -> LayerKinds:
    pattern = keys.config.get("hybrid_override_pattern")
    name = "hybrid_override_pattern" if pattern is not None else "layers_block_type"
    blocks = list(keys.text(name)) if pattern is not None else keys.words(name)
    if not blocks or any(block not in BLOCKS for block in blocks):
        raise keys.refused(name, f"need one of {', '.join(BLOCKS)} for each layer")
    stated = keys.whole("num_hidden_layers", default=len(blocks))
    if stated != len(blocks):
        raise keys.refused(name, f"need one for each of the {stated} layers")
    mixers, mlps = zip(*(BLOCKS[block] for block in blocks), strict=True)
    return LayerKinds(mixers, mlps)


def _mixers(keys: ConfigKeys, family: Family, layers: int) -> Iterable[Mixer]:
    has_window = window(keys, family) is not None
    kinds = _without_drafts(keys, keys.words("layer_types"), layers)
    if kinds:
        return _listed(keys, kinds, layers, has_window=has_window)
    pattern = keys.numbers("hybrid_layer_pattern")  # MiMo-V2: 1 slides
    if pattern and has_window:
        _need_each(keys, "hybrid_layer_pattern", len(pattern), layers)
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
    keys: ConfigKeys, kinds: list[str], layers: int, *, has_window: bool
) -> Iterable[Mixer]:
    _need_each(keys, "layer_types", len(kinds), layers)
    unknown = set(kinds) - MIXERS.keys()
    if unknown:
        raise keys.refused("layer_types", f"known here: {', '.join(MIXERS)}")
    mixers = [MIXERS[kind] for kind in kinds]
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


def _mlps(keys: ConfigKeys, family: Family, layers: int) -> Iterable[Mlp]:
    if family.experts == "none" or _has_no_experts(keys, family):
        return ["dense"] * layers
    if family.experts == "gemma4":
        return ["both" if keys.flag("enable_moe_block") else "dense"] * layers
    kinds = _without_drafts(keys, keys.words("mlp_layer_types"), layers)
    if kinds:
        _need_each(keys, "mlp_layer_types", len(kinds), layers)
        return ["dense" if kind == "dense" else "sparse" for kind in kinds]
    if isinstance(keys.config.get("moe_layer_freq"), list):  # MiMo-V2, MiniMax-M3: 1 has experts
        pattern = keys.numbers("moe_layer_freq")
        _need_each(keys, "moe_layer_freq", len(pattern), layers)
        return ["sparse" if has_experts else "dense" for has_experts in pattern]
    if family.experts == "listed":
        return _listed_mlps(keys, layers)
    return _sparse_by_rule(keys, family, layers)


def _has_no_experts(keys: ConfigKeys, family: Family) -> bool:
    """Some of Granite 4 and Jamba have the same `model_type` without experts."""
    match family.experts:
        case "granite":
            return not keys.whole("num_local_experts", default=0, least=0)
        case "jamba":
            return keys.whole("num_experts", default=16) == 1
        case _:
            return False


def _sparse_by_rule(keys: ConfigKeys, family: Family, layers: int) -> Iterable[Mlp]:
    """Which layers have experts where the config does not list them."""
    match family.experts:
        case "qwen":
            step, dense = (
                keys.whole("decoder_sparse_step", default=1),
                keys.numbers("mlp_only_layers"),
            )
            mlps: list[Mlp] = [
                "dense" if (i + 1) % step or i in dense else "sparse" for i in range(layers)
            ]
            if "sparse" not in mlps:
                raise keys.refused("decoder_sparse_step", "leaves no layer with experts")
            return mlps
        case "llama4":
            step = keys.whole("interleave_moe_layer_step")
            return ["dense" if (i + 1) % step else "sparse" for i in range(layers)]
        case "ernie":
            return _ernie_mlps(keys, layers)
        case "jamba":
            step = keys.whole("expert_layer_period", default=2)
            offset = keys.whole("expert_layer_offset", default=1, least=0)
            return ["sparse" if i % step == offset else "dense" for i in range(layers)]
        case "deepseek":
            dense_first = keys.whole("first_k_dense_replace", default=0, least=0)
            if dense_first >= layers:
                raise keys.refused("first_k_dense_replace", f"need less than the {layers} layers")
            return ["dense" if i < dense_first else "sparse" for i in range(layers)]
        case _:
            return ["sparse"] * layers


def _listed_mlps(keys: ConfigKeys, layers: int) -> Iterable[Mlp]:
    """Step gives the numbers of the layers with experts, as one text; otherwise all but three."""
    stated = keys.text("moe_layers_enum", default="") or ",".join(map(str, range(3, layers)))
    numbers = stated.split(",")
    if not all(number.strip().isdigit() for number in numbers):
        raise keys.refused("moe_layers_enum", "need whole numbers, separated by commas")
    sparse = {int(number) for number in numbers}
    return ["sparse" if i in sparse else "dense" for i in range(layers)]


def _ernie_mlps(keys: ConfigKeys, layers: int) -> Iterable[Mlp]:
    """Every `moe_layer_interval`-th layer between two."""
    step = keys.whole("moe_layer_interval", default=1)
    start = keys.whole("moe_layer_start_index", default=1, least=0)
    end = keys.whole("moe_layer_end_index", default=-1, least=-1)
    last = layers - 1 if end < 0 else end
    return [
        "sparse" if (i + 1) % step == 0 and start <= i <= last else "dense" for i in range(layers)
    ]


def _widths(keys: ConfigKeys, layers: int) -> tuple[int, ...]:
    """Of the dense MLPs, where they differ: Gemma 3n lists them, Gemma 4 doubles the last ones."""
    name = "intermediate_size"
    if isinstance(keys.value(name), list):
        widths = keys.numbers(name)
        _need_each(keys, name, len(widths), layers)
        if min(widths) < 1:
            raise keys.refused(name, "need numbers of at least 1")
        return tuple(widths)
    if not keys.flag("use_double_wide_mlp"):
        return ()
    last = keys.whole("num_kv_shared_layers", default=0, least=0)
    usual = keys.whole(name)
    return tuple(usual * (2 if i >= layers - last else 1) for i in range(layers))


def _without_drafts(keys: ConfigKeys, kinds: list[str], layers: int) -> list[str]:
    """The kinds of `layers`; Step lists those for multi-token prediction behind them."""
    drafts = keys.whole("num_nextn_predict_layers", default=0, least=0)
    return kinds[:layers] if len(kinds) == layers + drafts else kinds


def _need_each(keys: ConfigKeys, name: str, found: int, layers: int) -> None:
    if found != layers:
        raise keys.refused(name, f"need one for each of the {layers} layers")
