"""The kinds of attention that a model has, by what its shape says of them."""

from tpdeploy.planner.model.attention.compressed import CompressedEntries
from tpdeploy.planner.model.attention.grouped import GroupedAttention
from tpdeploy.planner.model.attention.latent import MultiHeadLatent
from tpdeploy.planner.model.attention.mixer import AttentionMixer
from tpdeploy.planner.model.attention.picking import Picking
from tpdeploy.planner.model.attention.shared import SharedBlocks
from tpdeploy.planner.model.parts import Part
from tpdeploy.profiles.models.shape import Attention, LatentAttention, ModelShape, SharedAttention


def main_attention(shape: ModelShape) -> AttentionMixer:
    """The attention of the layers that are not windowed with other heads."""
    attention, picks, layers = shape.attention, shape.indexer, shape.attention_layers
    part: Part = "full" if shape.windowed else "attention"
    if isinstance(attention, Attention):
        return GroupedAttention(layers, part=part, attention=attention, indexer=picks)
    if isinstance(attention, LatentAttention):
        return MultiHeadLatent(layers, part=part, attention=attention, indexer=picks)
    if isinstance(attention, SharedAttention):
        return SharedBlocks(layers, part=part, attention=attention)
    return CompressedEntries(layers, part=part, attention=attention, indexer=picks)


def windowed_attention(shape: ModelShape) -> AttentionMixer | None:
    """The attention of sliding layers whose heads differ from those of the others."""
    other = shape.windowed
    if other is None:
        return None
    layers = other.sliding_layers
    return GroupedAttention(layers, prefix="windowed ", part="sliding", attention=other)


def attentions(shape: ModelShape) -> tuple[AttentionMixer, ...]:
    """Every kind of attention of `shape`."""
    main, windowed = main_attention(shape), windowed_attention(shape)
    return (main, windowed) if windowed else (main,)


def picking(shape: ModelShape) -> Picking | None:
    """What picks the tokens of context that attention looks at."""
    if shape.indexer is None:
        return None
    return Picking(shape.indexer, main_attention(shape).query_rank)
