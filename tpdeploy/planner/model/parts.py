"""Parts: which layers of a model have a tensor or hold KV."""

from collections.abc import Iterator, Mapping
from typing import Literal, get_args

from tpdeploy.profiles.models.shape import LayerGroup, ModelShape

# All layers, those with a kind of mixer ("attention": full or sliding) or of MLP, or what stands
# before the first layer or behind the last.
NamedPart = Literal[
    "layer",
    "attention",
    "full",
    "sliding",
    "linear",
    "dense",
    "sparse",
    "before the first",
    "behind the last",
]
# A number: the layers with a dense MLP of that width.
Part = NamedPart | int
MIXERS: Mapping[Part, frozenset[str]] = {
    "attention": frozenset({"full", "sliding", "both"}),
    "full": frozenset({"full", "both"}),
    "sliding": frozenset({"sliding"}),
    "linear": frozenset({"linear", "both"}),
}
MLPS: Mapping[Part, frozenset[str]] = {
    "dense": frozenset({"dense", "both"}),
    "sparse": frozenset({"sparse", "both"}),
}


def parts_of(shape: ModelShape) -> tuple[Part, ...]:
    """All parts that `shape` may have."""
    return (*get_args(NamedPart), *{group.width for group in shape.groups if group.width})


def layers_with(part: Part, shape: ModelShape, among: range) -> int:
    """Layers of `shape` that have `part`, of those numbered `among`."""
    match part:
        case "before the first":
            return int(0 in among)
        case "behind the last":
            return int(shape.layers - 1 in among)
        case _:
            return sum(count for group, count in _held(shape, among) if _has(group, part))


def _held(shape: ModelShape, among: range) -> Iterator[tuple[LayerGroup, int]]:
    """The groups, and how many layers of each are `among` these."""
    start = 0
    for group in shape.groups:
        end = start + group.count
        yield group, max(0, min(end, among.stop) - max(start, among.start))
        start = end


def _has(group: LayerGroup, part: Part) -> bool:
    if isinstance(part, int):
        return group.width == part
    if part in MIXERS:
        return group.mixer in MIXERS[part]
    return part == "layer" or group.mlp in MLPS[part]
