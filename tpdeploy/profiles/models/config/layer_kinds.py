"""Layer kinds: what mixes tokens and what stands behind it, in each layer of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from tpdeploy.profiles.models.config.families.family import Family
from tpdeploy.profiles.models.config.keys import ConfigKeys
from tpdeploy.profiles.models.config.mixer_kinds import mixers_of
from tpdeploy.profiles.models.config.mlp_kinds import mlps_of, widths_of
from tpdeploy.profiles.models.config.searched_blocks import blocks_of
from tpdeploy.profiles.models.shape import LayerGroup, Mixer, Mlp

# Nemotron-H: a layer is one block; its pattern has a letter per layer.
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
        return LayerKinds(tuple(mixers_of(keys, family, layers)), tuple(["none"] * layers))
    mixers, mlps = mixers_of(keys, family, layers), tuple(mlps_of(keys, family, layers))
    dense = [mlp in {"dense", "both"} for mlp in mlps]
    widths = tuple(
        width if has else None for width, has in zip(widths_of(keys, layers), dense, strict=False)
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
